import { type RecordActor, record } from '../../audit/record.ts'
import { AppError } from '../../kernel/errors.ts'
import { movedTo } from '../../store/moved.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Sql } from '../../store/sql.ts'
import { consoleClient } from '../registry/clients.ts'
import { endSignIns, personHash, tokenMsMax } from '../revocation/artifacts.ts'
import { createRevocations } from '../revocation/revocations.ts'
import type { ExternalAccount } from './links.ts'
import type { Persons } from './persons.ts'
import { endPushOf, forgetPushOf } from './push-ends.ts'

/** What ends with a sign-in, each in the caller's transaction. NOT ended: what the person has lent. */
export interface SignInEnds {
  /** The authorization server's own sessions of this person, and requests there that wait for them. */
  atAuthorizationServer(sql: Sql, person: string): Promise<void>
  /**
   * In every browser, and with it grants: `own` are those of programs that act as the person, `all` those of
   * agents' too. Codes, refresh tokens and access tokens of a grant end with it.
   */
  everywhere(sql: Sql, person: string, options: { readonly grants: 'own' | 'all' }): Promise<void>
  /**
   * All that one program holds that acts as the person, and the authorization server's sessions, by which it
   * gets more.
   */
  program(sql: Sql, person: string, clientId: string): Promise<void>
  /**
   * Grants that came of signing in by an account elsewhere. Of the person whom it is linked to, also the
   * authorization server's sessions and the messages to browsers: neither tells by what they came.
   */
  through(sql: Sql, account: ExternalAccount, linked: string | undefined): Promise<void>
  /** One grant, with its codes, refresh tokens and access tokens. Its link need not be there any more. */
  grant(sql: Sql, id: string): Promise<void>
}

/** Ends sign-ins in the caller's transaction. */
export function createSignInEnds({
  seal,
  clock,
  issuer,
}: Pick<Runtime, 'seal' | 'clock' | 'issuer'>): SignInEnds {
  const atAuthorizationServer: SignInEnds['atAuthorizationServer'] = async (sql, person) => {
    await endSignIns(sql, personHash(seal, person), new Date(clock.now()))
  }

  // Before the links: who ends a delegation takes both in this order, and neither waits for the other for
  // ever.
  async function endArtifacts(sql: Sql, ids: readonly string[]): Promise<void> {
    await sql.query(
      `delete from oauth_artifacts where grant_id = any($1) or (model = 'Grant' and id_hash = any($2))`,
      [ids, ids.map((id) => seal.hash('Grant', id))],
    )
  }

  async function revokeTokens(sql: Sql, ids: readonly string[]): Promise<void> {
    const revocations = createRevocations({ sql, clock })
    const revokedUntil = new Date(clock.now() + tokenMsMax)
    for (const id of ids)
      await revocations.revoke({ kind: 'grant', issuer, id }, { until: revokedUntil, reason: 'grant ended' })
  }

  async function endGrants(sql: Sql, which: string, values: readonly (string | boolean)[]): Promise<void> {
    const idsOf = async (text: string) =>
      (await sql.query<{ grant_id: string }>(text, values)).map((row) => row.grant_id)
    await endArtifacts(sql, await idsOf(`select grant_id from oauth_grants where ${which}`))
    await revokeTokens(sql, await idsOf(`delete from oauth_grants where ${which} returning grant_id`))
  }

  return {
    atAuthorizationServer,
    async everywhere(sql, person, { grants }) {
      // An account elsewhere is also at the pages as whoever it is linked to.
      await sql.query('delete from browser_sessions where person = $1 or upstream_person = $1', [person])
      await forgetPushOf(sql, person)
      await atAuthorizationServer(sql, person)
      await endGrants(sql, 'subject = $1 and (not $2 or delegation is null)', [person, grants === 'own'])
      // Also what no grant hangs on yet.
      if (grants === 'all')
        await sql.query('delete from oauth_artifacts where person_hash = $1 and ended_at is null', [
          personHash(seal, person),
        ])
    },
    async program(sql, person, clientId) {
      await atAuthorizationServer(sql, person)
      await endGrants(sql, 'subject = $1 and client_id = $2 and delegation is null', [person, clientId])
    },
    async through(sql, { issuer, sub }, linked) {
      if (linked !== undefined) {
        // Whose browser it was is not known: each is asked anew when it is next opened.
        await endPushOf(sql, linked, { at: new Date(clock.now()) })
        await atAuthorizationServer(sql, linked)
      }
      await endGrants(sql, 'upstream_issuer = $1 and upstream_sub = $2', [issuer, sub])
    },
    async grant(sql, id) {
      await endArtifacts(sql, [id])
      await sql.query('delete from oauth_grants where grant_id = $1', [id])
      await revokeTokens(sql, [id])
    },
  }
}

/** Who shuts a person out: the operator at the machine, or the directory that their account comes from. */
export type BarredBy = 'operator' | 'directory'

