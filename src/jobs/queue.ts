import type { Sql } from '../store/sql.ts'

/** One piece of work: `key` orders it after earlier ones of the same key; `data` must be JSON. */
export interface Task {
  readonly key: string
  /**
   * Whose it is, where several share the queue: who has nothing running goes first, and nobody holds every
   * place.
   */
  readonly turn?: string
  readonly data: Readonly<Record<string, string | number>>
}

/** A task that goes on later, at a time that its handler chose. */
export interface LaterTask extends Task {
  readonly afterSeconds: number
}

/**
 * Runs one task. It may run again after a crash, so it must be able to run twice. A throw means "try again
 * later", after a pause that grows; `continueLater`, called once before it returns, has this task end and
 * that one be there in one step, in its place. What can never succeed returns normally and says so elsewhere.
 * `signal` aborts at shutdown, and when another may have begun the same task, since nothing was heard of this
 * process for too long: then nothing that the handler says counts any more.
 */
export type Handler = (
  data: Task['data'],
  signal: AbortSignal,
  continueLater: (task: LaterTask) => void,
) => Promise<void>

/** What a batch's handler is told, and says on its way. */
export interface BatchRun {
  /** As a {@link Handler}'s. */
  readonly signal: AbortSignal
  /** Ends these tasks of the batch now, in one statement: what else is in it keeps none of them waiting. */
  readonly done: (tasks: readonly Task['data'][]) => Promise<void>
  /** The id of the trace in which the task was sent; undefined where it was sent in none. */
  readonly traceOf: (task: Task['data']) => string | undefined
}

/**
 * Runs tasks of one `turn` together, each as a {@link Handler} does. A throw means "try again later" for
 * those that are not done, each of them alone: of what failed together nobody knows who was at fault. Where
 * it was nobody, they may go together again.
 */
export type BatchHandler = (batch: readonly Task['data'][], run: BatchRun) => Promise<void>

/** A queue in the database: a task exists iff the transaction that sent it was committed. */
export interface Queue extends AsyncDisposable {
  /** Makes the queue, so that tasks can be sent to it; begins no work. */
  prepare(): Promise<void>
  /** Prepares the queue, takes up what a dead process left, and begins to work. */
  start(handler: Handler): Promise<void>
  /**
   * The same, with up to so many tasks of one turn at a time in each place. `isNobodys`: whether what was
   * thrown says nothing of any task, and kept none of the others out; defaults to never.
   */
  startBatches(
    handler: BatchHandler,
    tasksMax: number,
    isNobodys?: (error: unknown) => boolean,
  ): Promise<void>
  /**
   * Adds tasks in the caller's transaction, at most one of a key: those of one transaction have no order
   * among them. Call {@link wake} after it was committed. Throws before it is prepared.
   */
  send(sql: Sql, tasks: readonly Task[]): Promise<void>
  /** Has this process look for work now instead of at its next poll. */
  wake(): void
  /** Aborts what runs, waits for it, and stops. Unfinished tasks stay and run at the next start. */
  close(): Promise<void>
}
