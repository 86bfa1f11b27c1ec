import type { RecordActor } from '../../audit/record.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Sql } from '../../store/sql.ts'
import type { Delegations } from '../lending/delegations.ts'
import type { AccountLinks, ExternalAccount } from '../people/links.ts'
import type { Persons } from '../people/persons.ts'
import type { Barring } from '../people/sign-in-ends.ts'
import { type Administrators, roles } from './administrators.ts'

/** Nobody is ended: nobody else would have a role that they have. */
export class LastAdministrator extends AppError {
  constructor(role: string) {
    super('conflict', {
      public: `Nobody else administers ${role}. Give it to another person first: remit admin add.`,
    })
  }
}

/** An account at a trusted issuer, and what it is here: `namespace/key`. */
export interface EndedAccount extends ExternalAccount {
  readonly person: string
}

/** Ends what a person has, for good, when the directory of their issuer says that they left. */
export interface PersonEnd {
  /**
   * In the caller's transaction: sign-ins, tokens, consents, what was lent with its grants, connections,
   * administrators' roles and the link to a local account. No token counts from the commit on. Answers with
   * what is left to do then; where it is not done, the tasks of each part do it. 409 where nobody would be
   * left with one of their roles. NOT ended: memberships, and the local account that they linked.
   */
  end(sql: Sql, account: EndedAccount, recordedAs: RecordActor): Promise<() => Promise<void>>
  /**
   * In the caller's transaction: they may sign in again, unless the operator bars them. Nothing else comes
   * back: tokens of before do not count any more. What was made or given since the end ends too, roles of an
   * administrator included.
   */
  admit(sql: Sql, account: EndedAccount, recordedAs: RecordActor): Promise<() => Promise<void>>
  /**
   * In the caller's transaction: shuts somebody out whom the directory does not tell any more, for as long as
   * nobody knows whether they left. No token counts, sign-ins end, and the link to a local account, through
   * which they would come as somebody else. NOT ended: what they lent, their roles and connections. Answers,
   * and refuses, as `end`.
   */
  hold(sql: Sql, account: EndedAccount, recordedAs: RecordActor): Promise<() => Promise<void>>
  /** In the caller's transaction: they may sign in again, unless the operator bars them. */
  release(sql: Sql, account: EndedAccount, recordedAs: RecordActor): Promise<void>
}

export interface PersonEndDeps extends Pick<Runtime, 'clock'> {
  readonly barring: Pick<Barring, 'barWithin' | 'admitWithin'>
  readonly persons: Pick<Persons, 'namesOf'>
  readonly administrators: Pick<Administrators, 'keeps'>
  readonly delegations: Pick<Delegations, 'revokeWithin'>
  readonly accountLinks: Pick<AccountLinks, 'unlinkWithin'>
}

/** Does NOT check who asks. */
export function createPersonEnd(deps: PersonEndDeps): PersonEnd {
  const { barring, persons, administrators, delegations, accountLinks, clock } = deps

  /** Whoever ends another administrator at once waits here, and then counts this one no more. */
  async function assertOthersAdminister(sql: Sql, names: ReadonlySet<string>): Promise<void> {
    const rows = await sql.query<{ subject: string }>(
      'select subject from administrators order by subject for update',
    )
    for (const role of roles) {
      const holders: string[] = []
      for (const { subject } of rows)
        if (await administrators.keeps(sql, subject, role)) holders.push(subject)
      if (holders.some((holder) => names.has(holder)) && holders.every((holder) => names.has(holder)))
        throw new LastAdministrator(role)
    }
  }

  async function tokensFromNow(sql: Sql, { issuer, sub }: ExternalAccount): Promise<void> {
    await sql.query(
      `insert into account_ends (issuer, sub, tokens_from) values ($1, $2, $3)
       on conflict (issuer, sub) do update set tokens_from = greatest(account_ends.tokens_from, excluded.tokens_from)`,
      [issuer, sub, new Date(clock.now())],
    )
  }

  async function endAll(
    sql: Sql,
    account: EndedAccount,
    recordedAs: RecordActor,
  ): Promise<() => Promise<void>> {
    const subject = `user:${account.person}`
    const { issuer, sub } = account
    const settles = [...((await accountLinks.unlinkWithin(sql, { issuer, sub }, recordedAs)) ?? [])]
    const endedRows = await sql.query<{ id: string }>(
      `select id from delegations where subject = $1 and state <> 'revoked' order by id`,
      [subject],
    )
    for (const { id } of endedRows) settles.push(await delegations.revokeWithin(sql, id, recordedAs))
    for (const text of ends) await sql.query(text, [subject])
    await sql.query(
      `update connections set state = 'ended', sealed = null, wrapped_key = null, key_version = null,
         lease = lease + 1, leased_until = null, ended_at = $2
       where subject = $1 and state <> 'ended'`,
      [subject, new Date(clock.now())],
    )
    return async () => {
      for (const settle of settles) await settle()
    }
  }

  return {
    async end(sql, account, recordedAs) {
      const names = await persons.namesOf(sql, `user:${account.person}`)
      await assertOthersAdminister(sql, names)
      await barring.barWithin(sql, account.person, 'directory', recordedAs)
      await tokensFromNow(sql, account)
      await sql.query('delete from administrators where subject = any($1::text[])', [[...names]])
      return endAll(sql, account, recordedAs)
    },
    async admit(sql, account, recordedAs) {
      await tokensFromNow(sql, account)
      const settle = await endAll(sql, account, recordedAs)
      // Only of this key: a local account that was linked meanwhile is somebody's whom nobody ended.
      await sql.query('delete from administrators where subject = $1', [`user:${account.person}`])
      await barring.admitWithin(sql, account.person, recordedAs)
      return settle
    },
    async hold(sql, account, recordedAs) {
      await assertOthersAdminister(sql, await persons.namesOf(sql, `user:${account.person}`))
      await barring.barWithin(sql, account.person, 'directory', recordedAs)
      const { issuer, sub } = account
      const settles = (await accountLinks.unlinkWithin(sql, { issuer, sub }, recordedAs)) ?? []
      return async () => {
        for (const settle of settles) await settle()
      }
    },
    async release(sql, account, recordedAs) {
      await barring.admitWithin(sql, account.person, recordedAs)
    },
  }
}

// What waits for an answer of theirs, or was said to them, and leads to something that they would have.
const ends = [
  ...['backchannel_requests', 'connection_requests', 'offers', 'offer_limits'].map(
    (table) => `delete from ${table} where subject = $1`,
  ),
  `delete from connection_agents where connection in (select id from connections where subject = $1)`,
]
