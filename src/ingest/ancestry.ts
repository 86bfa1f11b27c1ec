import type { Sql } from '../store/sql.ts'

/** Object → what it is in. */
export type Ancestry = Map<string, Set<string>>

/**
 * What these objects are in by these relations, and what that is in, up to the top. Knows our tags only,
 * which drift keeps equal to OpenFGA.
 */
export async function readAncestry(
  sql: Sql,
  objects: readonly string[],
  relations: readonly string[],
): Promise<Ancestry> {
  const rows = await sql.query<{ object: string; subject: string }>(
    `with recursive up (object) as (
       select unnest($1::text[])
       union
       select t.subject from desired_tuples t join up using (object) where t.relation = any($2)
     )
     select t.object, t.subject from desired_tuples t join up using (object) where t.relation = any($2)`,
    [objects, relations],
  )
  const ancestry: Ancestry = new Map()
  for (const { object, subject } of rows)
    ancestry.set(object, (ancestry.get(object) ?? new Set()).add(subject))
  return ancestry
}

/** These objects, and all that they lead to. */
export function reachedFrom(objects: readonly string[], ancestry: Ancestry): ReadonlySet<string> {
  const reached = new Set(objects)
  for (const object of reached) for (const above of ancestry.get(object) ?? []) reached.add(above)
  return reached
}
