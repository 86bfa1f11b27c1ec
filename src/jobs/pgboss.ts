import { type Db, type Job, type JobResult, PgBoss } from 'pg-boss'
import { traced, traceHeaders } from '../kernel/trace.ts'
import type { Database, Sql, SqlValue } from '../store/sql.ts'
import type { Handler, Queue, Task } from './queue.ts'

export interface PgBossQueueOptions {
  readonly database: Database
  readonly name: string
  /** Tasks at a time. Defaults to 8. */
  readonly concurrency?: number
  /** Seconds between looks at the queue, at most: a wake-up comes before. Defaults to 0.5. */
  readonly pollSeconds?: number
  /** The longest pause before a task that failed is tried again, in seconds. Defaults to 30; the first is a second. */
  readonly retryPauseSecondsMax?: number
  /** Told of everything that goes wrong in the background, tasks' failures included. */
  readonly onError: (error: Error) => void
}

// A queue in its own schema. 30 s: a task whose process died without a word is taken up again after that.
const schema = 'pgboss'
const heartbeatSeconds = 30
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
  let worker: string | undefined
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
    worker = await boss.work<Task['data'], JobResult[], typeof workOptions>(name, workOptions, (jobs) =>
      Promise.all(jobs.map((job) => settle(job, handler))),
    )
  }

  const workOptions = {
    batchSize: concurrency,
    burstWhenBatchFull: true,
    pollingIntervalSeconds: pollSeconds,
    perJobResults: true,
  } as const

  async function settle(job: Job<Task['data']>, handler: Handler): Promise<JobResult> {
    const { traceparent, ...data } = job.data
    try {
      // What a request left to be done is a later step of its trace.
      await traced(
        `job ${name}`,
        {
          kind: 'internal',
          attributes: { 'messaging.destination.name': name },
          carrier: typeof traceparent === 'string' ? { traceparent } : {},
        },
        () => handler(data, stopping.signal),
      )
      return { id: job.id, status: 'completed' }
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error))
      if (!stopping.signal.aborted) onError(failure)
      // The message may quote a document; only the name is stored.
      return { id: job.id, status: 'failed', output: { error: failure.name } }
    }
  }

  const close = (): Promise<void> => {
    closing ??= (async () => {
      stopping.abort(new Error('The service is shutting down.'))
      await boss.stop({ graceful: true, timeout: 10_000 })
    })()
    return closing
  }

  return {
    start,
    async send(sql, tasks) {
      const { traceparent } = traceHeaders()
      const jobs = tasks.map(({ key, data }) => ({
        data: { ...data, ...(traceparent !== undefined && { traceparent }) },
        singletonKey: key,
      }))
      await boss.insert(name, jobs, { db: bossDb(sql) })
    },
    wake() {
      if (worker !== undefined) boss.notifyWorker(worker)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

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
