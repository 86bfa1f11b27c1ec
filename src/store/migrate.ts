import { readdir, readFile } from 'node:fs/promises'
import { OperatorError } from '../kernel/operator-error.ts'
import type { Database } from './sql.ts'

/** The folder of migrations, and the dimensions of vectors. */
export interface MigrateOptions {
  /** Folder of `NNNN_name.sql` files; forward only. */
  readonly dir: URL
  /** Numbers in a vector; fixed at the first migration. */
  readonly dimensions: number
}

/**
 * Brings the schema up to date, one transaction a file, and returns the names applied now. Throws OperatorError where a file
 * changes what belongs to the record's owner, and that has not been handed back for it.
 */
export async function migrate(database: Database, { dir, dimensions }: MigrateOptions): Promise<string[]> {
  await database.query(
    'create table if not exists migrations (name text primary key, applied_at timestamptz not null default now())',
  )
  const files = (await readdir(dir)).filter((name) => /^\d{4}_.*\.sql$/.test(name)).sort()
  const applied: string[] = []
  for (const name of files) {
    const text = fill(await readFile(new URL(name, dir), 'utf8'), database.vectorType, dimensions)
    const ran = await database.transaction(async (sql) => {
      // Two processes may start at once on native Postgres: the second waits here, then finds the row.
      if (database.kind === 'postgres') await sql.query('lock table migrations in exclusive mode')
      const appliedRows = await sql.query('select 1 from migrations where name = $1', [name])
      if (appliedRows.length > 0) return false
      await sql.query(text).catch((error: unknown) => {
        throw isRefused(error) ? handBack(name, error) : error
      })
      await sql.query('insert into migrations (name) values ($1)', [name])
      return true
    })
    if (ran) applied.push(name)
  }
  return applied
}

// insufficient_privilege
const isRefused = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === '42501'

const handBack = (name: string, error: unknown): OperatorError =>
  new OperatorError(
    `${name} changes what belongs to the owner of the record (${error instanceof Error ? error.message : 'refused'}). Nothing of it was done. With the service stopped, run docker/record-owner.sql once more as a superuser, then start again: docs/audit.md, "Upgrading".`,
    error,
  )

const fill = (text: string, vectorType: string, dimensions: number): string =>
  text.replaceAll(':vector', vectorType).replaceAll(':dimensions', String(dimensions))
