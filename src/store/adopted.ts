import type { FgaObject } from '../kernel/ids.ts'
import type { Sql } from './sql.ts'

const key = 'tuples_adopted'
const adoptingKey = 'tuples_adopting'

/** Whether `desired_tuples` speaks for members of groups and organizations and for who writes where. */
export async function isAllAdopted(sql: Sql): Promise<boolean> {
  return (await sql.query('select from settings where key = $1', [key])).length > 0
}

/** Somebody else adopts by now, or nothing is to be adopted any more. */
export class Superseded extends Error {}

/** From now on only who has this id adopts. Gives what {@link noteLeft} noted; undefined: all is left. */
export async function claimAdoption(sql: Sql, id: string): Promise<readonly FgaObject[] | undefined> {
  const [row] = await sql.query<{ readonly left: readonly FgaObject[] | null }>(
    `insert into settings (key, value) values ($1, jsonb_build_object('id', $2::text))
     on conflict (key) do update set value = settings.value || excluded.value
     returning value -> 'left' as left`,
    [adoptingKey, id],
  )
  return row?.left ?? undefined
}

/** Only these objects are still to be adopted, by whichever process. */
export async function noteLeft(sql: Sql, id: string, objects: readonly FgaObject[]): Promise<void> {
  await sql.query(
    `update settings set value = value || jsonb_build_object('left', to_jsonb($3::text[]))
     where key = $1 and value ->> 'id' = $2`,
    [adoptingKey, id, objects],
  )
}

/** Throws {@link Superseded} where another id was claimed since. Keeps it so until the transaction ends. */
export async function assertAdopting(sql: Sql, id: string): Promise<void> {
  const rows = await sql.query(`select from settings where key = $1 and value ->> 'id' = $2 for share`, [
    adoptingKey,
    id,
  ])
  if (rows.length === 0) throw new Superseded('This adoption is over.')
}

/** In a transaction. From now on rows speak for all of it, and what has no row is drift. */
export async function endAdoption(sql: Sql, id: string): Promise<void> {
  await assertAdopting(sql, id)
  await sql.query(`insert into settings (key, value) values ($1, 'true') on conflict do nothing`, [key])
  await sql.query('delete from settings where key = $1', [adoptingKey])
}

/** They do not any more: OpenFGA knows better, and all is adopted anew. One that is under way is over. */
export async function beginAdoption(sql: Sql): Promise<void> {
  await sql.query('delete from settings where key in ($1, $2)', [key, adoptingKey])
}

/** What tells which tuples of members, writers and the like are compared with OpenFGA now. */
export interface Compared {
  readonly isAllAdopted: boolean
  /** Subjects that are being moved: the move sees to theirs, in its own order. */
  readonly moving: ReadonlySet<string>
}

export async function readCompared(sql: Sql): Promise<Compared> {
  const rows = await sql.query<{ subject: string | null }>(
    `select null as subject from settings where key = $1
     union all
     select 'user:' || either from person_moves cross join lateral (values (old_key), (new_key)) as keys (either)
     where ended_at is null or running`,
    [key],
  )
  return {
    isAllAdopted: rows.some(({ subject }) => subject === null),
    moving: new Set(rows.flatMap(({ subject }) => (subject === null ? [] : [subject]))),
  }
}
