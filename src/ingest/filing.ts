import { AppError, invalid } from '../kernel/errors.ts'
import { collectionObject, type FgaObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import { reachedFrom, readAncestry } from './ancestry.ts'
import type { IngestContext } from './context.ts'
import { addTags, type Entry, markUnsettled, type Tag } from './desired-tuples.ts'
import { reconcileObject } from './reconcile-tuples.ts'

/** Whether it is filed at its first mention, once and for ever: a folder or a zone. */
export const isFiledAtMention = (object: string): object is FgaObject => /^(?:folder|zone):/.test(object)

/**
 * Files folders and zones at their first mention, in the caller's transaction. Returns those that were new;
 * {@link reconcileParents} has to come before anybody reads by them. Tuples found on a new one are removed
 * like on a new document.
 */
export async function fileMentioned(
  sql: Sql,
  collection: string,
  objects: readonly string[],
): Promise<FgaObject[]> {
  if (objects.length === 0) return []
  const rows = await sql.query<{ object: FgaObject }>(
    `insert into filings (object, collection) select distinct unnest($1::text[]), $2
     on conflict (object) do nothing returning object`,
    [objects, collection],
  )
  const elsewhere = await sql.query('select 1 from filings where object = any($1) and collection <> $2', [
    objects,
    collection,
  ])
  if (elsewhere.length > 0)
    throw new AppError('conflict', { public: 'A parent was filed elsewhere at the same moment.' })
  for (const { object } of rows) {
    await addTags(sql, object, [{ relation: 'filed_in', subject: collectionObject(collection) }])
    await markUnsettled(sql, object, true)
  }
  return rows.map(({ object }) => object)
}

/** So long who holds something waits for a folder or a zone that somebody else holds, in milliseconds. */
export const parentWaitMsMax = 500

/**
 * Makes OpenFGA agree about what a document of these tags lies in, what was filed just now above all: whoever
 * filed it may have died before. The caller must not hold the parents' locks. `waitMsMax`: for each of these,
 * as in `Locks`.
 */
export async function reconcileParents(
  context: IngestContext,
  documentTags: readonly Tag[],
  waitMsMax?: number,
): Promise<void> {
  const parents = documentTags.flatMap(({ relation, subject }) => (relation === 'parent' ? [subject] : []))
  if (parents.length === 0) return
  const rows = await context.database.query<{ object: FgaObject }>(
    'select object from unreconciled where object = any($1) order by object',
    [parents.filter(isFiledAtMention)],
  )
  for (const { object } of rows)
    await context.documentLocks.hold(
      [object],
      (hold) => reconcileObject(context, hold, object),
      undefined,
      waitMsMax,
    )
}

/** Held by whoever gives a folder a parent: two at once could close a circle that neither sees alone. */
export const foldersLock = 'folders'

/** Whether a write gives a folder a parent, so that a cycle could come of it. */
export const writesFolderParent = ({ tuple, operation }: Entry): boolean =>
  operation === 'write' &&
  tuple.relation === 'parent' &&
  tuple.object.startsWith('folder:') &&
  tuple.user.startsWith('folder:')

/**
 * Throws `invalid_request` naming the parent by which a folder would lie in itself. Today's OpenFGA denies
 * what rests on such a circle behind `but not`, so that no agent is told anything that lies in it; its coming
 * engine does not see the circle. The caller holds {@link foldersLock}.
 */
export async function assertNoCircle(sql: Sql, entries: readonly Entry[]): Promise<void> {
  const written = entries.filter(writesFolderParent)
  if (written.length === 0) return
  const parents = await readAncestry(
    sql,
    written.map(({ tuple }) => tuple.user),
    ['parent'],
  )
  for (const { tuple, operation } of entries)
    if (operation === 'delete' && tuple.relation === 'parent') parents.get(tuple.object)?.delete(tuple.user)
  // One after the other, so that the one is named that closes the circle.
  for (const { tuple, field } of written) {
    if (reachedFrom([tuple.user], parents).has(tuple.object))
      throw invalid(`${field}.user`, 'This folder lies in the folder whose parent it would be.')
    parents.set(tuple.object, (parents.get(tuple.object) ?? new Set()).add(tuple.user))
  }
}
