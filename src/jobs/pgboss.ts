import { AsyncResource } from 'node:async_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import type { JobWithMetadata, PgBoss } from 'pg-boss'
import { inBackground } from '../kernel/background.ts'
import { AppError } from '../kernel/errors.ts'
import { fairNext } from '../kernel/fair-next.ts'
import { traced, traceHeaders, traceIdOf } from '../kernel/trace.ts'
import type { Database, Sql } from '../store/sql.ts'
import { type Boss, bossDb, createBoss, schema } from './boss.ts'
import type { BatchHandler, BatchRun, Handler, LaterTask, Queue, Task } from './queue.ts'

/** The queue's name and pace; each has its own default. */
export interface PgBossQueueOptions {
  readonly database: Database
  /** Over the same database. Default: one of its own, which ends with the queue. */
  readonly boss?: Boss
  readonly name: string
  /** Tasks, or batches of them, at a time. Defaults to 8. */
  readonly concurrency?: number
  /** Seconds between looks at the queue, at most: a wake-up comes before. Defaults to 0.5. */
  readonly pollSeconds?: number
  /** Milliseconds between two signs of life. Defaults to 15,000: half of what a claim lasts without one. */
  readonly beatMs?: number
  /**
   * The longest pause before a task that failed is tried again, in seconds. Defaults to 30; the first is a
   * second.
   */
  readonly retryPauseSecondsMax?: number
  /** Told of everything that goes wrong in the background, tasks' failures included. */
  readonly onError: (error: Error) => void
}

/** What holds one place: a task, or some of one turn. */
interface Batch {
  readonly turn: string | null | undefined
  /** Ours, and not settled. */
  readonly open: Set<TaskJob>
  /** Aborted once a task of it is ours no longer. */
  readonly lost: AbortController
  settled: Promise<void>
}

type RunBatch = (
  batch: readonly Task['data'][],
  run: BatchRun,
  continueLater: (task: LaterTask) => void,
) => Promise<void>

/** The types of pg-boss 12 leave out what is answered: the ids that are still ours. */
interface Settled {
  readonly settled: readonly string[]
}

type TaskJob = JobWithMetadata<Task['data']>

// 30 s: a task whose process died without a word is taken up again after that.
const heartbeatSeconds = 30
// A look at the queue goes over the first task of every key that waits: it has to be worth it, and what one
// process has taken no other gets. No more wait here than a few services' worth.
const batchSize = 8
const backlogMax = 256
// A batch is worth it from here on: fewer are not spread over free places.
const shareLeast = 8
// So long is not looked again, in multiples of what a look took, unless there is nothing to do.
const restShare = 4
// Between two tries to say how a batch ended.
const settleMs = 1_000
// How long what runs may take to hear of a shutdown.
const graceMs = 10_000
// Retries go on for as long as a task is kept: an outage of a day must lose nothing.
const queueOptions = {
  policy: 'key_strict_fifo',
  retryLimit: 1_000_000,
  expireInSeconds: 6 * 3_600,
  retentionSeconds: 30 * 86_400,
  deleteAfterSeconds: 3_600,
  heartbeatSeconds,
} as const

/** A {@link Queue} on pg-boss 12 over our own database, so that a task commits with the row it belongs to. */
export const createPgBossQueue = (options: PgBossQueueOptions): Queue => new PgBossQueue(options)

class PgBossQueue implements Queue {
  readonly #options: Required<PgBossQueueOptions>
  readonly #ownBoss: Boss | undefined
  readonly #stopping = new AbortController()
  readonly #running = new Set<Batch>()
  readonly #timers: NodeJS.Timeout[] = []
  /** Tasks can be sent. */
  #prepared: PgBoss | undefined
  /** Tasks are worked on. */
  #boss: PgBoss | undefined
  #handler: RunBatch | undefined
  #tasksMax = 1
  #isNobodys: (error: unknown) => boolean = () => false
  /** Ours, and not begun. */
  #backlog: TaskJob[] = []
  #scan: Promise<void> | undefined
  #isScanning = false
  #isWoken = false
  #restsUntil = 0
  #closing: Promise<void> | undefined
  /** What runs is no step of the request that happened to wake us, and questions go before it. */
  readonly #scanDetached = AsyncResource.bind(() => inBackground(() => this.#scanQueue()))

