import type { DecisionEvent } from '@remit/contract/decision-event'
import { operator, record } from '../../audit/record.ts'
import type { ExportedHead } from '../../audit/seal/heads.ts'
import type { Fga, StoredTuple, Tuple } from '../../authz/fga.ts'
import { tupleId } from '../../authz/fga.ts'
import type { Clock } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { beginAdoption, isAllAdopted } from '../../store/adopted.ts'
import { distrustGroups } from '../../store/older-groups.ts'
import { type Database, readRows, type Sql } from '../../store/sql.ts'
import { type ApprovalGrant, grantColumns, recordEnd } from '../lending/approval-grant.ts'
import { delegationTuples } from '../lending/delegation.ts'
import type { Delegations } from '../lending/delegations.ts'
import { forgetAgreements } from '../vault/agreements.ts'
import {
  isRecoveryMarked,
  markerObject,
  markRecovery,
  notePutBack,
  type RestoreDetection,
  readMarker,
  tellRecovered,
} from './restore-detection.ts'
import { planAccess, readRestored } from './restored.ts'

type Recovered = Extract<DecisionEvent, { event: 'recovered' }>

/**
 * How much a recovery ended or mended, by kind, as it is on record.
 * - `older`: which of the two is an older copy; `not_known`: nothing tells, and it was asked for all the
 *   same.
 * - `access_mended`: objects on which OpenFGA held other access than our tags say.
 * - `whole_at`: when the database was last known to be whole: what happened after that may be forgotten.
 * - `delegations_ended`: delegations that OpenFGA no longer knows whole: taken back since.
 * - `grants_ended`: grants of approvals: all of them, since each may have been used or taken back since.
 * - `accounts_to_reconnect`: linked accounts, which are to be connected and agreed to once more.
 * - `tuples_removed`: tuples of delegations and grants that the database does not know, or that are over.
 * - `artifacts_ended`: codes, refresh tokens, device codes, grants and the like at the authorization server.
 */
export interface RecoveryReport extends Omit<Recovered, 'event'> {
  /** Ids of the agents that this run disabled; left out as `agents_disabled` is. */
  readonly agents?: readonly string[]
  /** What nothing here tells, and has to be sent by those who keep it. */
  readonly send_again: readonly string[]
}

const memberships = 'members of groups and organizations'
const rights = 'writers and taggers of collections'
const documents = 'documents and their access'
// Nothing else tells of them either: see docs/recovery.md, step 4.
const commands =
  'agents, hosts and persons that were disabled, moves of persons, accounts of sources that were unlinked, changed clients and administrators, rotated keys'
// The copy's are in force: what was taken back since counts again.
const rules =
  'models that came into force or were taken back, sources and APIs that were changed or removed, services that were removed, people who were erased'
// What people did on their own pages: no command of an operator's brings it back.
const ownMeans =
  'passwords that were changed, passkeys that were removed, accounts elsewhere that were unlinked, agents and programs that people blocked'

/** What was kept elsewhere, or is said, of what a restored copy may have forgotten. */
export interface Kept {
  /** Heads of the record. */
  readonly heads: readonly ExportedHead[]
  readonly access: 'end' | 'keep' | undefined
  /**
   * Somebody says that older copies were put in place: of both, whatever shows. Once said, it holds until a
   * recovery has ended.
   */
  readonly anyway: boolean
}

export interface RecoverDeps {
  readonly database: Database
  readonly fga: Fga
  readonly delegations: Delegations
  readonly epoch: RestoreDetection
  readonly clock: Clock
  /** Whether `clock` and the database's are minutes apart: by one of them, what ends now would count. */
  readonly areClocksApart: () => boolean
  /** Makes OpenFGA agree with our tags; how many objects did not. `older`: which of the two is a copy. */
  readonly mendAccess: (older: RecoveryReport['older']) => Promise<number>
  /** Fills the permission index from OpenFGA alone. */
  readonly rebuildIndex: () => Promise<void>
  /** Ends what a search engine holds of another history of the database. */
  readonly forgetSearched: () => Promise<void>
  /**
   * Compares the record with heads that were kept elsewhere: records that they tell of and that are missing
   * here; undefined: none is as new as the copy. Throws `conflict` where it is not the record that they are
   * of.
   */
  readonly countMissing: (heads: readonly ExportedHead[], copiedAt: Date) => Promise<number | undefined>
  /** Takes away all that lets anybody read; how many tuples that were. */
  readonly endAccess: () => Promise<number>
  readonly agents: {
    /** Those that may act. */
    enabled(): Promise<readonly string[]>
    disable(id: string): Promise<unknown>
  }
  /** Tests end the process here. */
  readonly step?: (name: string) => Promise<void>
}

