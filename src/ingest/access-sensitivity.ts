import { documentObject, type FgaObject, splitObject } from '../kernel/ids.ts'
import type { Entry, StoredObjects } from './access-rights.ts'
import { tagsAfter } from './access-store.ts'
import type { IngestContext } from './context.ts'
import { readTags, sensitiveTag, type Tag, toTuple } from './desired-tuples.ts'
import type { StoredDocument } from './document-rows.ts'
import { askSensitivity } from './sensitivity.ts'

/**
 * Extra writes that keep sensitive what a service's change would make ordinary: a document or folder that loses
 * the parent from which it is sensitive, in force or with what waits, is marked sensitive itself.
 */
export async function keepSensitive(
  { database, fga, clock }: IngestContext,
  entries: readonly Entry[],
  storedObjects: StoredObjects,
): Promise<readonly Entry[]> {
  const losing = entries.filter(
    ({ tuple, operation }) => operation === 'delete' && tuple.relation === 'parent',
  )
  const objects = [...new Set(losing.map(({ tuple }) => tuple.object))]
  if (objects.length === 0) return []
  const documents = new Map<string, StoredDocument>()
  const folders = objects.filter((object) => splitObject(object).type === 'folder')
  for (const object of objects) {
    const { type, id } = splitObject(object)
    const document = type === 'document' ? storedObjects.documents.get(id) : undefined
    if (document !== undefined) documents.set(id, document)
  }
  const folderTags = await readTags(database, folders)
  const statesBefore = new Map<FgaObject, readonly (readonly Tag[])[]>([
    // Unlike a document, a folder is not sensitive by where it is filed.
    ...folders.map((object) => [object, [(folderTags.get(object) ?? []).filter(isNotFiling)]] as const),
    ...[...documents].map(([id, document]) => [documentObject(id), statesOf(document)] as const),
  ])
  const statesAfter = new Map(
    [...statesBefore].map(([object, states]) => [
      object,
      states.map((state) => tagsAfter(object, state, entries)),
    ]),
  )
  const sensitivity = await askSensitivity({ fga, now: clock.now() }, documents, {
    objects: folders,
    tags: [...statesAfter.values()].flat(),
  })
  const ending = objects.filter(
    (object) =>
      sensitivity.of(object) &&
      statesAfter.get(object)?.every((finalTags) => sensitivity.by(finalTags)) !== true,
  )
  return ending.map((object) => ({
    tuple: toTuple(object, sensitiveTag),
    operation: 'write',
    field: 'deletes',
  }))
}

const isNotFiling = ({ relation }: Tag): boolean => relation !== 'filed_in'

/** What is in force of a document, and what waits. */
const statesOf = ({
  isPending,
  pendingTags,
  tags: documentTags,
}: StoredDocument): readonly (readonly Tag[])[] => [
  ...(documentTags.length > 0 ? [documentTags] : []),
  ...(isPending ? [pendingTags] : []),
]
