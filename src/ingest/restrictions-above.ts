import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { collectionObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import { reachedFrom, readAncestry } from './ancestry.ts'
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
  const ancestry = await readAncestry(sql, [...new Set(roots)], allowList.leadingUp)
  const tagsByObject = await readTags(sql, [...reachedFrom(roots, ancestry)], allowList.restricting)
  // Many documents of an import have the same parents.
  const known = new Map<string, ReadonlyMap<string, Tag>>()
  function above(objects: readonly string[]): ReadonlyMap<string, Tag> {
    const key = objects.join(' ')
    const found =
      known.get(key) ??
      new Map(
        [...reachedFrom(objects, ancestry)]
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
