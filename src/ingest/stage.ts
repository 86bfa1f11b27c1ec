import { createHash } from 'node:crypto'
import type { ChunkPublisher, LexemeCount } from '../retrieval/chunk-index/port.ts'
import type { Database, Sql } from '../store/sql.ts'
import type { Chunk } from './chunk.ts'
import type { Prepared } from './context.ts'
import type { Revision } from './revision.ts'

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

/** Has the next try stage the revision once more. What of it is staged stays until then, where nobody sees it. */
export async function stageAnew(
  sql: Sql,
  { docNo, revision }: Pick<Revision, 'docNo' | 'revision'>,
): Promise<void> {
  await sql.query('update revisions set staged_text = null where doc_no = $1 and revision = $2', [
    docNo,
    revision,
  ])
}

/** The database for texts, and the index for chunks. */
export interface StageDeps {
  readonly database: Database
  readonly index: ChunkPublisher
}

/**
 * Hands the chunks to the index, then stores the texts, where no search and no reader sees them. Replaces an earlier try.
 * Of a revision that is gone nothing stays.
 */
export async function stage(
  { database, index }: StageDeps,
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
export const chunkId = (id: string, revision: number, ordinal: number): string =>
  `c_${createHash('sha256').update(`${id}\n${revision}\n${ordinal}`).digest('base64url').slice(0, 24)}`
