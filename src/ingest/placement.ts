import { isDate } from '@remit/contract/instant'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import type { Fga } from '../authz/fga.ts'
import { AppError, invalid } from '../kernel/errors.ts'
import { documentObject, type FgaObject, splitObject } from '../kernel/ids.ts'
import { movedTo } from '../store/moved.ts'
import type { Sql } from '../store/sql.ts'
import { leftBy, settingRefused } from './by-allow-list.ts'
import { narrow, renamedTags, sensitiveTag, type Tag, tagKey, tagsOf, toTuple } from './desired-tuples.ts'
import {
  type FieldType,
  lastSaid,
  readCollections,
  readDocuments,
  readFilings,
  type StoredDocument,
} from './document-rows.ts'
import { isFiledAtMention } from './filing.ts'
import { supportedMimeTypes } from './parse/parsed.ts'
import { type MovedDocument, readRestrictionsAbove } from './restrictions-above.ts'
import { askRights, mayNotWrite, type Rights } from './rights.ts'
import { askSensitivity } from './sensitivity.ts'
import { type Access, type DocumentInput, mimeTypeOf } from './wire.ts'

/** What a document shall be: where it is filed and who may read it. */
export interface Placement {
  readonly id: string
  readonly collection: string
  readonly access: Access
}

/** A placement that the service may make. */
export interface AcceptedPlacement {
  readonly storedDocument: StoredDocument | undefined
  readonly tags: readonly Tag[]
  /** What may be in force until new content is published with `tags`. */
  readonly narrowed: readonly Tag[]
  /** Folders and zones that are filed now, at their first mention. */
  readonly newParents: readonly FgaObject[]
  /** The change would have ended that the document is sensitive. */
  readonly sensitivityKept: boolean
}

/** Yes with what it comes to, or the error to answer with. */
export type PlacementDecision =
  | { readonly ok: true; readonly accepted: AcceptedPlacement }
  | { readonly ok: false; readonly error: AppError }

/** `now` is in milliseconds; `database` may be the caller's transaction. */
export interface PlacementDeps {
  readonly database: Sql
  readonly fga: Fga
  readonly allowList: AllowList
  readonly now: number
}

/**
 * Decides for each placement whether `subject` may make it and what it comes to. Refusals are answers; only
 * what keeps us from deciding throws. The caller holds the documents' locks. Ids must be distinct.
 */
