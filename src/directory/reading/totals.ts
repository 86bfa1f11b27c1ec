import type { Sql } from '../../store/sql.ts'
import type { WaitingWhat } from './waiting.ts'

/** How the readings of a directory stand. */
export interface DirectoryReading {
  readonly origin: string
  /** When the last one began that was complete, as ISO 8601. */
  readonly readAt: string | null
  /** When the last one ended, however it did. */
  readonly endedAt: string | null
  /** Those that failed in a row. */
  readonly failures: number
  /** Why the last one failed. */
  readonly problem: string | null
  /** What of the last complete one was not taken as it stands, 100 at most. */
  readonly problems: readonly string[]
  /** Its memberships are too old: those that give something are out of OpenFGA until the next one. */
  readonly isStale: boolean
  /** Then its people are held, too. */
  readonly isRequired: boolean
  /** How many wait for somebody's word, by what would become of them; null: nobody. */
  readonly waiting: Readonly<Partial<Record<WaitingWhat, number>>> | null
}

/** What operators see of all directories together that the service reads. */
export interface DirectoryTotals {
  readonly directories: number
  readonly stale: number
  readonly failing: number
  /** Seconds since the beginning of the last complete reading of the one where that is longest ago. */
  readonly age: number
  readonly waiting: number
}

/** Counts all of it anew. */
export const readDirectoryTotals = async (sql: Sql): Promise<DirectoryTotals | undefined> =>
  (
    await sql.query<DirectoryTotals>(
      `select count(*)::float8 as directories, (count(*) filter (where is_stale))::float8 as stale,
         (count(*) filter (where failures > 0))::float8 as failing,
         coalesce(max(extract(epoch from now() - coalesce(read_at, created_at))), 0)::float8 as age,
         (select count(*) from directory_waiting where not is_confirmed)::float8 as waiting
       from directories where kind <> 'scim'`,
    )
  )[0]