/**
 * After an older copy of the database or of OpenFGA was put in place: ends whatever may have been ended,
 * redeemed or taken back since that copy was made. From its first statement to its last no process lets
 * anybody in; a request that was let in before may still be answered. Each step may run twice, so that one
 * which died is simply run again. On a database that is sound it ends as much. Throws `conflict` where the
 * clocks are apart. NOT undone, because nothing tells of it: agents that were disabled and people that were
 * barred since, accounts and clients that were changed, passwords that were changed, passkeys that were
 * removed, models and sources that were changed, access that was removed from documents.
 * `docs/recovery.md` says what to do about it.
 */
export async function recover(
  deps: RecoverDeps,
  txn: string,
  kept: Kept = nothingKept,
): Promise<RecoveryReport> {
  const { database, fga, epoch, clock, mendAccess, rebuildIndex, forgetSearched } = deps
  const { step = async () => undefined } = deps
  if (deps.areClocksApart())
    throw new AppError('conflict', {
      public:
        'The clocks of this machine and of the database are more than five minutes apart, so nobody can say until when tokens were issued. Set them right, and run it again.',
    })
  // Which of the two is older decides what is believed.
  await epoch.checkUntilKnown()
  const restored = await readRestored(database)
  const copiedAt = new Date(restored?.taken_at ?? clock.now())
  const missing = kept.heads.length === 0 ? undefined : await deps.countMissing(kept.heads, copiedAt)
  const plan = restored && planAccess(restored, kept.access, missing)
  const begun = await beginRecovery(database, new Date(clock.now()), kept.anyway)
  const { wholeAt, logWentBack, saidCopies } = begun
  await markRecovery(fga, txn)
  await epoch.check()
  const older: RecoveryReport['older'] = epoch.older ?? 'not_known'
  await step('begun')

  // First: an older OpenFGA lets read who was taken off. An older database knows less of that than OpenFGA
  // does.
  if (older === 'database') {
    await beginAdoption(database)
    await distrustGroups(database)
  }
  // Of two copies one may still be older than the other. So what shows does not say that the other is of now.
  const areCopies = restored !== undefined || saidCopies || (older === 'database' && logWentBack)
  const isDatabaseCopy = older !== 'openfga' || areCopies
  const isOpenfgaCopy = older !== 'database' || logWentBack || restored?.openfga === true || saidCopies
  // Until they were adopted they stand in OpenFGA alone: what is older there is not mended here.
  const areMembersKept =
    plan !== 'end' &&
    !(isDatabaseCopy && isOpenfgaCopy) &&
    (older === 'database' || (await isAllAdopted(database)))
  let mended = older === 'database' && plan === undefined ? 0 : await mendAccess(older)
  if (plan === 'end') mended += await deps.endAccess()
  await step('access')

  // Nothing tells which of them were disabled since.
  const agents = areCopies ? await deps.agents.enabled() : []
  for (const id of agents) await deps.agents.disable(id)
  await step('agents')

  const { artifacts, sessions } = await database.transaction((sql) => endSignedIn(sql, new Date(clock.now())))
  await database.query('delete from push_subscriptions')
  await database.query('delete from push_ended')
  // One that was taken back since would speak for its directory again.
  if (isDatabaseCopy) await database.query('delete from directory_tokens')
  await step('sessions')

  let grantsEnded = await endGrants(deps, txn)
  await step('grants')

  const accounts = await database.transaction(forgetAgreements)
  await step('accounts')

  const { ended, removed } = await settleDelegations(deps, txn, areCopies)
  // What was prepared meanwhile lost its tuples with the rest.
  grantsEnded += await endGrants(deps, txn)
  await step('delegations')

  await rebuildIndex()
  await step('index')

  await forgetSearched()
  await step('searched')

  const counts = {
    older,
    access_mended: mended,
    whole_at: wholeAt.toISOString(),
    delegations_ended: ended,
    grants_ended: grantsEnded,
    accounts_to_reconnect: accounts,
    tuples_removed: removed,
    sessions_ended: sessions,
    artifacts_ended: artifacts,
    ...(restored && plan && { restored_from: restored.taken_at, access: plan }),
    ...(areCopies && { agents_disabled: agents.length }),
    ...(missing !== undefined && { records_missing: missing }),
  }
  const markedNumber = await readMarker(fga)
  if (!(await isRecoveryMarked(fga, txn))) {
    await notePutBack(database, { tokensFrom: begun.beganAt, isDatabaseCopy })
    throw overtaken()
  }
  const end = await endRecovery(
    database,
    { told: markedNumber, txn, beganAt: begun.beganAt, now: new Date(clock.now()) },
    { event: 'recovered', ...counts },
  )
  await step('ended')
  if (!(await tellRecovered(deps, { ...end, txn, isDatabaseCopy }))) throw overtaken()
  await epoch.check()
  return {
    ...counts,
    ...(areCopies && { agents }),
    send_again: [
      ...(isDatabaseCopy ? [commands, rules, ownMeans, documents, ...(await ofScim(database))] : []),
      ...(areMembersKept ? [] : [memberships, rights]),
    ],
  }
}