export async function decidePlacements(
  dependencies: PlacementDeps,
  subject: string,
  placements: readonly Placement[],
): Promise<PlacementDecision[]> {
  const { database, fga, allowList, now } = dependencies
  const documents = await readDocuments(
    database,
    placements.map(({ id }) => id),
  )
  const collections = await readCollections(
    database,
    placements.map(({ collection }) => collection),
  )
  const filedBefore = await readFilings(database, placements.flatMap(mentionedBy))
  const holdings = placements.flatMap((placement) => [
    { relation: 'writer' as const, collection: placement.collection },
    // To know whether it may be told that the document is filed elsewhere.
    {
      relation: 'writer' as const,
      collection: documents.get(placement.id)?.collection ?? placement.collection,
    },
    // Also where all of them are filed: a check less would tell that a folder or zone of others is there.
    ...(mentionedBy(placement).length > 0
      ? [{ relation: 'tagger' as const, collection: placement.collection }]
      : []),
  ])
  const rights = await askRights(fga, subject, holdings, now)
  // Grows with each placement: a folder or zone is filed by the first that mentions it.
  const filed = new Map(filedBefore)
  const answers = { documents, collections, filed, rights }
  const saidTags = placements.map(({ collection, access }) => tagsOf(collection, access))
  const errors = placements.map((placement, index) => {
    const { collection } = placement
    const unfiled = mentionedBy(placement).filter((object) => !filed.has(object))
    const error =
      refusal(placement, answers) ??
      settingRefused(allowList, documentObject(placement.id), saidTags[index] ?? [], {
        objects: unfiled,
        collection,
      })
    if (error !== undefined) return error
    for (const object of unfiled) filed.set(object, collection)
    return undefined
  })
  // Else what names somebody who was moved by the old key would differ from what is stored for ever.
  const moved = await movedTo(
    database,
    saidTags.flatMap((tags, index) =>
      errors[index] === undefined ? tags.map(({ subject: named }) => named) : [],
    ),
  )
  const wantedTags = saidTags.map((tags) => renamedTags(tags, moved))
  // Those of whom the change could end that they are sensitive.
  const atRisk = placements.flatMap(({ id, access }, index) => {
    const storedDocument = documents.get(id)
    if (storedDocument === undefined || errors[index] !== undefined || access.sensitive === true) return []
    return [{ id, facts: storedDocument, tags: wantedTags[index] ?? [] }]
  })
  const sensitivity = await askSensitivity(
    dependencies,
    new Map(atRisk.map(({ id, facts: storedDocument }) => [id, storedDocument])),
    {
      tags: atRisk.map(({ tags: tagsAtRisk }) => tagsAtRisk),
    },
  )
  const restrictions = await readRestrictionsAbove(
    database,
    allowList,
    // Of what is refused nothing is read: whether it is there must not show in what that costs.
    placements.flatMap((placement, index) =>
      errors[index] === undefined
        ? movedFrom(documents.get(placement.id), placement, wantedTags[index] ?? [])
        : [],
    ),
  )
  return placements.map((placement, index): PlacementDecision => {
    const error = errors[index]
    if (error !== undefined) return { ok: false, error }
    const stored = documents.get(placement.id)
    const requestedTags = wantedTags[index] ?? []
    const keepsSensitive = sensitivity.of(documentObject(placement.id)) && !sensitivity.by(requestedTags)
    const leftOver = leftBy(
      allowList,
      documentObject(placement.id),
      stored === undefined ? [] : lastSaid(stored),
      requestedTags,
    )
    if (leftOver.refused !== undefined) return { ok: false, error: leftOver.refused }
    const newTags = [...requestedTags, ...(keepsSensitive ? [sensitiveTag] : []), ...leftOver.kept]
    if (parentsMoved(stored?.tags ?? [], newTags) > parentsMovedMax)
      return { ok: false, error: invalid('access.parents', tooManyParents) }
    // A parent lets people read, and restricts: one that goes now, or comes with the content, must not leave
    // what is live without its restrictions meanwhile. They stand on the document itself until then.
    const narrowedTags = restricted(
      narrow(stored?.tags ?? [], newTags, (relation) => allowList.isWidening('document', relation)),
      movedFrom(stored, placement, newTags).flatMap(restrictions.of),
      documentObject(placement.id),
      allowList,
    )
    const bare = sensitivity.by(newTags) && !sensitivity.by(narrowedTags)
    return {
      ok: true,
      accepted: {
        storedDocument: stored,
        tags: newTags,
        narrowed: bare ? [...narrowedTags, sensitiveTag] : narrowedTags,
        newParents: mentionedBy(placement).filter((object) => !filedBefore.has(object)),
        sensitivityKept: keepsSensitive,
      },
    }
  })
}

// A parent may give as well as take, so that all that come and go do so in one Write (decision 0031).
const parentsMovedMax = 95
const tooManyParents = `At most ${parentsMovedMax} parents may come and go at once. Change them in several requests.`

function parentsMoved(oldTags: readonly Tag[], newTags: readonly Tag[]): number {
  const [had, has] = [parentsOf(oldTags), parentsOf(newTags)]
  return (
    had.filter((parent) => !has.includes(parent)).length +
    has.filter((parent) => !had.includes(parent)).length
  )
}

const parentsOf = (tags: readonly Tag[]): string[] =>
  tags.flatMap(({ relation, subject }) => (relation === 'parent' ? [subject] : []))

/** Nothing of a document that nobody reads yet, or whose parents stay. */
function movedFrom(
  stored: StoredDocument | undefined,
  { collection }: Placement,
  newTags: readonly Tag[],
): MovedDocument[] {
  const oldTags = stored?.tags ?? []
  return oldTags.length === 0 || parentsMoved(oldTags, newTags) === 0
    ? []
    : [{ collection, before: parentsOf(oldTags), after: parentsOf(newTags) }]
}

