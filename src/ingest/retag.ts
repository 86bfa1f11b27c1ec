import { record } from '../audit/record.ts'
import type { AllowList } from '../authz/allow-list/allow-list.ts'
import { assertInForce } from '../authz/allow-list/in-force.ts'
import { endsOf, tupleId } from '../authz/fga.ts'
import { AppError } from '../kernel/errors.ts'
import { documentObject } from '../kernel/ids.ts'
import type { IngestContext, Writer } from './context.ts'
import { endOf, setTags, tagKey, toTuple } from './desired-tuples.ts'
import { readDocuments, type StoredDocument } from './document-rows.ts'
import { fileFolders, reconcileFolders } from './folders.ts'
import type { Hold } from './hold.ts'
import { type JobNote, noteTexts } from './job-store.ts'
import { type AcceptedPlacement, decidePlacements } from './placement.ts'
import { reconcileObject } from './reconcile-tuples.ts'
import type { Access } from './wire.ts'

/**
 * Sets who may read a document anew; its content stays. Removals are in force when this returns. Additions
 * too, unless new content waits to be published: then they come with it, so that nobody who is added sees
 * what was there before. Throws `not_found` for what is missing or may not be written, 403 or 409 like a PUT.
 */
export async function retag(
  context: IngestContext,
  writer: Writer,
  id: string,
  access: Access,
  signal?: AbortSignal,
): Promise<readonly JobNote[]> {
  const { database, fga, clock, newId, documentLocks } = context
  const object = documentObject(id)
  return documentLocks.hold(
    [object],
    async (hold) => {
      const allowList = context.allowList()
      const storedDocument = (await readDocuments(database, [id])).get(id)
      // Also where nothing is there: a 404 at once would tell that from one of others.
      const [decision] = await decidePlacements(
        { database, fga, allowList, now: clock.now() },
        writer.subject,
        [{ id, collection: storedDocument?.collection ?? newId(), access }],
      )
      if (storedDocument === undefined || (!storedDocument.isLive && !storedDocument.isPending))
        throw new AppError('not_found')
      if (decision === undefined) throw new AppError('not_found')
      if (!decision.ok)
        throw decision.error.field === 'collection' ? new AppError('not_found') : decision.error
      await apply(allowList, hold, writer, id, access, storedDocument, decision.accepted)
      await reconcileFolders(context, decision.accepted.tags)
      await reconcileObject(context, hold, object)
      return decision.accepted.sensitivityKept
        ? [{ id, code: 'sensitivity_kept', detail: noteTexts.sensitivity_kept }]
        : []
    },
    signal,
  )
}

async function apply(
  allowList: AllowList,
  hold: Hold,
  writer: Writer,
  id: string,
  access: Access,
  storedDocument: StoredDocument,
  { tags: newTags, narrowed, newFolders }: AcceptedPlacement,
): Promise<void> {
  const object = documentObject(id)
  await hold.transaction(async (sql) => {
    await assertInForce(sql, allowList)
    await fileFolders(sql, storedDocument.collection, newFolders)
    if (storedDocument.isPending) {
      await sql.query(
        `update revisions set access = $2, owner = $3, retagged = true
         where doc_no = $1 and revision = (select accepted_revision from documents where doc_no = $1)`,
        [storedDocument.docNo, JSON.stringify(newTags), access.owner ?? null],
      )
    } else {
      await sql.query('update documents set owner = $2 where doc_no = $1', [
        storedDocument.docNo,
        access.owner ?? null,
      ])
    }
    const nextTags = storedDocument.isPending ? narrowed : newTags
    if (storedDocument.isLive || storedDocument.tags.length > 0) await setTags(sql, object, nextTags)
    const storedByKey = new Map(storedDocument.tags.map((tag) => [tagKey(tag), tag]))
    // A later or an earlier end is a change, too.
    const written = newTags.filter((tag) => {
      const storedTag = storedByKey.get(tagKey(tag))
      return storedTag === undefined || endOf(storedTag) !== endOf(tag)
    })
    const writes = written.map((tag) => toTuple(object, tag))
    const newKeys = new Set(newTags.map(tagKey))
    await record(sql, writer, {
      event: 'access_changed',
      writes: writes.map(tupleId),
      deletes: storedDocument.tags
        .filter((tag) => !newKeys.has(tagKey(tag)))
        .map((tag) => tupleId(toTuple(object, tag))),
      ...endsOf(writes),
    })
  })
}