/** Those that Remit reads say it by themselves. */
async function ofScim(sql: Sql): Promise<readonly string[]> {
  const rows = await sql.query<{ name: string }>(
    `select name from directories where kind = 'scim' order by name`,
  )
  return rows.map(
    ({ name }) =>
      `people and whole groups of the directory ${name}, by SCIM, with a new token (remit directory token ${name})`,
  )
}

const overtaken = (): AppError =>
  new AppError('conflict', {
    public:
      'Another recovery began after this one, or a copy was put back meanwhile. If nobody is answered, run it again.',
  })

const nothingKept: Kept = { heads: [], access: undefined, anyway: false }

interface Begun {
  readonly beganAt: Date
  readonly wholeAt: Date
  readonly logWentBack: boolean
  /** Also where only a recovery that died was told so: whoever runs it again need not say it. */
  readonly saidCopies: boolean
}

async function beginRecovery(database: Database, now: Date, saysCopies: boolean): Promise<Begun> {
  const [row] = await database.query<Begun>(
    `update epochs set recovering_since = coalesce(recovering_since, $1),
       -- By which its end knows that none began after it. It never goes back: what one ended stays ended.
       tokens_from = date_trunc('milliseconds',
         greatest($1, clock_timestamp(), tokens_from + interval '1 millisecond')),
       said_copies = said_copies or $2
     returning tokens_from as "beganAt", raised_at as "wholeAt", log_went_back as "logWentBack", said_copies as "saidCopies"`,
    [now, saysCopies],
  )
  if (row === undefined) throw new Error('The database has no epoch.')
  return row
}

interface RecoveryEnd {
  readonly told: number
  readonly txn: string
  readonly beganAt: Date
  readonly now: Date
}

/**
 * Only the recovery that began last: what another one was told may ask for more. A million numbers on, years
 * of them, so that what a process tells late that stood still does not make the database look older.
 */
async function endRecovery(
  database: Database,
  { told: markedNumber, txn, beganAt, now }: RecoveryEnd,
  event: Recovered,
): Promise<{ readonly number: number; readonly tokensFrom: Date }> {
  return database.transaction(async (sql) => {
    const [row] = await sql.query<{ number: number; tokensFrom: Date }>(
      `update epochs set number = greatest(number, $1) + 1000000, raised_at = $2, recovering_since = null, log_went_back = false,
         restored = null, said_copies = false,
         -- Those that others issued while they had not heard of it.
         tokens_from = date_trunc('milliseconds', greatest($2, clock_timestamp(), tokens_from))
       where tokens_from = $3 returning number, tokens_from as "tokensFrom"`,
      [markedNumber, now, beganAt],
    )
    if (row === undefined) throw overtaken()
    // What a request made meanwhile that was let in before.
    await endSignedIn(sql, now)
    // Nobody reads by groups of sources before a reading compared all of them.
    await sql.query('update sources set groups_at = null, crawl_wanted_at = now(), next_at = now()')
    await record(sql, operator(txn), event)
    return row
  })
}

