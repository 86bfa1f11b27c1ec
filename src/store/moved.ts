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

/**
 * Those of whom members and the like may stand at OpenFGA under a key that they do not go by any more: by the
 * name of now, the keys whose moves go on.
 */
export async function movingTo(sql: Sql): Promise<ReadonlyMap<string, readonly string[]>> {
  const rows = await sql.query<{ said: string }>(
    `select 'user:' || old_key as said from person_moves where running`,
  )
  const moved = await movedTo(
    sql,
    rows.map(({ said }) => said),
  )
  const said = Map.groupBy(moved, ([, now]) => now)
  return new Map([...said].map(([now, pairs]) => [now, pairs.map(([old]) => old)]))
}

/** From the commit on {@link movedTo} says so. The caller runs beside no transaction of a lease. */
export async function noteMoved(sql: Sql, subject: string): Promise<void> {
  await sql.query(
    `update person_moves set ended_at = coalesce(ended_at, now()) where 'user:' || old_key = $1`,
    [subject],
  )
  // A reading under way that denies them something by the old key would take the new one for a stranger's.
  await sql.query(
    `update sources set edition = edition + 1, next_at = now() where id in (
       select source from source_tuples where split_part(tuple, ' ', 1) = $1 and tuple like '% blocked %')`,
    [subject],
  )
}

/**
 * Makes what sources know of one subject be of another: who an account is, who is kept out, and what was
 * written, of which nothing is taken for granted then. `source`: of this one only.
 */
export async function moveInSources(sql: Sql, from: string, to: string, source?: string): Promise<void> {
  const values = [from, to, source ?? null]
  await sql.query(
    `insert into source_blocks (source, subject) select source, $2 from source_blocks
     where subject = $1 and ($3::text is null or source = $3) on conflict do nothing`,
    values,
  )
  // A person is one account of a source. What the settings of a source say, they say again.
  await sql.query(
    `update source_people moved set subject = $2,
       (state, is_held, reason) = (select case when twice then 'suspended' else moved.state end, moved.is_held or twice,
         case when twice then 'The person was moved to one who has another account.' else moved.reason end
         from (select moved.state = 'linked' and exists (
           select from source_people other where other.source = moved.source and other.subject = $2
             and other.state = 'linked') as twice) as found)
     where subject = $1 and ($3::text is null or source = $3)`,
    values,
  )
  // What a source takes away it takes from whom it knows to have it.
  await sql.query(
    `with gone as (
       delete from source_tuples where split_part(tuple, ' ', 1) = $1 and ($3::text is null or source = $3)
       returning source, tuple)
     insert into source_tuples (source, tuple, settled)
     select source, $2 || substr(tuple, length($1) + 1), false from gone
     on conflict (source, tuple) do update set settled = false`,
    values,
  )
  await sql.query('delete from source_blocks where subject = $1 and ($2::text is null or source = $2)', [
    from,
    source ?? null,
  ])
}
