import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { isFiled } from '../authz/allow-list/problems.ts'
import { splitObject } from '../kernel/ids.ts'
import type { Scope } from '../kernel/principal.ts'
import type { IngestContext, Writer } from './context.ts'
import type { Entry } from './desired-tuples.ts'
import { readCollections, readDocuments, readFilings, type StoredDocument } from './document-rows.ts'
import { isFiledAtMention } from './filing.ts'
import { askRights, type Holding, type Rights } from './rights.ts'

/** Who asks. An administrator's row was checked by the caller, on this request. */
export type Caller =
  | {
      readonly kind: 'service'
      readonly writer: Writer
      readonly scopes: ReadonlySet<Scope>
      /** Beginnings of the group and organization ids that it may write. */
      readonly prefixes: readonly string[]
    }
  | { readonly kind: 'administrator'; readonly writer: Writer }

/** What is known of the objects of a change, folders and zones that it files itself included. */
export interface StoredObjects {
  readonly documents: ReadonlyMap<string, StoredDocument>
  /** Folder or zone → its collection. */
  readonly filed: ReadonlyMap<string, string>
  readonly collections: ReadonlyMap<string, { readonly publicAllowed: boolean }>
  /** Those that were filed before this change. */
  readonly filedBefore: ReadonlyMap<string, string>
  readonly rights: Rights
}

// In one call of OpenFGA, with two relations each.
const collectionsPadded = 25

/**
 * Looks up all that is named, and asks OpenFGA about as many collections as objects are named: how many there
 * are of them would tell which of others' objects exist.
 */
export async function readObjects(
  { database, fga, clock, newId }: IngestContext,
  caller: Caller,
  entries: readonly Entry[],
): Promise<StoredObjects> {
  const named = entries.flatMap(({ tuple }) => [tuple.object, tuple.user]).map(splitObject)
  const idsOf = (type: string): string[] => [
    ...new Set(named.flatMap((object) => (object.type === type ? [object.id] : []))),
  ]
  const documents = await readDocuments(database, idsOf('document'))
  const mentioned = new Set(
    entries.flatMap(({ tuple }) => [tuple.object, tuple.user]).filter(isFiledAtMention),
  )
  const filedBefore = await readFilings(database, [...mentioned])
  const filed = new Map(filedBefore)
  for (const { tuple, operation } of entries) {
    const files = operation === 'write' && tuple.relation === 'filed_in' && isFiledAtMention(tuple.object)
    if (files && !filed.has(tuple.object)) filed.set(tuple.object, splitObject(tuple.user).id)
  }
  const involved = [
    ...idsOf('collection'),
    ...filed.values(),
    ...[...documents.values()].map(({ collection }) => collection),
  ]
  const collections = await readCollections(database, involved)
  const collectionIds = new Set(involved)
  const objects = idsOf('document').length + mentioned.size + idsOf('collection').length
  while (collectionIds.size < Math.min(objects, collectionsPadded)) collectionIds.add(newId())
  const holdings = [...collectionIds].flatMap((collection): Holding[] => [
    { relation: 'writer', collection },
    { relation: 'tagger', collection },
  ])
  const rights =
    caller.kind === 'service'
      ? await askRights(fga, caller.writer.subject, holdings, clock.now())
      : { has: () => false }
  return { documents, filed, collections, filedBefore, rights }
}

const notAllowed = 'This caller may not change this tuple.'

/**
 * Why the caller may not make this entry, or undefined. Says the same for what is missing and what is
 * others'.
 */
export function refusalOf(
  list: AllowList,
  caller: Caller,
  { tuple, operation }: Entry,
  storedObjects: StoredObjects,
): string | undefined {
  const requirement = list.requirementOf(tuple, operation)
  const { rights, collections, filed } = storedObjects
  const isService = caller.kind === 'service'
  const writesDocs = isService && caller.scopes.has('docs.write')
  const may = ((): boolean => {
    switch (requirement.kind) {
      case 'nobody':
        return false
      case 'directory':
        return (
          isService &&
          caller.scopes.has('directory.write') &&
          caller.prefixes.some((prefix) => prefix !== '' && requirement.id.startsWith(prefix))
        )
      case 'security':
        return (
          caller.kind === 'administrator' &&
          (!isFiled(splitObject(requirement.object).type) ||
            collectionOf(requirement.object, storedObjects) !== undefined)
        )
      case 'everybody': {
        const collection = collectionOf(requirement.object, storedObjects)
        if (collection === undefined) return false
        if (caller.kind === 'administrator') return true
        const isOpen = operation === 'delete' || collections.get(collection)?.publicAllowed === true
        return writesDocs && isOpen && rights.has(requirement.right, collection)
      }
      case 'document_writer': {
        const collection = collectionOf(`document:${requirement.document}`, storedObjects)
        return (
          writesDocs &&
          collection !== undefined &&
          rights.has('writer', collection) &&
          (requirement.parent === undefined ||
            operation === 'delete' ||
            collectionOf(requirement.parent, storedObjects) === collection)
        )
      }
      case 'tagger': {
        const collection = collectionOf(requirement.object, storedObjects)
        if (!writesDocs || collection === undefined || !rights.has('tagger', collection)) return false
        if (requirement.parent === undefined || operation === 'delete') return true
        const parents = collectionOf(requirement.parent, storedObjects)
        return parents !== undefined && rights.has('tagger', parents)
      }
      case 'filing': {
        // Once, at its first mention; saying it again as it is changes nothing.
        const filedBefore = storedObjects.filedBefore.get(tuple.object)
        return (
          writesDocs &&
          collections.has(requirement.collection) &&
          rights.has('tagger', requirement.collection) &&
          filed.get(tuple.object) === requirement.collection &&
          (filedBefore === undefined || filedBefore === requirement.collection)
        )
      }
    }
  })()
  return may ? undefined : notAllowed
}

/** The collection in which an object is filed, if it exists. */
function collectionOf(object: string, { documents, filed, collections }: StoredObjects): string | undefined {
  const { type, id } = splitObject(object)
  if (type === 'collection') return collections.has(id) ? id : undefined
  if (isFiledAtMention(object)) return filed.get(object)
  if (type !== 'document') return undefined
  const storedDocument = documents.get(id)
  return storedDocument !== undefined && (storedDocument.isLive || storedDocument.isPending)
    ? storedDocument.collection
    : undefined
}