/**
 * Of artifacts the rows stay, empty, until they would have been over: a request that has read one would write
 * a deleted row back.
 */
async function endSignedIn(
  sql: Sql,
  now: Date,
): Promise<{ readonly artifacts: number; readonly sessions: number }> {
  const artifacts = await sql.query(
    // A client's assertion that was used stays used.
    `update oauth_artifacts set ended_at = $1, sealed = ''
     where model <> 'ReplayDetection' and ended_at is null returning model`,
    [now],
  )
  await sql.query('delete from oauth_grants')
  const sessions = await sql.query('delete from browser_sessions returning person')
  return { artifacts: artifacts.length, sessions: sessions.length }
}

/**
 * Whatever was offered or agreed to: how often it was used since nobody knows. Its tuples go with the rest.
 */
async function endGrants({ database, clock }: RecoverDeps, txn: string): Promise<number> {
  return database.transaction(async (sql) => {
    await sql.query('delete from offers')
    const ended = await readRows<ApprovalGrant>(
      sql,
      `update approval_grants set state = 'ended', ended_at = $1, settled_at = null where state <> 'ended'
       returning ${grantColumns}`,
      [new Date(clock.now())],
    )
    for (const grant of ended) await recordEnd(sql, operator(txn), grant, 'forgotten')
    return ended.length
  })
}

/**
 * A live row without all of its tuples was taken back since; tuples without a live row are of what was lent
 * since, or was over already. Reads the whole store: it can be asked for no less.
 */
async function settleDelegations(
  { database, fga, delegations, clock }: RecoverDeps,
  txn: string,
  endsAll: boolean,
): Promise<{ readonly ended: number; readonly removed: number }> {
  // Nothing that was under way becomes live once its tuples are gone.
  await endLendings(database, clock)
  const stored = new Map<string, Map<string, StoredTuple>>()
  const granting: StoredTuple[] = []
  for await (const page of fga.readAll()) {
    for (const tuple of page) {
      if (isOfGrant(tuple)) granting.push(tuple)
      const id = delegationOf(tuple)
      if (id === undefined) continue
      const tuplesOfDelegation = stored.get(id) ?? new Map<string, StoredTuple>()
      stored.set(id, tuplesOfDelegation.set(tupleId(tuple), tuple))
    }
  }
  const liveDelegations = await delegations.listLive()
  const brokenDelegations = liveDelegations.filter(
    (delegation) =>
      // OpenFGA may be of the same copy: then it knows as little of what was taken back since.
      endsAll ||
      !delegationTuples(delegation).every((tuple) => stored.get(delegation.id)?.has(tupleId(tuple))),
  )
  for (const { id } of brokenDelegations) await delegations.revoke(id, operator(txn))
  const intactIds = new Set(
    liveDelegations.filter((delegation) => !brokenDelegations.includes(delegation)).map(({ id }) => id),
  )
  if (granting.length > 0) await fga.write({ deletes: granting.map(toKey) })
  let removed = granting.length
  for (const [id, tuples] of stored) {
    if (intactIds.has(id)) continue
    await fga.write({ deletes: [...tuples.values()].map(toKey) })
    removed += tuples.size
  }
  // What was begun since, by a request that was let in before.
  await endLendings(database, clock)
  const emptied = (await delegations.listLive()).filter(({ id }) => stored.has(id) && !intactIds.has(id))
  for (const { id } of emptied) await delegations.revoke(id, operator(txn))
  return { ended: brokenDelegations.length + emptied.length, removed }
}

const endLendings = (database: Database, clock: Clock) =>
  database.query(`update delegations set state = 'revoked', revoked_at = $1 where state = 'lending'`, [
    new Date(clock.now()),
  ])

const isOfGrant = ({ user, object }: StoredTuple): boolean =>
  [object, user].some((name) => name.startsWith('grant:'))

function delegationOf({ user, object }: StoredTuple): string | undefined {
  if (object === markerObject) return undefined
  const named = [object, user].find((name) => name.startsWith('delegation:'))
  return named?.slice('delegation:'.length)
}

const toKey = ({ user, relation, object }: StoredTuple): Tuple => ({
  user,
  relation,
  object: object as FgaObject,
})
