import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { OperatorError } from '../kernel/operator-error.ts'
import { connectOwn, reachable } from './client.ts'
import { createPgDatabase } from './pg.ts'
import type { Database } from './sql.ts'

/** The URL, and limits of the pool. */
export interface PostgresOptions {
  /** `postgres://user:password@host/database`. */
  readonly url: string
  /** Connections. Defaults to 10. */
  readonly poolSize?: number
  /** Milliseconds that a transaction may wait for its next statement. Defaults to a minute. */
  readonly idleMsMax?: number
  /** Milliseconds that a statement may take, but one that says otherwise. Defaults to a minute. */
  readonly statementMsMax?: number
}

/** Opens native Postgres. Refuses a pgvector below 0.8.4: older ones lose graph nodes at vacuum. */
export async function openPostgres({
  url,
  poolSize = 10,
  idleMsMax = 60_000,
  statementMsMax = 60_000,
}: PostgresOptions): Promise<Database> {
  await preparePgvector(url)
  return createPgDatabase({
    kind: 'postgres',
    pool: {
      ...reachable,
      connectionString: url,
      max: poolSize,
      // One name a process: by it a command that needs the database for itself sees that it is not alone.
      application_name: `remit ${randomUUID()}`,
    },
    statementMsMax,
    settings: {
      // A process that stands still inside a transaction keeps its locks no longer: nothing else would ever
      // end it.
      idle_in_transaction_session_timeout: idleMsMax,
    },
  })
}

/** One connection that can change nothing: for looking at a database, ready for a service or not. */
export const openReading = (url: string): Database =>
  createPgDatabase({
    kind: 'postgres',
    pool: {
      ...reachable,
      connectionString: url,
      max: 1,
      application_name: 'remit doctor',
      query_timeout: 20_000,
    },
    settings: { statement_timeout: 15_000, default_transaction_read_only: 'on' },
  })

/** By SQLSTATE. */
const remedies: Readonly<Record<string, string>> = {
  // insufficient_privilege
  '42501':
    'Only a superuser can: let one run `create extension vector` in this database, once (docs/production.md).',
  // feature_not_supported: the server has no such extension.
  '0A000': 'Install pgvector 0.8.4 or newer on the database server (docs/production.md).',
}

async function preparePgvector(url: string): Promise<void> {
  await using own = await connectOwn({ url })
  await own.client.query('create extension if not exists vector').catch((error: unknown) => {
    const remedy = error instanceof pg.DatabaseError ? remedies[error.code ?? ''] : undefined
    if (!(error instanceof Error) || remedy === undefined) throw error
    throw new OperatorError(`DATABASE_URL: ${error.message}. ${remedy}`, error)
  })
  const { rows } = await own.client.query<{ version: string }>(
    `select extversion as version from pg_extension where extname = 'vector'`,
  )
  const version = rows[0]?.version ?? '0'
  if (isPgvectorOld(version)) throw new Error(`pgvector ${version} is too old: 0.8.4 or newer is needed.`)
}

const pgvectorLeast = [0, 8, 4]

/** Whether a version such as `0.8.3` is below the least that Remit works with. */
export function isPgvectorOld(version: string): boolean {
  const numbers = version.split('.').map(Number)
  for (const [index, least] of pgvectorLeast.entries()) {
    const number = numbers[index] ?? 0
    if (number !== least) return !(number > least)
  }
  return false
}
