import { createHash } from 'node:crypto'
import type { LexemeCount } from '../retrieval/chunk-index/port.ts'
import type { Sql } from '../store/sql.ts'
import type { Chunk } from './chunk.ts'
import type { IngestContext, Prepared } from './context.ts'
import { keysOf, type Revision } from './revision.ts'

/** A revision with what was read from it, and its vectors where there is a model. */
export interface ReadRevision {
  readonly revision: Revision
  readonly prepared: Prepared
  readonly vectors: readonly Float32Array[] | undefined
}

// Rows in one statement: bounds the size of a message to the database.
const rowsMax = 200

/**
 * Has the next try stage these revisions once more. What of them is staged stays until then, where nobody
 * sees it.
 */
export async function stageAnew(
  sql: Sql,
  revisions: readonly Pick<Revision, 'docNo' | 'revision'>[],
): Promise<void> {
  await sql.query(
    `update revisions r set staged_text = null from unnest($1::int[], $2::bigint[]) as s (doc_no, revision)
     where r.doc_no = s.doc_no and r.revision = s.revision`,
    keysOf(revisions),
  )
}

/**
 * Hands the chunks of revisions of different documents to the index, then stores their texts, where no search
 * and no reader sees them. Replaces an earlier try. Of a revision that is gone nothing stays.
 */
export async function stage(
  { database, index }: Pick<IngestContext, 'database' | 'index'>,
  targets: readonly ReadRevision[],
): Promise<void> {
  const lines = await withLexemes(
    database,
    targets.flatMap(({ revision, prepared, vectors }) =>
      prepared.chunks.map((chunk, nth) => ({ revision, chunk, vector: vectors?.[nth] })),
    ),
  )
  const linesByRevision = Map.groupBy(lines, ({ revision }) => revision)
  await index.stage(
    targets.map(({ revision }) => ({
      number: revision.publication,
      docNo: revision.docNo,
      revision: revision.revision,
      chunks: (linesByRevision.get(revision) ?? []).map(({ chunk: { ordinal }, vector, lexemes }) => ({
        chunkId: chunkId(revision.id, revision.revision, ordinal),
        ordinal,
        vector,
        lexemes,
      })),
    })),
  )
  await database.transaction(async (sql) => {
    const rows = await sql.query<{ doc_no: number }>(
      `update revisions r set staged_text = s.text
       from unnest($1::int[], $2::bigint[], $3::text[]) as s (doc_no, revision, text)
       where r.doc_no = s.doc_no and r.revision = s.revision returning r.doc_no`,
      [...keysOf(targets.map(({ revision }) => revision)), targets.map(({ prepared }) => prepared.text)],
    )
    const there = new Set(rows.map(({ doc_no }) => doc_no))
    // Superseded or refused meanwhile; what was published meanwhile the index keeps.
    for (const { revision } of targets)
      if (!there.has(revision.docNo))
        await index.forget(sql, {
          number: revision.publication,
          docNo: revision.docNo,
          revision: revision.revision,
        })
    const staged = lines.filter(({ revision }) => there.has(revision.docNo))
    await sql.query(
      `delete from staged_texts t using unnest($1::int[], $2::bigint[]) as s (doc_no, revision)
       where t.doc_no = s.doc_no and t.revision = s.revision`,
      keysOf(targets.map(({ revision }) => revision)),
    )
    for (let offset = 0; offset < staged.length; offset += rowsMax)
      await insertTexts(sql, staged.slice(offset, offset + rowsMax))
  })
}

interface Line {
  readonly revision: Revision
  readonly chunk: Chunk
  readonly vector: Float32Array | undefined
}

/** With what the index is to find each chunk by: the words of its title, its headings and its text. */
async function withLexemes(
  sql: Sql,
  lines: readonly Line[],
): Promise<(Line & { readonly lexemes: readonly LexemeCount[] })[]> {
  const counted: (Line & { readonly lexemes: readonly LexemeCount[] })[] = []
  for (let offset = 0; offset < lines.length; offset += rowsMax) {
    const page = lines.slice(offset, offset + rowsMax)
    const rows = await sql.query<{ lexemes: string[]; counts: number[]; in_title: number[] }>(
      `select w.lexemes, w.counts, w.in_title
       from unnest($1::text[], $2::text[]) with ordinality as c (lead, text, nth)
       cross join lateral (
         select coalesce(array_agg(u.lexeme), '{}') as lexemes,
           coalesce(array_agg(cardinality(u.positions)), '{}') as counts,
           coalesce(array_agg(cardinality(array_positions(u.weights, 'A'))), '{}') as in_title
         from unnest(setweight(to_tsvector('english', c.lead), 'A') || to_tsvector('english', c.text)) u
       ) w order by c.nth`,
      [
        page.map(({ revision, chunk }) => [revision.title, ...chunk.headings].join(' ')),
        page.map(({ chunk }) => chunk.text),
      ],
    )
    for (const [nth, line] of page.entries()) {
      const { lexemes = [], counts = [], in_title = [] } = rows[nth] ?? {}
      counted.push({
        ...line,
        lexemes: lexemes.map((lexeme, at) => ({
          lexeme,
          count: counts[at] ?? 0,
          inTitle: in_title[at] ?? 0,
        })),
      })
    }
  }
  return counted
}

async function insertTexts(sql: Sql, lines: readonly Line[]): Promise<void> {
  await sql.query(
    `insert into staged_texts (doc_no, revision, ordinal, chunk_id, text, headings, page, start_offset, end_offset)
     select c.doc_no, c.revision, c.ordinal, c.chunk_id, c.text, h.headings, c.page, c.start_offset, c.end_offset
     from unnest($1::int[], $2::bigint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[], $9::int[])
       as c (doc_no, revision, ordinal, chunk_id, text, headings, page, start_offset, end_offset)
     cross join lateral (
       select coalesce(array_agg(value order by at), '{}') as headings
       from jsonb_array_elements_text(c.headings::jsonb) with ordinality as each (value, at)
     ) h`,
    [
      ...keysOf(lines.map(({ revision }) => revision)),
      lines.map(({ chunk }) => chunk.ordinal),
      lines.map(({ revision: { id, revision }, chunk }) => chunkId(id, revision, chunk.ordinal)),
      lines.map(({ chunk }) => chunk.text),
      lines.map(({ chunk }) => JSON.stringify(chunk.headings)),
      lines.map(({ chunk }) => chunk.page ?? null),
      lines.map(({ chunk }) => chunk.start),
      lines.map(({ chunk }) => chunk.end),
    ],
  )
}

/** A digest, never a counter over documents: an id tells nothing about what else there is. */
const chunkId = (id: string, revision: number, ordinal: number): string =>
  `c_${createHash('sha256').update(`${id}\n${revision}\n${ordinal}`).digest('base64url').slice(0, 24)}`
