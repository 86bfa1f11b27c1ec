import type { Fga } from '../authz/fga.ts'
import { documentObject, type FgaObject, splitObject } from '../kernel/ids.ts'
import type { StoredObjects } from './access-rights.ts'
import { tagsAfter } from './access-store.ts'
import type { IngestContext } from './context.ts'
import { type Entry, hasSensitive, readTags, sensitiveTag, type Tag, toTuple } from './desired-tuples.ts'
import type { StoredDocument } from './document-rows.ts'
import { askSensitive } from './rights.ts'

/** Whether documents are sensitive, as OpenFGA said, and whether tags alone would make them so. */
export interface Sensitivity {
  /**
   * Whether the object is sensitive; a document by anything that was ever accepted and that nobody who may
   * has ended: what is in force, what waits to be published, what was withdrawn or refused. False for an
   * object that was not asked about.
   */
  of(object: FgaObject): boolean
  /** Whether an object with these tags is sensitive, by itself or by where they put it. */
  by(tags: readonly Tag[]): boolean
}

/** More that is asked in the same call. */
interface More {
  readonly objects?: readonly FgaObject[]
  readonly tags?: readonly (readonly Tag[])[]
}

/**
 * What every decision about sensitivity rests on: marking takes a writer, unmarking `security.write`,
 * whatever state a document is in. Stays true for as long as the documents' locks are held. Throws 503 when
 * OpenFGA does not answer.
 */
export async function askSensitivity(
  { fga, now }: { readonly fga: Fga; readonly now: number },
  documents: ReadonlyMap<string, StoredDocument>,
  { objects = [], tags: moreTags = [] }: More = {},
): Promise<Sensitivity> {
  const knownTags = [...documents.values()].flatMap((storedDocument) => [
    storedDocument.tags,
    storedDocument.pendingTags,
  ])
  const sensitive = await askSensitive(
    fga,
    [
      ...[...documents.keys()].map(documentObject),
      ...objects,
      ...[...knownTags, ...moreTags].flatMap(placesOf),
    ],
    now,
  )
  const isSensitiveBy = (documentTags: readonly Tag[]): boolean =>
    hasSensitive(documentTags) || placesOf(documentTags).some((placement) => sensitive.has(placement))
  return {
    by: isSensitiveBy,
    of: (object) => {
      if (sensitive.has(object)) return true
      const { type, id } = splitObject(object)
      const storedDocument = type === 'document' ? documents.get(id) : undefined
      return (
        storedDocument !== undefined &&
        (storedDocument.wasSensitive ||
          isSensitiveBy(storedDocument.tags) ||
          isSensitiveBy(storedDocument.pendingTags))
      )
    },
  }
}

const placesOf = (documentTags: readonly Tag[]): FgaObject[] =>
  documentTags.flatMap(({ relation, subject }) =>
    relation === 'parent' || relation === 'filed_in' ? [subject as FgaObject] : [],
  )

/**
 * Extra writes that keep sensitive what a service's change would make ordinary: a document or folder that
 * loses the parent from which it is sensitive, in force or with what waits, is marked sensitive itself.
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
