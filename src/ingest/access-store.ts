import type { TupleKey } from '../authz/fga.ts'
import { documentObject, type FgaObject, splitObject } from '../kernel/ids.ts'
import { movedTo } from '../store/moved.ts'
import type { Sql } from '../store/sql.ts'
import {
  addTags,
  type Entry,
  type Mark,
  markUnsettled,
  removeTags,
  renamedTags,
  type Tag,
  tagKey,
  toTag,
} from './desired-tuples.ts'
import { readDocuments } from './document-rows.ts'
import { changeFailed } from './failed-documents.ts'
import { fileMentioned, isFiledAtMention } from './filing.ts'
import { addGroupPlaces, isGroupPlace } from './group-places.ts'
import { isTagged } from './reconcile-tuples.ts'

/** What a change of access rights left to do. */
export interface StoredChange {
  /** Documents whose first content is not published yet: their tuples come with it. */
  readonly waiting: ReadonlySet<string>
  /** Marks of objects that are unsettled by this change alone. */
  readonly marked: readonly Mark[]
  /**
   * Objects that have to be compared whole: new folders and zones, what was unsettled before, and what names
   * somebody who was moved.
   */
  readonly newlyMarked: readonly FgaObject[]
}

/** Makes our tags say what the change wants, in the caller's transaction and before OpenFGA hears of it. */
export async function storeChange(sql: Sql, entries: readonly Entry[]): Promise<StoredChange> {
  const ours = entries.filter(({ tuple }) => isTagged(splitObject(tuple.object).type, tuple.relation))
  const objects = [...new Set(ours.map(({ tuple }) => tuple.object))]
  const unsettled = await sql.query<{ object: string }>(
    'select object from unreconciled where object = any($1)',
    [objects],
  )
  await addGroupPlaces(sql, groupPlacesOf(entries, 'write'))
  const waiting = await changePending(sql, ours)
  const filed = await fileNew(sql, ours)
  const marked: Mark[] = []
  const freshlyMarked = new Set<FgaObject>([...filed, ...unsettled.map(({ object }) => object as FgaObject)])
  for (const object of objects) {
    if (waiting.has(object)) continue
    const ownEntries = ours.filter(({ tuple }) => tuple.object === object)
    await removeTags(
      sql,
      ownEntries.filter(({ operation }) => operation === 'delete').map(({ tuple }) => tuple),
    )
    const isRenamed = await addTags(
      sql,
      object,
      ownEntries.filter(({ operation }) => operation === 'write').map(({ tuple }) => toTag(tuple)),
    )
    const mark = await markUnsettled(sql, object, false)
    // The Write names whoever was moved as the change does.
    if (isRenamed) freshlyMarked.add(object)
    if (!freshlyMarked.has(object)) marked.push(mark)
  }
  await noteDocuments(sql, ours)
  return { waiting, marked, newlyMarked: [...freshlyMarked] }
}

/** Of groups that are named on what is no content. */
export const groupPlacesOf = (
  entries: readonly Entry[],
  wantedOperation: Entry['operation'],
): readonly TupleKey[] =>
  entries.flatMap(({ tuple, operation }) =>
    operation === wantedOperation && isGroupPlace(tuple) ? [tuple] : [],
  )

async function fileNew(sql: Sql, entries: readonly Entry[]): Promise<FgaObject[]> {
  const filed: FgaObject[] = []
  for (const { tuple, operation } of entries) {
    if (operation !== 'write' || tuple.relation !== 'filed_in' || !isFiledAtMention(tuple.object)) continue
    filed.push(...(await fileMentioned(sql, splitObject(tuple.user).id, [tuple.object])))
  }
  return filed
}

/** Content that waits, or is held for a retry, gets the same change, else publishing would undo it. */
async function changePending(sql: Sql, entries: readonly Entry[]): Promise<ReadonlySet<string>> {
  const ids = entries.flatMap(({ tuple }) => {
    const { type, id } = splitObject(tuple.object)
    return type === 'document' ? [id] : []
  })
  const waiting = new Set<string>()
  await changeFailed(sql, [...new Set(ids)], (object, failedTags) => tagsAfter(object, failedTags, entries))
  for (const [id, storedDocument] of await readDocuments(sql, [...new Set(ids)])) {
    if (!storedDocument.isPending) continue
    const object = documentObject(id)
    const said = tagsAfter(object, storedDocument.pendingTags, entries)
    const moved = await movedTo(
      sql,
      said.map(({ subject }) => subject),
    )
    const access = renamedTags(said, moved)
    // Not `retagged`: what is live gets the change by itself, and else keeps what it had if this is never
    // published.
    await sql.query(
      `update revisions set access = $2, owner = case when $4 then $5 else owner end
       where doc_no = $1 and revision = $3`,
      [
        storedDocument.docNo,
        JSON.stringify(access),
        storedDocument.acceptedRevision,
        entries.some(({ tuple }) => tuple.object === object && tuple.relation === 'owner'),
        access.find(({ relation }) => relation === 'owner')?.subject ?? null,
      ],
    )
    if (!storedDocument.isLive && storedDocument.tags.length === 0) waiting.add(object)
  }
  return waiting
}

/** The tags of an object after a change. */
export function tagsAfter(object: FgaObject, currentTags: readonly Tag[], entries: readonly Entry[]): Tag[] {
  const tagsByKey = new Map(currentTags.map((tag) => [tagKey(tag), tag]))
  for (const { tuple, operation } of entries) {
    if (tuple.object !== object) continue
    const tag = toTag(tuple)
    if (operation === 'delete') tagsByKey.delete(tagKey(tag))
    else tagsByKey.set(tagKey(tag), tag)
  }
  return [...tagsByKey.values()]
}

/**
 * Keeps what the rows of documents say in step: the owner that is cited, and what a withdrawal would
 * remember.
 */
async function noteDocuments(sql: Sql, entries: readonly Entry[]): Promise<void> {
  for (const { tuple, operation } of entries) {
    const { type, id } = splitObject(tuple.object)
    if (type !== 'document') continue
    if (tuple.relation === 'owner') {
      await sql.query('update documents set owner = $2 where id = $1', [
        id,
        operation === 'write' ? tuple.user : null,
      ])
    }
    if (tuple.relation === 'sensitive' && operation === 'delete') {
      await sql.query('update documents set was_sensitive = false where id = $1', [id])
    }
  }
}
