import type { Sql } from './sql.ts'

// Of an issuer, `user:acme/anne`: no others move.
const movable = /^user:.*\//

/**
 * Under which subject those go by now who were moved: `user:acme/old` to `user:acme/new`. Without all others.
 * In a transaction of a lease it stays true until that ends.
 */
export async function movedTo(sql: Sql, subjects: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const asked = [...new Set(subjects)].filter((subject) => movable.test(subject))
  if (asked.length === 0) return new Map()
  // Later moves alone lead on: one who was moved to and fro is where the last move led,
  // which may be the beginning: the last comes first, and then whether it leads anywhere.
  const rows = await sql.query<{ said: string; now: string }>(
    `with recursive named (said, now, since) as (
       select said, said, '-infinity'::timestamptz from unnest($1::text[]) as said
       union all
       select said, 'user:' || m.new_key, m.begun_at from named
         join person_moves m on m.old_key = substr(now, length('user:') + 1)
         where m.ended_at is not null and m.begun_at > since
     )
     select said, now from (select distinct on (said) said, now from named order by said, since desc) as last
     where said <> now`,
    [asked],
  )
  return new Map(rows.map(({ said, now }) => [said, now]))
}

/** From the commit on {@link movedTo} says so. The caller runs beside no transaction of a lease. */
export async function noteMoved(sql: Sql, subject: string): Promise<void> {
  await sql.query(
    `update person_moves set ended_at = coalesce(ended_at, now()) where 'user:' || old_key = $1`,
    [subject],
  )
}
