import { readdir, readFile } from 'node:fs/promises'
import type { Database } from './sql.ts'

export interface MigrateOptions {
  /** Folder of `NNNN_name.sql` files; forward only. */
  readonly dir: URL
  /** Numbers in a vector; fixed at the first migration. */
  readonly dimensions: number
}

/** Brings the schema up to date, one transaction a file, and returns the names applied now. */
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
      const known = await sql.query('select 1 from migrations where name = $1', [name])
      if (known.length > 0) return false
      await sql.query(text)
      await sql.query('insert into migrations (name) values ($1)', [name])
      return true
    })
    if (ran) applied.push(name)
  }
  return applied
}

const fill = (text: string, vectorType: string, dimensions: number): string =>
  text.replaceAll(':vector', vectorType).replaceAll(':dimensions', String(dimensions))
