import type { Fga } from '../authz/fga.ts'
import type { Services } from '../delegation/registry/services.ts'
import type { Ingest } from '../ingest/ingest.ts'
import type { ParseInput } from '../ingest/parse/parsed.ts'
import { inBackground } from '../kernel/background.ts'
import type { Log } from '../kernel/log.ts'
import { printable } from '../kernel/printable.ts'
import { reasonOf } from '../kernel/reason.ts'
import { type Recurring, startRecurring } from '../kernel/recurring.ts'
import { entryFor, type RegisteredSecret } from '../kernel/registered-secret.ts'
import type { GuardedFetch } from '../outbound/guarded-fetch.ts'
import type { Seal } from '../store/encryption.ts'
import { endExpired, takeLease } from '../store/lease.ts'
import { sourcePrefix } from '../store/open-document.ts'
import type { Database } from '../store/sql.ts'
import { noteUnread } from '../store/unread.ts'
import { createClosing } from './closing.ts'
import { Throttled } from './fetch.ts'
import { isCalledSql } from './hooks.ts'
import type { SourceKind } from './kind.ts'
import { createBlocking, settleBlocks } from './people/blocks.ts'
import type { AddressDirectory } from './people/linking.ts'
import { type PurgeDeps, purgeMissing, removeAll } from './purge.ts'
import { readOnce } from './reading.ts'
import { readSource, type SourceRow } from './rows.ts'

/** Reads the sources that are due, each by one process at a time. */
export interface SourceRunner extends AsyncDisposable {
  /**
   * Begins to look, each second. `reads`: whether this process reads sources; what is too old is hidden by
   * every process.
   */
  start(options: { readonly reads: boolean }): void
  /**
   * Reads what is due now, and resolves once all of that has ended. Rejects where the database does not
   * answer.
   */
  runDue(): Promise<void>
}

/** What {@link createSourceRunner} works with. */
export interface SourceRunnerDeps {
  readonly database: Database
  readonly ingest: Ingest
  readonly fga: Pick<Fga, 'read'>
  readonly services: Pick<Services, 'save' | 'remove'>
  readonly kinds: ReadonlyMap<string, SourceKind>
  readonly origins: readonly string[]
  readonly secrets: readonly RegisteredSecret[]
  readonly addresses: AddressDirectory
  /** Of accounts that are nobody the record keeps an HMAC. */
  readonly seal: Pick<Seal, 'hash'>
  readonly outbound: GuardedFetch
  readonly titleOf: (input: ParseInput) => Promise<string | undefined>
  readonly log: Log
  readonly newId: () => string
  readonly now: () => number
  /** Seconds after which another process may go on with the source of one that died. */
  readonly leaseSeconds: number
  /** False: nothing is read for now. */
  readonly isSound: () => boolean
  /** Milliseconds between two looks for what is due. Default a second. */
  readonly lookEveryMs?: number
}

const unreadEveryMs = 60_000

/** Where a source stands by itself: no failure of one of them reaches another. */
export function createSourceRunner(dependencies: SourceRunnerDeps): SourceRunner {
  const { database, log, now, lookEveryMs = 1_000 } = dependencies
  const stopping = new AbortController()
  const running = new Map<string, Run>()
  const recurring: Recurring[] = []
  const close = createClosing(database, now)
  const block = createBlocking(dependencies)
  const blockWhileSound = async (): Promise<void> => {
    if (dependencies.isSound()) await block()
  }

  function run(id: string): Run {
    const lost = new AbortController()
    const signal = AbortSignal.any([stopping.signal, lost.signal])
    const ended = inBackground(async () => {
      try {
        await withLease(dependencies, id, signal, (held) => {
          begun.held = held
          return turn(dependencies, held)
        })
      } catch (error) {
        if (!stopping.signal.aborted) log('source_failed', { source: id, reason: reasonOf(error) })
      }
    }).finally(() => running.delete(id))
    const begun: Run = { ended, lost, held: undefined }
    return begun
  }

  async function begin(): Promise<void> {
    await endLost(database, [...running.values()])
    if (!dependencies.isSound()) return
    const due = await database.query<DueSource>(
      `select id, kind, origin, secret, state from sources s left join source_hooks h on h.source = s.id
       where state in ('active', 'removing') and (next_at <= now() or ${isCalledSql}) order by next_at`,
    )
    for (const source of due) {
      const { id } = source
      // Its credential is with another process: that one reads it.
      if (!isHere(source, dependencies.secrets)) continue
      if (running.has(id) || stopping.signal.aborted) continue
      running.set(id, run(id))
    }
  }

  const allEnded = () => Promise.all([...running.values()].map(({ ended }) => ended))
  return {
    start({ reads }) {
      if (reads) recurring.push(startRecurring(log, 'sources', lookEveryMs, begin))
      recurring.push(
        startRecurring(log, 'close_old', lookEveryMs, close),
        startRecurring(log, 'unread_sources', unreadEveryMs, () => noteUnread(database, 'sources')),
        startRecurring(log, 'source_people', lookEveryMs, blockWhileSound),
      )
    },
    async runDue() {
      await blockWhileSound()
      await begin()
      await allEnded()
      await blockWhileSound()
      await close()
      await noteUnread(database, 'sources')
    },
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('The service stops.'))
      await Promise.all(recurring.map((task) => task[Symbol.asyncDispose]()))
      await allEnded()
    },
  }
}

