import { type Db, PgBoss } from 'pg-boss'
import type { Database, Sql, SqlValue } from '../store/sql.ts'

/** pg-boss over one of our databases, for all of a process's queues. */
export interface Boss extends AsyncDisposable {
  /** Makes or migrates the tables of pg-boss at the first call. Throws what the database throws. */
  start(): Promise<PgBoss>
}

/** The database that holds the queue. */
export interface BossOptions {
  readonly database: Database
  /** Told of what goes wrong in its own upkeep. */
  readonly onError: (error: Error) => void
}

/** The schema of pg-boss. */
export const schema = 'pgboss'
const stopMs = 10_000

/** Starts nothing by itself. Close its queues first, then this. */
export function createBoss({ database, onError }: BossOptions): Boss {
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
  let started: Promise<PgBoss> | undefined
  return {
    async start() {
      started ??= boss.start()
      try {
        return await started
      } catch (error) {
        started = undefined
        throw error
      }
    },
    async [Symbol.asyncDispose]() {
      await started?.catch(() => undefined)
      await boss.stop({ graceful: true, timeout: stopMs })
    },
  }
}

/** A connection or a transaction of ours, as pg-boss calls one. */
export const bossDb = (sql: Sql): Db => ({
  async executeSql(text, values) {
    const rows = await sql.query(text, values as SqlValue[] | undefined)
    return { rows: rows ?? [] }
  },
})
