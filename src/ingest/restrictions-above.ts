import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { collectionObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import { isSensitiveTag, readTags, type Tag, tagKey } from './desired-tuples.ts'

/** Where a document with other parents is filed, and what it has for parents before and after. */
export interface MovedDocument {
  readonly collection: string
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/** What keeps somebody from reading by where a document is filed. */
export interface RestrictionsAbove {
  /**
   * As tags of its own: all that stands above parents that come or go, and not above those that stay, nor
   * above its collection.
   */
  of(moved: MovedDocument): readonly Tag[]
}

/**
 * Reads what stands above these documents, up to the top. Of sensitivity OpenFGA is asked (sensitivity.ts).
 * Knows our tags only, which drift keeps equal to OpenFGA.
 */
export async function readRestrictionsAbove(
  sql: Sql,
  allowList: AllowList,
  documents: readonly MovedDocument[],
): Promise<RestrictionsAbove> {
  if (documents.length === 0) return { of: () => [] }
  const roots = documents.flatMap(({ collection, before, after }) => [
    collectionObject(collection),
    ...before,
    ...after,
  ])
  const up = await readUp(sql, [...new Set(roots)])
  const tagsByObject = await readTags(sql, reachedFrom(roots, up), allowList.restricting)
  // Many documents of an import have the same parents.
  const known = new Map<string, ReadonlyMap<string, Tag>>()
  function above(objects: readonly string[]): ReadonlyMap<string, Tag> {
    const key = objects.join(' ')
    const found =
      known.get(key) ??
      new Map(
        reachedFrom(objects, up)
          .flatMap((object) => tagsByObject.get(object) ?? [])
          .filter((tag) => !isSensitiveTag(tag))
          .map((tag) => [tagKey(tag), tag]),
      )
    known.set(key, found)
    return found
  }
  return {
    of({ collection, before, after }) {
      const staying = before.filter((parent) => after.includes(parent))
      const held = above([collectionObject(collection), ...staying])
      const moving = [...before, ...after].filter((parent) => !staying.includes(parent))
      return [...above(moving)].flatMap(([key, tag]) => (held.has(key) ? [] : [tag]))
    },
  }
}

type Up = ReadonlyMap<string, readonly string[]>

/** Of each of these objects, and of all above them, what it is in. */
async function readUp(sql: Sql, objects: readonly string[]): Promise<Up> {
  const rows = await sql.query<{ object: string; subject: string }>(
    `with recursive up (object) as (
       select unnest($1::text[])
       union
       select t.subject from desired_tuples t join up using (object)
       where t.relation in ('parent', 'filed_in', 'organization')
     )
     select t.object, t.subject from desired_tuples t join up using (object)
     where t.relation in ('parent', 'filed_in', 'organization')`,
    [objects],
  )
  return new Map(
    [...Map.groupBy(rows, ({ object }) => object)].map(([object, edges]) => [
      object,
      edges.map(({ subject }) => subject),
    ]),
  )
}

function reachedFrom(objects: readonly string[], up: Up): readonly string[] {
  const reached = new Set(objects)
  for (const object of reached) for (const above of up.get(object) ?? []) reached.add(above)
  return [...reached]
}
