import { setTimeout as pause } from 'node:timers/promises'
import type { Sql } from '../store/sql.ts'
import { countWaiting } from './job-store.ts'

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