/** A reading, or a removal, that goes on in this process. */
interface Run {
  readonly ended: Promise<void>
  /** Ends it as it stands. */
  readonly lost: AbortController
  /** Undefined: it has not begun. */
  held: HeldSource | undefined
}

/**
 * Ends what goes on for a source that was paused, removed or changed, or that another process has: it holds a
 * credential, and may stand still at the source until long after that.
 */
async function endLost(database: Database, runs: readonly Run[]): Promise<void> {
  const holders = runs.flatMap(({ held }) => held?.holder ?? [])
  if (holders.length === 0) return
  const rows = await database.query<{ holder: string; state: string; edition: number }>(
    `select leases.holder, sources.state, sources.edition from leases
     join sources on 'source:' || sources.id = leases.object where leases.holder = any($1)`,
    [holders],
  )
  for (const { held, lost } of runs) {
    const now = rows.find(({ holder }) => holder === held?.holder)
    if (held !== undefined && (now?.state !== held.row.state || now.edition !== held.row.edition))
      lost.abort(noLonger())
  }
}

interface DueSource {
  readonly id: string
  readonly kind: string
  readonly origin: string
  readonly secret: string | null
  readonly state: string
}

/** Whether this process may read it: of whose entry no process has the value, nobody does, and it ages. */
const isHere = ({ kind, origin, secret, state }: DueSource, secrets: readonly RegisteredSecret[]): boolean =>
  secret === null ||
  state === 'removing' ||
  entryFor(secrets, { name: secret, kind, origin })?.value !== undefined

/** A source that this process alone may write for. */
export interface HeldSource {
  readonly row: SourceRow
  /** Of its lease. */
  readonly holder: string
  /** When it was taken, by the database's clock. */
  readonly beganAt: Date
  /** Fires when the service stops, and a little after this process may not write for it any more. */
  readonly signal: AbortSignal
  /**
   * Runs a transaction that commits only while this process may write for it, and nobody paused it or changed
   * its settings.
   */
  transaction<T>(work: (sql: Parameters<Parameters<Database['transaction']>[0]>[0]) => Promise<T>): Promise<T>
  /** The same for a transaction of somebody else. */
  assertHeld(sql: Parameters<Parameters<Database['transaction']>[0]>[0]): Promise<void>
}

/**
 * Ends a reading as it stands: the source was paused, removed or changed, or another process has it.
 */
class Lost extends Error {
  override readonly name = 'Lost'
}

const noLonger = () => new Lost('Another process reads this source, or it was paused, removed or changed.')

async function withLease(
  { database, newId, leaseSeconds }: SourceRunnerDeps,
  id: string,
  signal: AbortSignal,
  work: (held: HeldSource) => Promise<void>,
): Promise<void> {
  const objects = [`source:${id}`]
  // On PGlite there is one process, which has each source at most once.
  await endExpired(database, objects, { isAlone: database.kind === 'pglite' })
  const lease = await takeLease({ database, seconds: leaseSeconds, lost: noLonger }, objects, newId())
  if (lease === undefined) return
  try {
    const row = await readSource(database, id)
    const [clock] = await database.query<{ now: Date }>('select now() as now')
    // It may have been paused, or removed and proposed anew, since it was found due.
    if (row === undefined || clock === undefined || !isRun(row.state)) return
    const assertHeld: HeldSource['assertHeld'] = async (sql) => {
      const rows = await sql.query(
        `select from leases join sources on 'source:' || sources.id = leases.object
         where leases.holder = $1 and sources.id = $2 and sources.state = $3 and sources.edition = $4 for share`,
        [lease.holder, id, row.state, row.edition],
      )
      if (rows.length === 0) throw noLonger()
    }
    await work({
      row,
      holder: lease.holder,
      beganAt: clock.now,
      signal,
      assertHeld,
      transaction: (task) =>
        database.transaction(async (sql) => {
          await assertHeld(sql)
          return task(sql)
        }),
    })
  } finally {
    await lease.end()
  }
}

const isRun = (state: string): boolean => state === 'active' || state === 'removing'

const failurePauseSecondsMax = 3_600

