import { createHash } from 'node:crypto'
import { operator, record } from '../audit/record.ts'
import { documentObject } from '../kernel/ids.ts'
import type { ChunkPublisher, LexemeCount } from '../retrieval/chunk-index/port.ts'
import type { Sql } from '../store/sql.ts'
import type { Chunk } from './chunk.ts'
import type { IngestContext, Prepared } from './context.ts'
import { readTags, setTags, widens } from './desired-tuples.ts'
import { reconcileFolders } from './folders.ts'
import type { Hold } from './hold.ts'
import { finishItem } from './job-store.ts'
import { reconcileObject } from './reconcile-tuples.ts'
import { type Revision, readRevision } from './revision.ts'

/**
 * Brings a staged revision into force. Hidden first out, visible last in: where anybody gains access, the old
 * content is gone before their tuples are written, and the new one appears after. The caller holds the
 * document's lock. Returns the job whose item was finished; undefined when the revision was superseded
 * meanwhile.
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

// Rows in one statement: bounds the size of a message to the database.
const rowsMax = 200

/** Whether all chunks of the revision wait already, in the index and as texts. */
export async function isStaged(
  sql: Sql,
  { docNo, revision }: Pick<Revision, 'docNo' | 'revision'>,
): Promise<boolean> {
  const rows = await sql.query(
    'select 1 from revisions where doc_no = $1 and revision = $2 and staged_text is not null',
    [docNo, revision],
  )
  return rows.length > 0
}

/**
 * Has the next try stage the revision once more. What of it is staged stays until then, where nobody sees it.
 */
export async function stageAnew(
  sql: Sql,
  { docNo, revision }: Pick<Revision, 'docNo' | 'revision'>,
): Promise<void> {
  await sql.query('update revisions set staged_text = null where doc_no = $1 and revision = $2', [
    docNo,
    revision,
  ])
}

/**
 * Hands the chunks to the index, then stores the texts, where no search and no reader sees them. Replaces an
 * earlier try. Of a revision that is gone nothing stays.
 */
export async function stage(
  { database, index }: Pick<IngestContext, 'database' | 'index'>,
  target: Revision,
  { text, chunks }: Prepared,
  vectors: readonly Float32Array[] | undefined,
): Promise<void> {
  const { id, docNo, revision, publication } = target
  const lexemes = await countLexemes(database, target.title, chunks)
  const indexed = chunks.map(({ ordinal }, index) => ({
    chunkId: chunkId(id, revision, ordinal),
    ordinal,
    vector: vectors?.[index],
    lexemes: lexemes[index] ?? [],
  }))
  await index.stage({ number: publication, docNo, revision }, indexed)
  await database.transaction(async (sql) => {
    const storedRows = await sql.query(
      'update revisions set staged_text = $3 where doc_no = $1 and revision = $2 returning 1',
      [docNo, revision, text],
    )
    // Superseded or refused meanwhile; what was published meanwhile the index keeps.
    if (storedRows.length === 0) return index.forget(sql, { number: publication, docNo, revision })
    await sql.query('delete from staged_texts where doc_no = $1 and revision = $2', [docNo, revision])
    for (let offset = 0; offset < chunks.length; offset += rowsMax)
      await insertTexts(sql, target, chunks.slice(offset, offset + rowsMax))
  })
}

/** What the index is to find each chunk by: the words of its title, its headings and its text. */
async function countLexemes(sql: Sql, title: string, chunks: readonly Chunk[]): Promise<LexemeCount[][]> {
  const counted: LexemeCount[][] = []
  for (let offset = 0; offset < chunks.length; offset += rowsMax) {
    const page = chunks.slice(offset, offset + rowsMax)
    const rows = await sql.query<{ lexemes: string[]; counts: number[]; in_title: number[] }>(
      `select w.lexemes, w.counts, w.in_title
       from unnest($1::text[], $2::text[]) with ordinality as c (lead, text, nth)
       cross join lateral (
         select coalesce(array_agg(u.lexeme), '{}') as lexemes,
           coalesce(array_agg(cardinality(u.positions)), '{}') as counts,
           coalesce(array_agg(cardinality(array_positions(u.weights, 'A'))), '{}') as in_title
         from unnest(setweight(to_tsvector('english', c.lead), 'A') || to_tsvector('english', c.text)) u
       ) w order by c.nth`,
      [page.map(({ headings }) => [title, ...headings].join(' ')), page.map(({ text }) => text)],
    )
    for (const { lexemes, counts, in_title } of rows)
      counted.push(
        lexemes.map((lexeme, index) => ({
          lexeme,
          count: counts[index] ?? 0,
          inTitle: in_title[index] ?? 0,
        })),
      )
  }
  return counted
}

async function insertTexts(
  sql: Sql,
  { id, docNo, revision }: Revision,
  chunks: readonly Chunk[],
): Promise<void> {
  await sql.query(
    `insert into staged_texts (doc_no, revision, ordinal, chunk_id, text, headings, page, start_offset, end_offset)
     select $1, $2, c.ordinal, c.chunk_id, c.text, h.headings, c.page, c.start_offset, c.end_offset
     from unnest($3::int[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[], $9::int[])
       as c (ordinal, chunk_id, text, headings, page, start_offset, end_offset)
     cross join lateral (
       select coalesce(array_agg(value order by at), '{}') as headings
       from jsonb_array_elements_text(c.headings::jsonb) with ordinality as each (value, at)
     ) h`,
    [
      docNo,
      revision,
      chunks.map(({ ordinal }) => ordinal),
      chunks.map(({ ordinal }) => chunkId(id, revision, ordinal)),
      chunks.map(({ text }) => text),
      chunks.map(({ headings }) => JSON.stringify(headings)),
      chunks.map(({ page }) => page ?? null),
      chunks.map(({ start: startOffset }) => startOffset),
      chunks.map(({ end: endOffset }) => endOffset),
    ],
  )
}

/** A digest, never a counter over documents: an id tells nothing about what else there is. */
const chunkId = (id: string, revision: number, ordinal: number): string =>
  `c_${createHash('sha256').update(`${id}\n${revision}\n${ordinal}`).digest('base64url').slice(0, 24)}`
