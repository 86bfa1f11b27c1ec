import type { Sql } from '../store/sql.ts'

/** The last backup that ended well, and the last that did not. */
export interface LastBackup {
  /** Milliseconds since the epoch; what it holds is as it was then. null: there never was one. */
  readonly takenAt: number | null
  readonly bytes: number | null
  readonly failedAt: number | null
}

/** What `backup_run` says. */
export async function readLastBackup(sql: Sql): Promise<LastBackup | undefined> {
  const [row] = await sql.query<LastBackup>(
    `select (extract(epoch from taken_at) * 1000)::float8 as "takenAt", bytes::float8 as bytes,
       (extract(epoch from failed_at) * 1000)::float8 as "failedAt" from backup_run`,
  )
  return row
}
