import { operator, record } from '../audit/record.ts'
import { documentObject } from '../kernel/ids.ts'
import type { ChunkPublisher } from '../retrieval/chunk-index/port.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { readTags, setTags, widens } from './desired-tuples.ts'
import { reconcileFolders } from './folders.ts'
import type { Hold } from './hold.ts'
import { finishItem } from './job-store.ts'
import { reconcileObject } from './reconcile-tuples.ts'
import { type Revision, readRevision } from './revision.ts'

/**
 * Brings a staged revision into force. Hidden first out, visible last in: where anybody gains access, the old
 * content is gone before their tuples are written, and the new one appears after. The caller holds the
 * document's lock. Returns the job whose item was finished; undefined when the revision was superseded meanwhile.
 */
export async function publish(
  context: IngestContext,
  hold: Hold,
  task: { readonly document: string; readonly revision: number },
): Promise<string | undefined> {
  const { database, step, corpusChanged, allowList, index } = context
  const revision = await readRevision(database, task.document, task.revision)
  if (revision === undefined) return undefined
  const object = documentObject(revision.id)
  const current = (await readTags(database, [object])).get(object) ?? []
  const list = allowList()
  await hold.transaction(async (sql) => {
    if (widens(current, revision.access, (relation) => list.isWidening('document', relation)))
      await hide(sql, index, revision.docNo)
    await setTags(sql, object, revision.access, { purge: revision.creates })
  })
  await step('hidden', revision.id)
  await reconcileFolders(context, revision.access)
  await reconcileObject(context, hold, object)
  await step('tuples', revision.id)
  const jobId = await hold.transaction((sql) => show(sql, revision, context))
  await corpusChanged([revision.docNo])
  await step('published', revision.id)
  return jobId
}

/** Takes what is live out of every search and read, in the caller's transaction. */
export async function hide(sql: Sql, index: ChunkPublisher, docNo: number): Promise<void> {
  await index.hide(sql, docNo)
  await removeTexts(sql, docNo)
  await sql.query(
    'update documents set live_revision = null, publication = null, chunk_count = 0 where doc_no = $1',
    [docNo],
  )
}

async function removeTexts(sql: Sql, docNo: number): Promise<void> {
  await sql.query(
    'with removed as (delete from chunk_texts where doc_no = $1) delete from document_texts where doc_no = $1',
    [docNo],
  )
}

async function show(
  sql: Sql,
  { id, docNo, revision, publication, itemNo }: Revision,
  { newId, index }: IngestContext,
): Promise<string | undefined> {
  const count = await index.show(sql, { number: publication, docNo, revision })
  await removeTexts(sql, docNo)
  await sql.query(
    `with texts as (
       insert into chunk_texts (chunk_id, doc_no, ordinal, text, headings, page, start_offset, end_offset)
       select chunk_id, doc_no, ordinal, text, headings, page, start_offset, end_offset from staged_texts
       where doc_no = $1 and revision = $2
     )
     insert into document_texts (doc_no, text)
     select doc_no, staged_text from revisions where doc_no = $1 and revision = $2`,
    [docNo, revision],
  )
  await sql.query(
    `update documents d set live_revision = r.revision, publication = r.publication, title = r.title, uri = r.uri,
       owner = r.owner, source = r.source, metadata = r.metadata, source_updated_at = r.source_updated_at,
       source_version = r.source_version, was_sensitive = false, chunk_count = $3
     from revisions r where d.doc_no = r.doc_no and r.doc_no = $1 and r.revision = $2`,
    [docNo, revision, count],
  )
  await sql.query('delete from revisions where doc_no = $1 and revision = $2', [docNo, revision])
  await record(sql, operator(newId()), { event: 'document_published', document_id: id, revision })
  return finishItem(sql, itemNo, { state: 'done' })
}
