import { createHash } from 'node:crypto'
import { toSql } from 'pgvector'
import type { Database, Sql } from '../store/sql.ts'
import type { Prepared, PreparedChunk } from './context.ts'

interface Target {
  readonly id: string
  readonly docNo: number
  readonly revision: number
  readonly title: string
}

// Rows in one statement: bounds the size of a message to the database.
const rowsMax = 200

/** Whether all chunks of the revision wait in the database already. */
export async function isStaged(
  sql: Sql,
  { docNo, revision }: Pick<Target, 'docNo' | 'revision'>,
): Promise<boolean> {
  const rows = await sql.query(
    'select 1 from revisions where doc_no = $1 and revision = $2 and staged_text is not null',
    [docNo, revision],
  )
  return rows.length > 0
}

/** Stores the chunks where no search sees them. Replaces an earlier try. A revision that is gone stores nothing. */
export async function stage(
  database: Database,
  target: Target,
  { text, chunks }: Prepared,
  vectors: readonly Float32Array[] | undefined,
): Promise<void> {
  await database.transaction(async (sql) => {
    const known = await sql.query(
      'update revisions set staged_text = $3 where doc_no = $1 and revision = $2 returning 1',
      [target.docNo, target.revision, text],
    )
    if (known.length === 0) return
    await sql.query('delete from staged_chunks where doc_no = $1 and revision = $2', [
      target.docNo,
      target.revision,
    ])
    for (let from = 0; from < chunks.length; from += rowsMax) {
      const page = chunks.slice(from, from + rowsMax)
      await insertPage(sql, database.vectorType, target, page, vectors?.slice(from, from + rowsMax))
    }
  })
}

// Title and headings are marked (A), and so is the body (D). Both rank alike: docs/decisions/0005-ranking.md.
async function insertPage(
  sql: Sql,
  vectorType: Database['vectorType'],
  { id, docNo, revision, title }: Target,
  chunks: readonly PreparedChunk[],
  vectors: readonly Float32Array[] | undefined,
): Promise<void> {
  await sql.query(
    `insert into staged_chunks (doc_no, revision, ordinal, chunk_id, embedding, tsv, text, headings, page,
       start_offset, end_offset)
     select $1, $2, c.ordinal, c.chunk_id, c.embedding::${vectorType},
       setweight(to_tsvector('english', $3 || ' ' || array_to_string(h.headings, ' ')), 'A')
         || setweight(to_tsvector('english', c.text), 'D'),
       c.text, h.headings, c.page, c.start_offset, c.end_offset
     from unnest($4::int[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[], $10::int[], $11::int[])
       as c (ordinal, chunk_id, embedding, text, headings, page, start_offset, end_offset)
     cross join lateral (
       select coalesce(array_agg(value order by at), '{}') as headings
       from jsonb_array_elements_text(c.headings::jsonb) with ordinality as each (value, at)
     ) h`,
    [
      docNo,
      revision,
      title,
      chunks.map(({ ordinal }) => ordinal),
      chunks.map(({ ordinal }) => chunkId(id, revision, ordinal)),
      chunks.map((_, index) => vectorText(vectors?.[index])),
      chunks.map(({ text }) => text),
      chunks.map(({ headings }) => JSON.stringify(headings)),
      chunks.map(({ page }) => page ?? null),
      chunks.map(({ start }) => start),
      chunks.map(({ end }) => end),
    ],
  )
}

const vectorText = (vector: Float32Array | undefined): string | null =>
  vector === undefined ? null : toSql([...vector])

/** A digest, never a counter over documents: an id tells nothing about what else there is. */
export const chunkId = (id: string, revision: number, ordinal: number): string =>
  `c_${createHash('sha256').update(`${id}\n${revision}\n${ordinal}`).digest('base64url').slice(0, 24)}`
