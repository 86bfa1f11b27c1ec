import { operator, recordAll } from '../audit/record.ts'
import { documentObject } from '../kernel/ids.ts'
import type { ChunkPublisher } from '../retrieval/chunk-index/port.ts'
import { isOpen } from '../store/open-document.ts'
import type { Sql } from '../store/sql.ts'
import type { IngestContext } from './context.ts'
import { readTags, setAllTags, widens } from './desired-tuples.ts'
import { parentWaitMsMax, reconcileParents } from './filing.ts'
import type { Hold } from './hold.ts'
import { finishItems } from './job-store.ts'
import { reconcileObjects } from './reconcile-tuples.ts'
import { keysOf, type Revision, type RevisionTask, readRevisions } from './revision.ts'

/** What came into force, and whose items that finished. */
export interface Published {
  readonly tasks: readonly RevisionTask[]
  readonly jobs: readonly string[]
}

/**
 * Brings staged revisions of different documents into force. Hidden first out, visible last in: where anybody
 * gains access, the old content is gone before their tuples are written, and the new one appears after. The
 * caller holds the documents' locks, and has settled their parents before. What was superseded meanwhile is
 * left out of what it gives.
 */
export async function publish(
  context: IngestContext,
  hold: Hold,
  tasks: readonly RevisionTask[],
  traceOf: (task: RevisionTask) => string | undefined,
): Promise<Published> {
  const { step, corpusChanged, fewAtATime } = context
  // Whose access changes without this lock, as where a person moves, waits for this or is seen here.
  const revisions = await fewAtATime(() => hold.transaction((sql) => hideAndTag(sql, tasks, context)))
  if (revisions.length === 0) return { tasks: [], jobs: [] }
  const objects = revisions.map(({ id }) => documentObject(id))
  const steps = async (name: Parameters<typeof step>[0]): Promise<void> => {
    for (const { id } of revisions) await step(name, id)
  }
  await steps('hidden')
  // Settled before these locks were taken; only what became unsettled since is left.
  await reconcileParents(
    context,
    revisions.flatMap(({ access }) => access),
    parentWaitMsMax,
  )
  await fewAtATime(() => reconcileObjects(context, hold, objects))
  await steps('tuples')
  const jobs = await fewAtATime(() => hold.transaction((sql) => show(sql, revisions, context, traceOf)))
  await corpusChanged(revisions.map(({ docNo }) => docNo))
  await steps('published')
  const ids = new Set(revisions.map(({ id }) => id))
  return { tasks: tasks.filter(({ document }) => ids.has(document)), jobs }
}

/** Those that were not superseded. */
async function hideAndTag(
  sql: Sql,
  tasks: readonly RevisionTask[],
  { allowList, index }: IngestContext,
): Promise<readonly Revision[]> {
  const revisions = [...(await readRevisions(sql, tasks)).values()]
  if (revisions.length === 0) return []
  const current = await readTags(
    sql,
    revisions.map(({ id }) => documentObject(id)),
  )
  const list = allowList()
  const widening = revisions.filter(({ id, access }) =>
    widens(current.get(documentObject(id)) ?? [], access, (relation) =>
      list.isWidening('document', relation),
    ),
  )
  if (widening.length > 0)
    await hide(
      sql,
      index,
      widening.map(({ docNo }) => docNo),
    )
  await setAllTags(
    sql,
    revisions.map(({ id, access, creates }) => ({
      object: documentObject(id),
      tags: access,
      purge: creates,
    })),
  )
  return revisions
}

/** Takes what is live out of every search and read, in the caller's transaction. */
export async function hide(sql: Sql, index: ChunkPublisher, docNos: readonly number[]): Promise<void> {
  await index.hide(sql, docNos)
  await removeTexts(sql, docNos)
  await sql.query(
    `update documents set live_revision = null, publication = null, chunk_count = 0
     where doc_no = any($1::int[])`,
    [docNos],
  )
}

async function removeTexts(sql: Sql, docNos: readonly number[]): Promise<void> {
  await sql.query(
    `with removed as (delete from chunk_texts where doc_no = any($1::int[]))
     delete from document_texts where doc_no = any($1::int[])`,
    [docNos],
  )
}

async function show(
  sql: Sql,
  revisions: readonly Revision[],
  { newId, index }: IngestContext,
  traceOf: (task: RevisionTask) => string | undefined,
): Promise<readonly string[]> {
  const counts = await index.show(
    sql,
    revisions.map(({ publication, docNo, revision }) => ({ number: publication, docNo, revision })),
  )
  await removeTexts(
    sql,
    revisions.map(({ docNo }) => docNo),
  )
  const keys = keysOf(revisions)
  await sql.query(
    `with r as (select * from unnest($1::int[], $2::bigint[]) as r (doc_no, revision)), texts as (
       insert into chunk_texts (chunk_id, doc_no, ordinal, text, headings, page, start_offset, end_offset)
       select chunk_id, doc_no, ordinal, text, headings, page, start_offset, end_offset
       from r join staged_texts using (doc_no, revision)
     )
     insert into document_texts (doc_no, text)
     select doc_no, staged_text from r join revisions using (doc_no, revision)`,
    keys,
  )
  // What hides one of them meanwhile is waited for first: a statement that waits itself sees what was before.
  await sql.query(
    `select from documents where doc_no = any($1::int[]) order by doc_no for no key update`,
    keys.slice(0, 1),
  )
  await sql.query(
    `update documents d set live_revision = r.revision, publication = r.publication, title = r.title, uri = r.uri,
       owner = r.owner, source = r.source, metadata = r.metadata, source_updated_at = r.source_updated_at,
       source_version = r.source_version, was_sensitive = false, chunk_count = c.chunks,
       closed = not ${isOpen({ source: 'r.source', id: 'd.id' })}
     from unnest($1::int[], $2::bigint[], $3::int[]) as c (doc_no, revision, chunks)
     join revisions r using (doc_no, revision) where d.doc_no = r.doc_no`,
    [...keys, counts],
  )
  await sql.query(
    `delete from revisions r using unnest($1::int[], $2::bigint[]) as c (doc_no, revision)
     where r.doc_no = c.doc_no and r.revision = c.revision`,
    keys,
  )
  await recordAll(
    sql,
    revisions.map(({ id, revision }) => ({
      actor: { ...operator(newId()), trace: traceOf({ document: id, revision }) ?? null },
      decision: { event: 'document_published', document_id: id, revision },
    })),
  )
  return finishItems(
    sql,
    revisions.map(({ itemNo }) => itemNo),
    { state: 'done' },
  )
}
