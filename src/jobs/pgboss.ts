import { AsyncResource } from 'node:async_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { type Db, type Job, PgBoss } from 'pg-boss'
import { patiently } from '../kernel/patient.ts'
import { traced, traceHeaders } from '../kernel/trace.ts'
import { nextInTurn } from '../kernel/turns.ts'
import type { Database, Sql, SqlValue } from '../store/sql.ts'
import type { Handler, Queue, Task } from './queue.ts'

export interface PgBossQueueOptions {
  readonly database: Database
  readonly name: string
  /** Tasks at a time. Defaults to 8. */
  readonly concurrency?: number
  /** Seconds between looks at the queue, at most: a wake-up comes before. Defaults to 0.5. */
  readonly pollSeconds?: number
  /** Milliseconds between two signs of life. Defaults to 15,000: half of what a claim lasts without one. */
  readonly beatMs?: number
  /** The longest pause before a task that failed is tried again, in seconds. Defaults to 30; the first is a second. */
  readonly retryPauseSecondsMax?: number
  /** Told of everything that goes wrong in the background, tasks' failures included. */
  readonly onError: (error: Error) => void
}

interface Run {
  readonly settled: Promise<void>
  /** Aborted once the task is ours no longer. */
  readonly lost: AbortController
}

// A queue in its own schema. 30 s: a task whose process died without a word is taken up again after that.
const schema = 'pgboss'
const heartbeatSeconds = 30
// A look at the queue goes over the first task of every key that waits: it has to be worth it, and what one process has taken no
// other gets. No more are held than a few services' worth.
const takenAtOnce = 8
const takenMax = 256
// So long is not looked again, in multiples of what a look took, unless there is nothing to do.
const restShare = 4
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
export function createPgBossQueue(options: PgBossQueueOptions): Queue {
  const { database, name, concurrency = 8, pollSeconds = 0.5, retryPauseSecondsMax = 30, onError } = options
  const { beatMs = heartbeatSeconds * 500 } = options
  const stopping = new AbortController()
  const boss = new PgBoss({
    db: bossDb(database),
    backend: database.kind,
    schema,
    schedule: false,
    useListenNotify: false,
    openTelemetry: { enabled: false },
    superviseIntervalSeconds: 15,
    monitorIntervalSeconds: 15,
    reindex: database.kind === 'postgres',
    monitorVacuum: database.kind === 'postgres',
  })
  boss.on('error', onError)
  /** Ours, and not begun. */
  let taken: Job<Task['data']>[] = []
  const running = new Map<Job<Task['data']>, Run>()
  const timers: NodeJS.Timeout[] = []
  let handle: Handler | undefined
  let looked: Promise<void> | undefined
  let isLooking = false
  let isAsked = false
  let restsUntil = 0
  let closing: Promise<void> | undefined

  async function start(handler: Handler): Promise<void> {
    await boss.start()
    await boss.createQueue(name, {
      ...queueOptions,
      ...(retryPauseSecondsMax > 0
        ? { retryDelay: 1, retryBackoff: true, retryDelayMax: retryPauseSecondsMax }
        : { retryDelay: 0 }),
    })
    // Warms the cache: a miss inside a transaction would need a second session, which PGlite lacks.
    await boss.getQueue(name)
    if (database.kind === 'pglite') await retakeAbandoned(boss, database, name)
    handle = handler
    timers.push(
      setInterval(wake, pollSeconds * 1_000),
      setInterval(() => void beat().catch(report), beatMs),
    )
    wake()
  }

  function wake(): void {
    isAsked = true
    if (isLooking) return
    isLooking = true
    looked = lookOwn()
  }

  /** What runs is no step of the request that happened to wake us, and questions go before it. */
  const lookOwn = AsyncResource.bind(() => patiently(look))

  /**
   * Begins tasks one by one as places are free: none waits for those that were taken along with it. Of whom none is taken, tasks
   * are looked for even while others wait: they are next.
   */
  async function look(): Promise<void> {
    try {
      while (isAsked && !stopping.signal.aborted) {
        isAsked = false
        begin()
        const rests = taken.length >= takenMax || (taken.length > 0 && performance.now() < restsUntil)
        if (handle !== undefined && !rests && (await take()) > 0) isAsked = true
      }
    } catch (error) {
      // Looked for again at the next poll.
      report(error)
    } finally {
      isLooking = false
    }
  }

  function begin(): void {
    while (running.size < concurrency) {
      const job = nextInTurn(taken, running.keys(), turnOf, Math.max(1, concurrency - 1))
      if (job === undefined) return
      taken = taken.filter((other) => other !== job)
      run(job)
    }
  }

  /** Takes the oldest tasks that are of nobody else than those of whom some are taken already. */
  async function take(): Promise<number> {
    const since = performance.now()
    const ignoreGroups = [...new Set(taken.flatMap((job) => turnOf(job) ?? []))]
    const jobs = await boss.fetch<Task['data']>(name, { batchSize: takenAtOnce, ignoreGroups })
    restsUntil = performance.now() + (performance.now() - since) * restShare
    // What is ours twice was nobody's in between.
    lose((job) => jobs.some(({ id }) => id === job.id))
    taken.push(...jobs)
    return jobs.length
  }

  function run(job: Job<Task['data']>): void {
    const lost = new AbortController()
    const settled = settle(job, AbortSignal.any([stopping.signal, lost.signal]))
      .catch(report)
      .finally(() => {
        running.delete(job)
        wake()
      })
    running.set(job, { settled, lost })
  }

  async function settle(job: Job<Task['data']>, signal: AbortSignal): Promise<void> {
    // It may have waited here for so long, or this process stood still for so long, that it is another's by now.
    if ((await lapsedOf([job])).length > 0) return
    const { traceparent, ...data } = job.data
    try {
      signal.throwIfAborted()
      // What a request left to be done is a later step of its trace.
      await traced(
        `job ${name}`,
        {
          kind: 'internal',
          attributes: { 'messaging.destination.name': name },
          carrier: typeof traceparent === 'string' ? { traceparent } : {},
        },
        async () => handle?.(data, signal),
      )
    } catch (error) {
      report(error)
      // The message may quote a document; only the name is stored.
      await boss.fail(name, job, { error: error instanceof Error ? error.name : 'thrown value' })
      return
    }
    await boss.complete(name, job)
  }

  /** Says that we are still at it: what is not heard of for so long is taken for abandoned, and is another's then. */
  async function beat(): Promise<void> {
    const lapsed = await lapsedOf([...taken, ...running.keys()])
    lose((job) => lapsed.includes(job))
  }

  /** Those of these tasks that are ours no longer; the others are for another while. */
  async function lapsedOf(jobs: Job<Task['data']>[]): Promise<Job<Task['data']>[]> {
    if (jobs.length === 0) return []
    // The types of pg-boss 12 leave out what is answered: the ids that are still ours.
    const { settled } = (await boss.touch(name, jobs)) as { readonly settled: readonly string[] }
    return jobs.filter(({ id }) => !settled.includes(id))
  }

  /** Begins none of them, and tells those that run: whatever they still settle is refused. */
  function lose(isLost: (job: Job<Task['data']>) => boolean): void {
    taken = taken.filter((job) => !isLost(job))
    for (const [job, { lost }] of running)
      if (isLost(job)) lost.abort(new Error('This task was not heard of for too long, and is taken up anew.'))
  }

  function report(error: unknown): void {
    if (!stopping.signal.aborted) onError(error instanceof Error ? error : new Error(String(error)))
  }

  const close = (): Promise<void> => {
    closing ??= (async () => {
      stopping.abort(new Error('The service is shutting down.'))
      for (const timer of timers) clearInterval(timer)
      await looked
      const settled = [...running.values()].map((run) => run.settled)
      await Promise.race([Promise.all(settled), pause(graceMs, undefined, { ref: false })])
      // What was not begun, or did not hear, is anybody's again, and no longer ours to settle.
      const left = [...taken, ...running.keys()]
      if (left.length > 0) await boss.fail(name, left, { error: 'abandoned' }).catch(report)
      await boss.stop({ graceful: true, timeout: graceMs })
    })()
    return closing
  }

  return {
    start,
    async send(sql, tasks) {
      if (tasks.length === 0) return
      const { traceparent } = traceHeaders()
      const jobs = tasks.map(({ key, turn, data }) => ({
        data: { ...data, ...(traceparent !== undefined && { traceparent }) },
        singletonKey: key,
        ...(turn !== undefined && { group: { id: turn } }),
      }))
      await boss.insert(name, jobs, { db: bossDb(sql) })
    },
    wake,
    close,
    [Symbol.asyncDispose]: close,
  }
}

const turnOf = ({ groupId }: Job<Task['data']>): string | null | undefined => groupId

// PGlite has one process: what is active at start belonged to a dead one. On native Postgres another live
// process may hold it, so there only a missed heartbeat frees it.
async function retakeAbandoned(boss: PgBoss, sql: Sql, name: string): Promise<void> {
  const rows = await sql.query<{ id: string }>(
    `select id from ${schema}.job where name = $1 and state = 'active'`,
    [name],
  )
  if (rows.length === 0) return
  await boss.fail(
    name,
    rows.map(({ id }) => id),
    { error: 'abandoned' },
  )
}

const bossDb = (sql: Sql): Db => ({
  async executeSql(text, values) {
    const rows = await sql.query(text, values as SqlValue[] | undefined)
    return { rows: rows ?? [] }
  },
})
