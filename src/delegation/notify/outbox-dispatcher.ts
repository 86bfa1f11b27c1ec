import type { Queue, Task } from '../../jobs/queue.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Database, Sql } from '../../store/sql.ts'

/**
 * How those outside are told that something waits for them: how long one try may take, and how often it is
 * tried.
 */
export const delivery = {
  /** Milliseconds, of one request. */
  timeoutMs: 5_000,
  /** Of an answer, which nobody reads. */
  bytesMax: 16_384,
  /**
   * Milliseconds after which whoever has not sent by then leaves it to others: the queue takes them for dead
   * then.
   */
  standingMs: 30_000,
} as const

/** Seconds until the next try after the first, second, … one that failed for a while. */
const pauses = [2, 10, 60, 300]

/** How many seconds to wait after so many tries; undefined: they were enough. */
export const pauseAfter = (tries: number): number | undefined => pauses[tries - 1]

/** Hands to a queue what the tables say that somebody outside is to be told. */
export interface OutboxDispatcher extends AsyncDisposable {
  /** Hands over now what there is to tell of this approval; nobody waits for it. */
  wake(approval: string): void
  /** Hands over all there is, or all of this approval. */
  dispatch(approval?: string): Promise<void>
}

export interface OutboxDispatcherDeps {
  /** In the log, of a look that failed: `NAME_failed`. */
  readonly name: string
  readonly database: Database
  readonly queue: Pick<Queue, 'send' | 'wake'>
  /** What nobody handed over yet, marked in this transaction as handed over. */
  readonly take: (sql: Sql, approval: string | undefined) => Promise<readonly Task[]>
  readonly log: Log
  /**
   * Milliseconds between two looks for what nobody woke us for: that of a process that died before. Default
   * 5,000.
   */
  readonly everyMs?: number
}

/** The mark and the task commit together: a crash loses none, and no two processes hand over the same. */
export function startOutboxDispatcher(deps: OutboxDispatcherDeps): OutboxDispatcher {
  const { name, database, queue, take, log, everyMs = 5_000 } = deps
  const running = new Set<Promise<void>>()
  let isClosed = false

  async function dispatch(approval?: string): Promise<void> {
    const tasks = await database.transaction(async (sql) => {
      const due = await take(sql, approval)
      await queue.send(sql, due)
      return due
    })
    if (tasks.length > 0) queue.wake()
  }

  function wake(approval?: string): void {
    if (isClosed) return
    const run = dispatch(approval)
      .catch((error: unknown) => log(`${name}_failed`, { reason: reasonOf(error) }))
      .finally(() => running.delete(run))
    running.add(run)
  }

  const timer = setInterval(() => wake(), everyMs).unref()
  return {
    wake,
    dispatch,
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      isClosed = true
      await Promise.all(running)
    },
  }
}