  constructor(options: PgBossQueueOptions) {
    const boss = options.boss ?? createBoss(options)
    this.#ownBoss = options.boss === undefined ? boss : undefined
    this.#options = {
      concurrency: 8,
      pollSeconds: 0.5,
      beatMs: heartbeatSeconds * 500,
      retryPauseSecondsMax: 30,
      ...options,
      boss,
    }
  }

  async prepare(): Promise<void> {
    await this.#prepare()
  }

  start(handler: Handler): Promise<void> {
    return this.#start(
      async ([task], { signal }, continueLater) => task && handler(task, signal, continueLater),
      1,
    )
  }

  startBatches(
    handler: BatchHandler,
    tasksMax: number,
    isNobodys: (error: unknown) => boolean = () => false,
  ): Promise<void> {
    this.#isNobodys = isNobodys
    return this.#start(handler, tasksMax)
  }

  async #prepare(): Promise<PgBoss> {
    const { name, retryPauseSecondsMax } = this.#options
    const boss = await this.#options.boss.start()
    await boss.createQueue(name, {
      ...queueOptions,
      ...(retryPauseSecondsMax > 0
        ? { retryDelay: 1, retryBackoff: true, retryDelayMax: retryPauseSecondsMax }
        : { retryDelay: 0 }),
    })
    // Warms the cache: a miss inside a transaction would need a second session, which PGlite lacks.
    await boss.getQueue(name)
    this.#prepared = boss
    return boss
  }

  async #start(handler: RunBatch, tasksMax: number): Promise<void> {
    const { database, name, pollSeconds, beatMs } = this.#options
    const boss = await this.#prepare()
    if (database.kind === 'pglite') await retakeAbandoned(boss, database, name)
    this.#boss = boss
    this.#handler = handler
    this.#tasksMax = tasksMax
    this.#timers.push(
      setInterval(() => this.wake(), pollSeconds * 1_000),
      setInterval(() => void this.#beat(boss).catch((error) => this.#report(error)), beatMs),
    )
    this.wake()
  }

  async send(sql: Sql, tasks: readonly (Task & Partial<LaterTask>)[]): Promise<void> {
    if (tasks.length === 0) return
    // Not here: its statements would wait for the caller's transaction, which waits for them.
    if (this.#prepared === undefined) throw new Error('The queue is not prepared: no task can be sent yet.')
    const { name } = this.#options
    const { traceparent } = traceHeaders()
    const jobs = tasks.map(({ key, turn, data: payload, afterSeconds }) => ({
      data: { ...payload, ...(traceparent !== undefined && { traceparent }) },
      singletonKey: key,
      ...(turn !== undefined && { group: { id: turn } }),
      ...(afterSeconds !== undefined && { startAfter: afterSeconds }),
    }))
    await this.#prepared.insert(name, jobs, { db: bossDb(sql) })
  }

  wake(): void {
    this.#isWoken = true
    if (this.#isScanning) return
    this.#isScanning = true
    this.#scan = this.#scanDetached()
  }

  /**
   * Begins tasks one by one as places are free: none waits for those that were fetched along with it. Tasks
   * of those who have none here are looked for even while others wait: they are next.
   */
  async #scanQueue(): Promise<void> {
    const boss = this.#boss
    try {
      while (this.#isWoken && boss !== undefined && !this.#stopping.signal.aborted) {
        this.#isWoken = false
        this.#begin(boss)
        const rests =
          this.#backlog.length >= backlogMax ||
          (this.#backlog.length > 0 && performance.now() < this.#restsUntil)
        if (!rests && (await this.#fetch(boss)) > 0) this.#isWoken = true
      }
    } catch (error) {
      // Looked for again at the next poll.
      this.#report(error)
    } finally {
      this.#isScanning = false
    }
  }

  #begin(boss: PgBoss): void {
    const { concurrency } = this.#options
    while (this.#running.size < concurrency) {
      const next = fairNext<Pick<Batch, 'turn'>>(
        this.#backlog.map((job) => ({ turn: turnOf(job), job })),
        this.#running,
        ({ turn }) => turn,
        Math.max(1, concurrency - 1),
      )
      if (next === undefined) return
      const jobs = this.#batchOf(next.turn)
      this.#backlog = this.#backlog.filter((waitingJob) => !jobs.includes(waitingJob))
      this.#run(boss, next.turn, jobs)
    }
  }

  /**
   * The first of the turn, with its share of those after it: what waits goes to all places that are free for
   * it. What failed before goes alone, unless that was nobody's fault.
   */
  #batchOf(turn: Batch['turn']): TaskJob[] {
    const jobs = this.#backlog.filter((job) => turnOf(job) === turn)
    const [first] = jobs
    if (first === undefined || !goesTogether(first)) return jobs.slice(0, 1)
    const together = jobs.filter(goesTogether)
    const { concurrency } = this.#options
    const ownRunning = [...this.#running].filter((batch) => batch.turn === turn).length
    const free = Math.max(1, Math.min(concurrency - this.#running.size, concurrency - 1 - ownRunning))
    const share = Math.max(shareLeast, Math.ceil(together.length / free))
    return together.slice(0, Math.min(share, this.#tasksMax))
  }

  /** Takes the oldest tasks that are of nobody else than those of whom some are here already. */
  async #fetch(boss: PgBoss): Promise<number> {
    const startedMs = performance.now()
    const ignoreGroups = [...new Set(this.#backlog.flatMap((job) => turnOf(job) ?? []))]
    const jobs = await boss.fetch<Task['data']>(this.#options.name, {
      batchSize: Math.max(batchSize, this.#tasksMax),
      ignoreGroups,
      includeMetadata: true,
    })
    this.#restsUntil = performance.now() + (performance.now() - startedMs) * restShare
    // What is ours twice was nobody's in between.
    this.#lose((job) => jobs.some(({ id }) => id === job.id))
    this.#backlog.push(...jobs)
    return jobs.length
  }

  #run(boss: PgBoss, turn: Batch['turn'], jobs: readonly TaskJob[]): void {
    const batch: Batch = {
      turn,
      open: new Set(jobs),
      lost: new AbortController(),
      settled: Promise.resolve(),
    }
    this.#running.add(batch)
    batch.settled = this.#settle(boss, batch)
      .catch((error) => this.#report(error))
      .finally(() => {
        this.#running.delete(batch)
        this.wake()
      })
  }

  async #settle(boss: PgBoss, batch: Batch): Promise<void> {
    const { name } = this.#options
    const { open, lost } = batch
    const signal = AbortSignal.any([this.#stopping.signal, lost.signal])
    // It may have waited here for so long, or this process stood still for so long, that it is another's by
    // now.
    const lapsed = await this.#untilHeard(batch, () => this.#lapsedOf(boss, [...open]))
    for (const job of lapsed) open.delete(job)
    if (open.size === 0) return
    let later: LaterTask | undefined
    try {
      signal.throwIfAborted()
      await this.#handle(boss, batch, signal, (task) => {
        later = task
      })
    } catch (error) {
      this.#report(error)
      // The message may quote a document; only the name is stored.
      const output = {
        error: error instanceof Error ? error.name : 'thrown value',
        isNobodys: this.#isNobodys(error),
      }
      if (open.size > 0) await this.#untilHeard(batch, () => boss.fail(name, [...open], output))
      return
    }
    const [job] = open
    if (job === undefined) return
    const next = later
    await this.#untilHeard<unknown>(batch, () =>
      next === undefined ? boss.complete(name, [...open]) : this.#replace(boss, job, next),
    )
  }

  /**
   * Says something of a batch until the database hears it. What nobody settles during an outage would be
   * taken for a dead process's half a minute later, and go in alone. What is another's meanwhile is left to
   * it.
   */
  async #untilHeard<T>({ lost }: Batch, say: () => Promise<T>): Promise<T> {
    const over = AbortSignal.any([this.#stopping.signal, lost.signal])
    for (;;) {
      try {
        return await say()
      } catch (error) {
        if (over.aborted || !isAway(error)) throw error
        this.#report(error)
        await pause(settleMs, undefined, { signal: over }).catch(() => undefined)
      }
    }
  }

  /**
   * What a request left to be done is a later step of its trace; a batch, which is one step, of its first
   * task's.
   */
  #handle(
    boss: PgBoss,
    { open }: Batch,
    signal: AbortSignal,
    continueLater: (task: LaterTask) => void,
  ): Promise<void> {
    const { name } = this.#options
    const jobByTask = new Map(
      [...open].map((job) => {
        const { traceparent: _, ...task } = job.data
        return [task, job] as const
      }),
    )
    const complete = async (tasks: readonly Task['data'][]): Promise<void> => {
      const jobs = tasks.flatMap((task) => jobByTask.get(task) ?? [])
      if (jobs.length === 0) return
      // Before it: a sign of life that comes too late would take what is complete for another's.
      for (const job of jobs) open.delete(job)
      try {
        await boss.complete(name, jobs)
      } catch (error) {
        for (const job of jobs) open.add(job)
        throw error
      }
    }
    const traceOf = (task: Task['data']): string | undefined => {
      const job = jobByTask.get(task)
      return job && traceIdOf(carrierOf(job))
    }
    const [first] = open
    return traced(
      `job ${name}`,
      {
        kind: 'internal',
        attributes: { 'messaging.destination.name': name, 'messaging.batch.message_count': open.size },
        carrier: first === undefined ? {} : carrierOf(first),
      },
      async () => this.#handler?.([...jobByTask.keys()], { signal, done: complete, traceOf }, continueLater),
    )
  }

  /** The task ends and the next one is there, in one transaction; neither, where it is another's by now. */
  async #replace(boss: PgBoss, job: TaskJob, later: LaterTask): Promise<void> {
    const { database, name } = this.#options
    await database.transaction(async (sql) => {
      const { settled: ours } = (await boss.complete(name, job, null, { db: bossDb(sql) })) as Settled
      if (ours.length > 0) await this.send(sql, [later])
    })
  }

  /**
   * Says that we are still at it: what is not heard of for so long is taken for abandoned, and is another's
   * then.
   */
  async #beat(boss: PgBoss): Promise<void> {
    const lapsed = await this.#lapsedOf(boss, [...this.#backlog, ...this.#begun()])
    this.#lose((job) => lapsed.includes(job))
  }

  /** Those of these tasks that are ours no longer; the others are for another while. */
  async #lapsedOf(boss: PgBoss, jobs: TaskJob[]): Promise<TaskJob[]> {
    if (jobs.length === 0) return []
    const { settled: ours } = (await boss.touch(this.#options.name, jobs)) as Settled
    return jobs.filter(({ id }) => !ours.includes(id))
  }

  /** Begins none of them, and tells those that run: whatever they still settle is refused. */
  #lose(isLost: (job: TaskJob) => boolean): void {
    this.#backlog = this.#backlog.filter((job) => !isLost(job))
    for (const { open, lost } of this.#running)
      if ([...open].some(isLost))
        lost.abort(new Error('This task was not heard of for too long, and is taken up anew.'))
  }

  #begun(): TaskJob[] {
    return [...this.#running].flatMap(({ open }) => [...open])
  }

  #report(error: unknown): void {
    if (this.#stopping.signal.aborted) return
    this.#options.onError(error instanceof Error ? error : new Error(String(error)))
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#stopping.abort(new Error('The service is shutting down.'))
    for (const timer of this.#timers) clearInterval(timer)
    await this.#scan
    const settlements = [...this.#running].map((batch) => batch.settled)
    await Promise.race([Promise.all(settlements), pause(graceMs, undefined, { ref: false })])
    // What was not begun, or did not hear, is anybody's again, and no longer ours to settle.
    const unsettled = [...this.#backlog, ...this.#begun()]
    if (unsettled.length > 0)
      await this.#boss
        ?.fail(this.#options.name, unsettled, { error: 'abandoned' })
        .catch((error) => this.#report(error))
    await this.#ownBoss?.[Symbol.asyncDispose]()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** Whatever else ends a try, such as a lost process, writes over what the one before it failed by. */
const goesTogether = ({ retryCount, output }: TaskJob): boolean =>
  retryCount === 0 || (isObject(output) && 'isNobodys' in output && output.isNobodys === true)

const isAway = (error: unknown): boolean => error instanceof AppError && error.code === 'storage_unavailable'

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

const carrierOf = ({ data }: TaskJob): Readonly<Record<string, string>> => {
  const { traceparent } = data
  return typeof traceparent === 'string' ? { traceparent } : {}
}

const turnOf = ({ groupId }: TaskJob): string | null | undefined => groupId

// PGlite has one process: what is active at start belonged to a dead one. On native Postgres another live
// process may hold it, so there only a missed heartbeat frees it.
async function retakeAbandoned(boss: PgBoss, sql: Sql, name: string): Promise<void> {
  const rows = await sql.query<{ id: string }>(
    `select id from ${schema}.job where name = $1 and state = 'active'`,
    [name],
  )
  const ids = rows.map(({ id }) => id)
  if (ids.length > 0) await boss.fail(name, ids, { error: 'abandoned' })
}