/** Shuts somebody out and lets them in again. */
export interface Barring {
  /**
   * No token of theirs counts from now on, and every sign-in and grant of theirs ends, also what came of an
   * account elsewhere as the person whom it is linked to, and every yes to a model plan that is not in force;
   * what they lent stays. `recordedAs` is left out where it is part of what
   * is on record by itself.
   */
  bar(person: string, recordedAs?: RecordActor): Promise<void>
  /** The same in the caller's transaction. Where both bar them, it is the operator's to take back. */
  barWithin(sql: Sql, person: string, by: BarredBy, recordedAs?: RecordActor): Promise<void>
  /**
   * They may sign in again, and have to. False: they were not barred. 409 while a directory holds the account
   * inactive: it is the directory's to take back. 409 for a key that was moved, or is being moved: the blocks
   * of that person stand under the new one.
   */
  admit(person: string, recordedAs?: RecordActor): Promise<boolean>
  /** Takes back in the caller's transaction what a directory did. False: the operator bars them, or none. */
  admitWithin(sql: Sql, person: string, recordedAs: RecordActor): Promise<boolean>
}

interface BarringDeps extends Pick<Runtime, 'database' | 'clock'> {
  readonly signInEnds: SignInEnds
  readonly persons: Persons
  /** Takes back what these subjects agreed to as administrators and what is not done yet. */
  readonly endApprovals: (sql: Sql, subjects: readonly string[]) => Promise<void>
  /** The directory that holds this account inactive, if any. */
  readonly deactivatedBy: (sql: Sql, person: string) => Promise<string | undefined>
}

/** Bars a person from everything, or admits them again, on record. */
export function createBarring(deps: BarringDeps): Barring {
  const { database, clock, signInEnds, persons, endApprovals, deactivatedBy } = deps

  async function endAll(sql: Sql, person: string, names: readonly string[]): Promise<void> {
    await signInEnds.everywhere(sql, person, { grants: 'all' })
    // As somebody else, to whom it is linked: else that counts again once the account is admitted.
    const account = await persons.accountOf(sql, `user:${person}`)
    if (account !== undefined)
      await signInEnds.through(sql, account, await persons.linkedTo(sql, `user:${person}`))
    await endApprovals(sql, names)
  }

  const barWithin: Barring['barWithin'] = async (sql, person, by, recordedAs) => {
    const names = [...(await persons.namesOf(sql, `user:${person}`)), `user:${person}`]
    // Whoever counts one of them as an administrator now is waited for: then it was before, or does not
    // count.
    await sql.query(
      'select from administrators where subject = any($1::text[]) order by subject for update',
      [names],
    )
    const revocations = createRevocations({ sql, clock })
    await revocations.revoke({ kind: 'subject', id: `user:${person}` }, { reason: by })
    await endAll(sql, person, names)
    if (recordedAs !== undefined)
      await record(sql, recordedAs, { event: 'person_disabled', user: `user:${person}` })
  }

  async function movingTo(sql: Sql, person: string): Promise<string | undefined> {
    const [begun] = await sql.query<{ new_key: string }>(
      'select new_key from person_moves where old_key = $1 and ended_at is null',
      [person],
    )
    const subject = `user:${person}`
    return begun?.new_key ?? (await movedTo(sql, [subject])).get(subject)?.slice('user:'.length)
  }

  async function lift(sql: Sql, person: string, recordedAs: RecordActor | undefined): Promise<boolean> {
    const lifted = await createRevocations({ sql, clock }).lift({ kind: 'subject', id: `user:${person}` })
    // Whatever was under way when they were shut out, and came to be since.
    if (lifted) await endAll(sql, person, [...(await persons.namesOf(sql, `user:${person}`))])
    if (lifted && recordedAs !== undefined)
      await record(sql, recordedAs, { event: 'person_enabled', user: `user:${person}` })
    return lifted
  }

  return {
    bar: (person, recordedAs) =>
      database.transaction((sql) => barWithin(sql, person, 'operator', recordedAs)),
    barWithin,
    admit: (person, recordedAs) =>
      database.transaction(async (sql) => {
        const directory = await deactivatedBy(sql, person)
        if (directory !== undefined)
          throw new AppError('conflict', {
            public: `The directory ${directory} holds ${person} inactive. Activate the account there.`,
          })
        const newKey = await movingTo(sql, person)
        if (newKey !== undefined)
          throw new AppError('conflict', {
            public: `${person} was moved to ${newKey}, and stays disabled. Enable ${newKey} if they are to sign in.`,
          })
        return lift(sql, person, recordedAs)
      }),
    async admitWithin(sql, person, recordedAs) {
      const [row] = await sql.query<{ reason: string }>(
        `select reason from revocations where kind = 'subject' and key = $1 for update`,
        [`user:${person}`],
      )
      return row?.reason === 'directory' && (await lift(sql, person, recordedAs))
    },
  }
}

/** Ends a person's sign-in to the console, whole or not at all, and on record. */
export type ConsoleSignOut = (person: string) => Promise<void>

interface ConsoleSignOutDeps extends Pick<Runtime, 'database' | 'newTxn'> {
  readonly signInEnds: Pick<SignInEnds, 'program'>
}

/**
 * Its tokens in every tab, and the authorization server's sessions: a page that is opened again would be
 * signed in by those without asking. Does NOT check who asks.
 */
export const createConsoleSignOut =
  ({ database, signInEnds, newTxn }: ConsoleSignOutDeps): ConsoleSignOut =>
  (person) =>
    database.transaction(async (sql) => {
      await signInEnds.program(sql, person, consoleClient)
      const recordedAs = {
        subject: `user:${person}`,
        actors: [],
        client: consoleClient,
        txn: newTxn(),
      } as const
      await record(sql, recordedAs, { event: 'signed_out' })
    })