/** Reads a source, or goes on with its removal. */
async function turn(dependencies: SourceRunnerDeps, held: HeldSource): Promise<void> {
  const { database, ingest, fga, services, newId } = dependencies
  const { row, signal, assertHeld } = held
  const { id, state, collections } = row
  const name = `${sourcePrefix}${id}`
  const actor = {
    subject: `service:${name}`,
    actors: [],
    client: 'source',
    txn: newId(),
    assertCurrent: assertHeld,
  } as const
  const purging = { database, ingest, fga, actor, id, signal }
  try {
    // Each time: a crash may have left a right out, and an administrator may have taken one away by mistake.
    await services.save({ name, collections, prefixes: [`${id}/`] }, { assertCurrent: assertHeld })
    if (state === 'removing') {
      await settleBlocks(dependencies, id, actor)
      await removeAll(purging)
      await services.remove(name, { assertCurrent: assertHeld })
      await held.transaction((sql) =>
        sql.query(
          `with removed as (
             delete from sources where id = $1 and state = 'removing' returning id, confirmed_by)
           insert into source_ids (id) select id from removed where confirmed_by is not null on conflict do nothing`,
          [id],
        ),
      )
      return
    }
    await noteBegin(held)
    await noteEnd(held, await readOnce({ ...dependencies, held, actor }))
    // What was read counts, whatever becomes of this.
    await purge(held, purging).catch((error: unknown) => {
      if (signal.aborted || error instanceof Lost) throw error
      dependencies.log('source_not_purged', { source: id, reason: reasonOf(error) })
    })
  } catch (error) {
    await noteFailure(held, error)
    throw error
  }
}

/** Says of the first that could not be withdrawn why, unless the reading itself had something to say. */
async function purge({ row, transaction }: HeldSource, purging: PurgeDeps): Promise<void> {
  const [first, ...others] = (await purgeMissing(purging)).failed
  if (first === undefined) return
  const beside = others.length === 0 ? '' : ` So are ${others.length} others.`
  const problem = printable(`${first.document} is gone, and stays hidden: ${first.reason}${beside}`)
  await transaction((sql) =>
    sql.query('update sources set problem = coalesce(problem, $2) where id = $1', [
      row.id,
      problem.slice(0, problemLengthMax),
    ]),
  )
}

/** Shows a reading that takes long, or never ends. */
const noteBegin = ({ row, beganAt, transaction }: HeldSource): Promise<unknown> =>
  transaction((sql) => sql.query('update sources set began_at = $2 where id = $1', [row.id, beganAt]))

/** How a reading ended that went to its end. */
export interface Outcome {
  /** Groups are as the source has them. */
  readonly confirmsGroups: boolean
  /** So are the permissions of every settled item. */
  readonly confirmsItems: boolean
  /** It was read to the source's own end mark. */
  readonly isComplete: boolean
  /** All of its groups were compared with OpenFGA. */
  readonly isCompared: boolean
  /** And from its beginning, by this reading or by those that were killed before it. */
  readonly crawled: boolean
  /** As of when the source was read: the beginning of the first of those readings. */
  readonly itemsAt: Date
  readonly problem: string | undefined
  readonly nameless: SourceRow['nameless']
}

const noteEnd = (
  { row, beganAt, transaction }: HeldSource,
  { confirmsGroups, confirmsItems, isComplete, isCompared, crawled: isCrawled, ...outcome }: Outcome,
): Promise<unknown> =>
  transaction((sql) =>
    sql.query(
      `update sources set began_at = $2, ended_at = now(), failures = 0, problem = $3, nameless = $4::jsonb,
         groups_at = case when $5 and (crawl_wanted_at is null or $9 and crawl_wanted_at < $2) then $2 else groups_at end,
         items_at = case when $6 then greatest(items_at, $10) else items_at end,
         -- Of an earlier version, which went on where another stopped: a reading of all of it comes next.
         crawled_at = case when $7 then $10 when $8 then coalesce(crawled_at, 'epoch') else crawled_at end,
         -- Whoever wanted one since this began gets another.
         crawl_wanted_at = case when $7 and crawl_wanted_at < $10 then null else crawl_wanted_at end,
         -- Whoever had it read again meanwhile is not passed over.
         next_at = case when next_at > $2 then next_at else now() + make_interval(secs => poll_seconds) end
       where id = $1`,
      [
        row.id,
        beganAt,
        outcome.problem ?? null,
        JSON.stringify(outcome.nameless),
        confirmsGroups,
        confirmsItems,
        isCrawled,
        isComplete,
        isCompared,
        outcome.itemsAt,
      ],
    ),
  )

const problemLengthMax = 500

/** Tried again after a pause that grows, or as long as the source asks for. Nothing is confirmed by it. */
const noteFailure = ({ row, beganAt, transaction }: HeldSource, error: unknown): Promise<unknown> =>
  transaction((sql) =>
    sql.query(
      `update sources set began_at = $2, ended_at = now(), failures = failures + 1, problem = $3,
         -- Whoever had it read again meanwhile is not passed over.
         next_at = case when next_at > $2 then next_at else now() + make_interval(secs =>
           greatest($5::float8, least($4::float8, 5 * power(2, least(failures, 20))))) end where id = $1`,
      [
        row.id,
        beganAt,
        printable(reasonOf(error).slice(0, problemLengthMax)),
        failurePauseSecondsMax,
        error instanceof Throttled ? error.afterSeconds : 0,
      ],
    ),
  ).catch((failure: unknown) => {
    // Paused, removed, changed or taken over: there is nothing to note.
    if (!(failure instanceof Lost)) throw failure
  })
