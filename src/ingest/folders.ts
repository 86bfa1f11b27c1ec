import { AppError } from '../kernel/errors.ts'
import { collectionObject, type FgaObject } from '../kernel/ids.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { addTags, markUnsettled, type Tag } from './desired-tuples.ts'
import { reconcileObject } from './reconcile-tuples.ts'

/** The object of a folder. */
export const folderObject = (id: string): FgaObject => `folder:${id}`

/**
 * Files folders at their first mention, in the caller's transaction. Returns those that were new; {@link reconcileFolders}
 * has to come before anybody reads by them. Tuples found on a new folder are removed like on a new document.
 */
export async function fileFolders(sql: Sql, collection: string, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return []
  const rows = await sql.query<{ id: string }>(
    `insert into folders (id, collection) select distinct unnest($1::text[]), $2
     on conflict (id) do nothing returning id`,
    [ids, collection],
  )
  const elsewhere = await sql.query('select 1 from folders where id = any($1) and collection <> $2', [
    ids,
    collection,
  ])
  if (elsewhere.length > 0)
    throw new AppError('conflict', { public: 'A folder was filed elsewhere at the same moment.' })
  for (const { id } of rows) {
    await addTags(sql, folderObject(id), [{ relation: 'filed_in', subject: collectionObject(collection) }])
    await markUnsettled(sql, folderObject(id), true)
  }
  return rows.map(({ id }) => id)
}

/**
 * Makes OpenFGA agree about what a document of these tags lies in, new folders above all: whoever filed one may have died
 * before. The caller must not hold the folders' locks.
 */
export async function reconcileFolders(context: IngestContext, documentTags: readonly Tag[]): Promise<void> {
  const parents = documentTags.flatMap(({ relation, subject }) => (relation === 'parent' ? [subject] : []))
  if (parents.length === 0) return
  const rows = await context.database.query<{ object: FgaObject }>(
    `select object from unreconciled where object = any($1) and object like 'folder:%' order by object`,
    [parents],
  )
  for (const { object } of rows)
    await context.documentLocks.hold([object], (hold) => reconcileObject(context, hold, object))
}