const restrictionsMax = 500

/** With these as well. Where they are too many, or nothing on a document says them, nobody reads it. */
function restricted(
  tags: readonly Tag[],
  more: readonly Tag[],
  object: FgaObject,
  allowList: AllowList,
): readonly Tag[] {
  const isWidening = ({ relation }: Tag): boolean => allowList.isWidening('document', relation)
  const fitting = more.filter(
    (tag) =>
      !isWidening(tag) &&
      allowList.restrictsByItself('document', tag.relation) &&
      allowList.isStorable(toTuple(object, tag)),
  )
  const isHeld = fitting.length === more.length && more.length <= restrictionsMax
  // What its collection blocks holds on.
  const kept = isHeld ? tags : tags.filter((tag) => !isWidening(tag) || tag.relation === 'filed_in')
  const known = new Set(kept.map(tagKey))
  return [...kept, ...fitting.slice(0, restrictionsMax).filter((tag) => !known.has(tagKey(tag)))]
}

interface Known {
  readonly documents: ReadonlyMap<string, StoredDocument>
  readonly collections: ReadonlyMap<string, { readonly publicAllowed: boolean }>
  /** Folder or zone → its collection. */
  readonly filed: ReadonlyMap<string, string>
  readonly rights: Rights
}

function refusal(
  { id, collection, access }: Placement,
  { documents, collections, filed, rights }: Known,
): AppError | undefined {
  const collectionRow = collections.get(collection)
  if (collectionRow === undefined || !rights.has('writer', collection)) return mayNotWrite()
  const document = documents.get(id)
  if (document !== undefined && document.collection !== collection) {
    if (!rights.has('writer', document.collection)) {
      return forbidden('id', 'This service may not write to this document.')
    }
    return new AppError('conflict', {
      field: 'collection',
      public: 'A document never moves to another collection.',
    })
  }
  for (const [index, parent] of (access.parents ?? []).entries()) {
    const error = parentRefusal(parent, collection, filed, rights, `access.parents.${index}`)
    if (error !== undefined) return error
  }
  const everybody = (access.viewers ?? []).indexOf('user:*')
  if (everybody >= 0 && !collectionRow.publicAllowed) {
    return forbidden(`access.viewers.${everybody}`, 'This collection may not be opened to everybody.')
  }
  return undefined
}

function parentRefusal(
  parent: string,
  collection: string,
  filed: ReadonlyMap<string, string>,
  rights: Rights,
  field: string,
): AppError | undefined {
  const { type, id } = splitObject(parent)
  if (type === 'collection') {
    return id === collection ? undefined : forbidden(field, 'A parent must be filed in the same collection.')
  }
  const filedIn = filed.get(parent)
  if (filedIn === undefined && rights.has('tagger', collection)) return undefined
  return filedIn === collection
    ? undefined
    : forbidden(field, 'A parent must be filed in the same collection.')
}

const mentionedBy = ({ access }: Placement): FgaObject[] => (access.parents ?? []).filter(isFiledAtMention)

const forbidden = (field: string, detail: string): AppError =>
  new AppError('forbidden', { field, public: detail })

/** The first member of the document that its content type or a declared field does not allow. */
export function contentRefusal(
  input: DocumentInput,
  fields: ReadonlyMap<string, FieldType>,
): AppError | undefined {
  if (!supportedMimeTypes.includes(mimeTypeOf(input))) {
    return new AppError('unsupported_media_type', {
      field: 'mime_type',
      public: 'This type of content is not read here.',
    })
  }
  for (const [name, value] of Object.entries(input.metadata ?? {})) {
    const type = fields.get(name)
    if (type !== undefined && !fits(value, type))
      return invalid(`metadata.${name}`, `This field is declared as ${type}.`)
  }
  return undefined
}

function fits(value: unknown, type: FieldType): boolean {
  if (type !== 'date') return typeof value === type
  return typeof value === 'string' && isDate(value)
}
