import { type RecordActor, record } from '../../audit/record.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, type Sql } from '../../store/sql.ts'
import type { Delegations } from '../lending/delegations.ts'
import { endPushOf } from './push-ends.ts'

/** An account at a trusted issuer, as its preset reads it: `sub` is the token's, at Entra `tid.oid`. */
export interface ExternalAccount {
  readonly issuer: string
  readonly sub: string
}

/** SQL: the {@link ExternalAccount} of a row that may name one; null where it names none. */
export const upstreamAccount = `case when upstream_issuer is not null and upstream_sub is not null
  then json_build_object('issuer', upstream_issuer, 'sub', upstream_sub) end`

/** An account elsewhere, and the person that it is to be. */
export interface NewLink extends ExternalAccount {
  readonly person: string
  /** In front of their device, in the last 5 minutes. Default false. */
  readonly verified?: boolean
}

/** A link that stands, between an account elsewhere and one person. */
export interface AccountLink extends ExternalAccount {
  /** Key of the local account, `anne`. */
  readonly person: string
  readonly linkedAt: Date
}

/** What the caller has done in a transaction of somebody else's: both happen, or neither. */
export type Along = (sql: Sql) => Promise<void>

/** Links between accounts at trusted issuers and people, on record. */
export interface AccountLinks {
  /**
   * From the next request on, whoever comes as this account is the local person. Linking again changes
   * nothing; 409 where the account is somebody else's; 422 for no such person; 401 for somebody who has a
   * passkey that counts and was not `verified` lately: else a password alone would lead to more, a day later.
   * NOT checked: that whoever asks has proved both accounts, in this moment and in one browser; the caller
   * must.
   */
  link(account: NewLink, recordedAs: RecordActor): Promise<void>
  /**
   * From the next request on, the account is `namespace/key` again, and tokens of ours that were given for it
   * as the person are refused. What came of signing in by it ends in the same transaction: browsers on our
   * pages, consents with their codes and refresh tokens, and what was lent by those. False: this person has
   * no such link. NOT ended: an access token that another's API holds and asks nobody about, for its last 5
   * minutes. Where there was one, `along` happens in the same transaction.
   */
  unlink(
    account: ExternalAccount & { readonly person: string },
    recordedAs: RecordActor,
    along?: Along,
  ): Promise<boolean>
  /**
   * The same in the caller's transaction, for whoever's link it is. Answers with what is left to do once it
   * is committed; undefined: there is no link.
   */
  unlinkWithin(
    sql: Sql,
    account: ExternalAccount & { readonly person?: string },
    recordedAs: RecordActor,
  ): Promise<readonly Settle[] | undefined>
  /** Key of the local account that it is, if any. */
  of(account: ExternalAccount): Promise<string | undefined>
  list(person: string): Promise<AccountLink[]>
}

interface AccountLinksDeps extends Pick<Runtime, 'database' | 'clock'> {
  readonly delegations: Pick<Delegations, 'revokeWithin'>
}

/** Which accounts at trusted issuers are a local account. Each change is on record with the row. */
export function createAccountLinks({ database, delegations, clock }: AccountLinksDeps): AccountLinks {
  const unlinkWithin: AccountLinks['unlinkWithin'] = async (
    sql,
    { issuer, sub, person: whose },
    recordedAs,
  ) => {
    const [ended] = await sql.query<{ readonly person: string }>(
      `delete from account_links where issuer = $1 and sub = $2 and ($3::text is null or person = $3)
       returning person`,
      [issuer, sub, whose ?? null],
    )
    if (ended === undefined) return undefined
    const { person } = ended
    await sql.query(
      `insert into account_links_ended (issuer, sub, person, ended_at) values ($1, $2, $3, $4)
       on conflict (issuer, sub, person) do update set ended_at = excluded.ended_at`,
      [issuer, sub, person, new Date(clock.now())],
    )
    await record(sql, recordedAs, { event: 'account_unlinked', issuer, sub, person })
    // Whose browser it was is not known once a session is over: each is asked anew when it is next
    // opened.
    await endPushOf(sql, person, { at: new Date(clock.now()) })
    return endWhatCameOf(sql, { issuer, sub }, (id) => delegations.revokeWithin(sql, id, recordedAs))
  }

  return {
    async link({ issuer, sub, person, verified = false }, recordedAs) {
      await database.transaction(async (sql) => {
        if (!verified && (await hasPasskey(sql, person, new Date(clock.now()))))
          throw new AppError('insufficient_user_authentication', {
            public: 'First sign in with a passkey of yours.',
          })
        const inserted = await sql.query(
          `insert into account_links (issuer, sub, person, linked_at)
           select $1, $2, key, $4 from people where key = $3
           on conflict (issuer, sub) do nothing returning person`,
          [issuer, sub, person, new Date(clock.now())],
        )
        if (inserted.length > 0)
          return record(sql, recordedAs, { event: 'account_linked', issuer, sub, person })
        const linked = await personOf(sql, { issuer, sub })
        if (linked === undefined) throw invalid('person', 'There is no such local account.')
        if (linked !== person)
          throw new AppError('conflict', { public: 'This account is linked to another person already.' })
      })
    },
    async unlink(account, recordedAs, along) {
      const afterwards = await database.transaction(async (sql) => {
        const ended = await unlinkWithin(sql, account, recordedAs)
        if (ended !== undefined) await along?.(sql)
        return ended
      })
      for (const settle of afterwards ?? []) await settle()
      return afterwards !== undefined
    },
    unlinkWithin,
    of: (account) => personOf(database, account),
    list: (person) =>
      database.query<AccountLink>(
        `select issuer, sub, person, linked_at as "linkedAt" from account_links where person = $1
         order by linked_at, issuer, sub`,
        [person],
      ),
  }
}

async function personOf(sql: Sql, { issuer, sub }: ExternalAccount): Promise<string | undefined> {
  const text = 'select person from account_links where issuer = $1 and sub = $2'
  return (await sql.query<{ readonly person: string }>(text, [issuer, sub]))[0]?.person
}

/** One that counts. A row of theirs is held: one that is added meanwhile waits. */
async function hasPasskey(sql: Sql, person: string, now: Date): Promise<boolean> {
  await sql.query('select from people where key = $1 for update', [person])
  const passkeys = 'select from passkeys where person = $1 and verifies_from <= $2 limit 1'
  return (await countRows(sql, passkeys, [person, now])) > 0
}

type Settle = () => Promise<void>

async function endWhatCameOf(
  sql: Sql,
  { issuer, sub }: ExternalAccount,
  revoke: (delegation: string) => Promise<Settle>,
): Promise<Settle[]> {
  const account = [issuer, sub]
  await sql.query('delete from browser_sessions where upstream_issuer = $1 and upstream_sub = $2', account)
  // Rows that somebody else is at are left to them: without its consent an artifact gives no token anyway.
  await sql.query(
    `delete from oauth_artifacts where (model, id_hash) in (
       select model, id_hash from oauth_artifacts
       where grant_id in (select grant_id from oauth_grants where upstream_issuer = $1 and upstream_sub = $2)
       for update skip locked)`,
    account,
  )
  const grants = await sql.query<{ readonly delegation: string | null }>(
    'delete from oauth_grants where upstream_issuer = $1 and upstream_sub = $2 returning delegation',
    account,
  )
  const settles: Settle[] = []
  for (const { delegation } of grants) if (delegation !== null) settles.push(await revoke(delegation))
  return settles
}
