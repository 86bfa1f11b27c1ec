import { setTimeout as pause } from 'node:timers/promises'
import { AppError } from '../kernel/errors.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { countWaiting } from './job-store.ts'

/** So long nothing was heard of the process that receives an import: it is gone, or its database was. */
const silentSecondsMax = 120

/**
 * Says in the caller's transaction that the import still comes in. Throws `conflict` where it was given up
 * meanwhile: its key may stand for another request by now, so nothing more of this one goes in.
 */
export async function stillReceiving(sql: Sql, jobId: string): Promise<void> {
  const rows = await sql.query(
    `update jobs set heard_at = now() where id = $1 and state = 'receiving' returning 1`,
    [jobId],
  )
  if (rows.length === 0)
    throw new AppError('conflict', { public: 'The import stood still for too long; send it again.' })
}

/** Says so now and then until it is disposed of, however slowly lines come in. */
export function keepReceiving({ database, beatMs }: IngestContext, jobId: string): Disposable {
  // A database that does not answer hears nothing: whether it goes on is seen at the next batch.
  const beat = (): void => void stillReceiving(database, jobId).catch(() => undefined)
  const timer = setInterval(beat, beatMs).unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

/** Ends an import that came in no further, and frees its key. Nothing where it has ended already. */
export async function breakOff({ database, jobChanged }: IngestContext, jobId: string): Promise<void> {
  await database.query(
    `update jobs set state = 'broken', idempotency_key = null where id = $1 and state = 'receiving'`,
    [jobId],
  )
  jobChanged(jobId)
}

/** Ends the imports of which nothing was heard for so long: their processes cannot do it. */
export async function breakSilent(
  { database, jobChanged }: IngestContext,
  seconds = silentSecondsMax,
): Promise<void> {
  const rows = await database.query<{ id: string }>(
    `update jobs set state = 'broken', idempotency_key = null
     where state = 'receiving' and heard_at <= now() - make_interval(secs => $1) returning id`,
    [seconds],
  )
  for (const { id } of rows) jobChanged(id)
}

// An import that is accepted faster than it is published waits a moment after each batch that adds to it,
// once so many of its documents wait: a look at the queue goes over all of them. It never stands still for
// longer: where publishing does, what comes in is kept, and what it takes away is taken away.
const waitingMax = 5_000
const restMsMax = 1_000
const restMs = 100

/** The rests of one import. */
export interface Rests {
  /** So many documents of a batch wait for publishing now. */
  added(documents: number): void
  /** Before the next batch: lets publishing catch up for up to a second. `signal` ends it early. */
  take(signal: AbortSignal | undefined): Promise<void>
}

/** No rest after what added nothing, nor where nothing was published in the rest before, or since. */
export function createRests(sql: Sql, jobId: string): Rests {
  let added = 0
  let waited = 0
  let standsStill = false
  return {
    added(documents) {
      added += documents
    },
    async take(signal) {
      if (added === 0) return
      const before = await countWaiting(sql, jobId)
      standsStill &&= before >= waited + added
      added = 0
      waited = before
      if (standsStill) return
      const until = performance.now() + restMsMax
      while (waited > waitingMax && signal?.aborted !== true && performance.now() < until) {
        await pause(restMs)
        waited = await countWaiting(sql, jobId)
      }
      standsStill = waited > waitingMax && waited >= before
    },
  }
}
