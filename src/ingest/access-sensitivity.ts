import { collectionObject, type FgaObject, splitObject } from '../kernel/ids.ts'
import type { Entry, ObjectFacts } from './access-rights.ts'
import type { IngestContext } from './deps.ts'
import { askSensitive } from './rights.ts'
import { hasSensitive, readTags, type Tag } from './tags.ts'

/**
 * Extra writes that keep sensitive what a service's change would make ordinary: a document or folder that loses
 * the parent from which it is sensitive is marked sensitive itself.
 */
export async function keepSensitive(
  { database, fga, clock }: IngestContext,
  entries: readonly Entry[],
  { documents }: ObjectFacts,
): Promise<readonly Entry[]> {
  const losing = entries.filter(
    ({ tuple, operation }) => operation === 'delete' && tuple.relation === 'parent',
  )
  const objects = [...new Set(losing.map(({ tuple }) => tuple.object))]
  if (objects.length === 0) return []
  const tags = await readTags(database, objects)
  const after = new Map(
    objects.map((object) => [object, parentsAfter(object, tags.get(object) ?? [], entries)]),
  )
  for (const object of objects) {
    const { type, id } = splitObject(object)
    const collection = documents.get(id)?.collection
    if (type === 'document' && collection !== undefined) after.get(object)?.push(collectionObject(collection))
  }
  const sensitive = await askSensitive(fga, [...objects, ...[...after.values()].flat()], clock.now())
  const ending = objects.filter((object) => {
    const own = hasSensitive(tags.get(object) ?? []) || entries.some((entry) => marksSensitive(entry, object))
    return (
      sensitive.has(object) && !own && after.get(object)?.some((parent) => sensitive.has(parent)) !== true
    )
  })
  return ending.map((object) => ({
    tuple: { user: 'user:*', relation: 'sensitive', object },
    operation: 'write',
    field: 'deletes',
  }))
}

const marksSensitive = ({ tuple, operation }: Entry, object: FgaObject): boolean =>
  operation === 'write' && tuple.object === object && tuple.relation === 'sensitive'

function parentsAfter(object: FgaObject, tags: readonly Tag[], entries: readonly Entry[]): FgaObject[] {
  const parents = new Set(tags.flatMap(({ relation, subject }) => (relation === 'parent' ? [subject] : [])))
  for (const { tuple, operation } of entries) {
    if (tuple.object !== object || tuple.relation !== 'parent') continue
    if (operation === 'delete') parents.delete(tuple.user)
    else parents.add(tuple.user)
  }
  return [...parents] as FgaObject[]
}
