import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { type Tuple, type TupleKey, tupleId } from '../authz/fga.ts'
import { documentObject, type FgaObject, splitObject } from '../kernel/ids.ts'
import { movedTo, movingTo } from '../store/moved.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import {
  addTags,
  type Entry,
  endOf,
  type Mark,
  markUnsettled,
  ownerOf,
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
import { isContent, isTagged } from './reconcile-tuples.ts'

/** What a change of access rights left to do. */
export interface StoredChange {
  /** Documents whose first content is not published yet: their tuples come with it. */
  readonly waiting: ReadonlySet<string>
  /** Marks of objects that are unsettled by this change alone. */
  readonly marked: readonly Mark[]
  /** Objects that have to be compared whole: new folders and zones, and what was unsettled before. */
  readonly newlyMarked: readonly FgaObject[]
}

/**
 * A change as it is meant: whoever was moved is named by the key they go by now. Of two who are one so, a
 * write counts before a delete, and the later end. Deletes of what only restricts stay as they are: whoever
 * says such a block by the new key and then takes the old one away would lose it. What is no content is taken
 * away under each key by which it may stand: a move that goes on, or died, would bring it back.
 */
export async function asNamedNow(
  { effectsOf }: Pick<IngestContext, 'effectsOf'>,
  sql: Sql,
  list: AllowList,
  entries: readonly Entry[],
): Promise<readonly Entry[]> {
  const moved = await movedTo(
    sql,
    entries.map(({ tuple }) => tuple.user),
  )
  const taken = entries.filter(({ tuple, operation }) => operation === 'delete' && !isContent(tuple.object))
  const moving = taken.length === 0 ? new Map<string, readonly string[]>() : await movingTo(sql)
  if (moved.size + moving.size === 0) return entries
  const places = taken.filter(({ tuple }) => moved.has(tuple.user)).map(({ tuple }) => usersetOf(tuple))
  const { restricting, giving } = await effectsOf(places, sql)
  const isMeant = ({ tuple, operation }: Entry): boolean =>
    operation === 'write' ||
    (list.isWidening(splitObject(tuple.object).type, tuple.relation) &&
      (!restricting.has(usersetOf(tuple)) || giving.has(usersetOf(tuple))))
  const standing = await stillStanding(sql, [...moved.keys()])
  const namesOf = ({ user }: Tuple, isTaken: boolean, isNow: boolean): readonly string[] => {
    const now = (isNow ? moved.get(user) : undefined) ?? user
    return isTaken ? [now, ...(standing.has(user) ? [user] : []), ...(moving.get(now) ?? [])] : [now]
  }
  const kept = new Map<string, Entry>()
  for (const entry of entries)
    for (const user of namesOf(entry.tuple, taken.includes(entry), isMeant(entry))) {
      const named = { ...entry, tuple: { ...entry.tuple, user } }
      const other = kept.get(tupleId(named.tuple))
      if (other === undefined || (entry.operation === 'write' && isOver(named, other)))
        kept.set(tupleId(named.tuple), named)
    }
  return [...kept.values()]
}

/** Who of these, who were moved, is a member or the like by the old key: an earlier version wrote it so. */
async function stillStanding(sql: Sql, subjects: readonly string[]): Promise<ReadonlySet<string>> {
  const rows = await sql.query<{ subject: string }>(
    `select distinct subject from desired_tuples where subject = any($1) and subject like 'user:%/%'`,
    [subjects],
  )
  return new Set(rows.map(({ subject }) => subject))
}

const usersetOf = ({ object, relation }: TupleKey): string => `${object}#${relation}`

const isOver = (entry: Entry, other: Entry): boolean =>
  other.operation === 'delete' || endOf(toTag(entry.tuple)) > endOf(toTag(other.tuple))

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
    await addTags(
      sql,
      object,
      ownEntries.filter(({ operation }) => operation === 'write').map(({ tuple }) => toTag(tuple)),
    )
    const mark = await markUnsettled(sql, object, false)
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
    const moved = await movedTo(
      sql,
      storedDocument.pendingTags.map(({ subject }) => subject),
    )
    const access = tagsAfter(object, renamedTags(storedDocument.pendingTags, moved), entries)
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
        ownerOf(access),
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
      await sql.query(
        operation === 'write'
          ? 'update documents set owner = $2 where id = $1'
          : // Of several owners one is cited: who goes may be another one, or may never have been there.
            `update documents set owner = (select min(subject) from desired_tuples
               where object = 'document:' || $1::text and relation = 'owner') where id = $1 and owner = $2`,
        [id, tuple.user],
      )
    }
    if (tuple.relation === 'sensitive' && operation === 'delete') {
      await sql.query('update documents set was_sensitive = false where id = $1', [id])
    }
  }
}
