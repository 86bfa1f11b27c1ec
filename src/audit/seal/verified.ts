import type { Sql } from '../../store/sql.ts'

/** When a verification of the record last ended so, in seconds since the epoch; 0: none did. */
export interface Verified {
  /** It found nothing wrong in what it looked at, which may be a part. */
  readonly whole: number
  /** It found something. A later one takes this not back: it may have looked at less. */
  readonly wrong: number
}

const key = 'record_verified'

/** Keeps that a verification has ended, by how much it found. */
export async function noteVerified(sql: Sql, found: number): Promise<void> {
  await sql.query(
    `insert into settings (key, value) values ($1, jsonb_build_object($2::text, extract(epoch from now())))
     on conflict (key) do update set value = settings.value || excluded.value`,
    [key, found === 0 ? 'whole' : 'wrong'],
  )
}

/** What {@link noteVerified} kept. Whoever may write the database may have changed it. */
export async function readVerified(sql: Sql): Promise<Verified> {
  const [row] = await sql.query<{ whole: number | null; wrong: number | null }>(
    `select (value ->> 'whole')::float8 as whole, (value ->> 'wrong')::float8 as wrong from settings where key = $1`,
    [key],
  )
  return { whole: row?.whole ?? 0, wrong: row?.wrong ?? 0 }
}
