import { toSql } from 'pgvector'
import type { Database, Sql } from '../../../store/sql.ts'
import {
  type ChunkPublisher,
  type IndexedChunk,
  type LexemeCount,
  NotFound,
  type Publication,
} from '../port.ts'
import { quoted } from './words.ts'

/** The database, and the IVF index's part in showing a revision. */
export interface PublisherDeps {
  readonly database: Database
  /** Notes where the chunks of a staged revision lie for the IVF, in the transaction that shows them. */
  readonly assign: (
    sql: Sql,
    revision: { readonly docNo: number; readonly revision: number },
  ) => Promise<void>
}

/** Staged chunks stand in a table of their own; showing moves them, in the caller's transaction. */
export function createPublisher({ database, assign }: PublisherDeps): ChunkPublisher {
  return {
    stage: ({ number, docNo, revision }, chunks) =>
      database.transaction(async (sql) => {
        const shownRows = await sql.query<{ is_shown: boolean }>(
          `insert into index_publications (publication, doc_no, chunks) values ($1, $2, $3)
           on conflict (publication) do update set chunks =
             case when index_publications.is_shown then index_publications.chunks else excluded.chunks end
           returning is_shown`,
          [number, docNo, chunks.length],
        )
        // By a process that stood still: what is in force stays.
        if (shownRows[0]?.is_shown !== false) return
        await sql.query('delete from staged_chunks where doc_no = $1 and revision = $2', [docNo, revision])
        for (let offset = 0; offset < chunks.length; offset += rowsMax)
          await insertPage(
            sql,
            database.vectorType,
            { docNo, revision },
            chunks.slice(offset, offset + rowsMax),
          )
      }),

    async show(sql, { number, docNo, revision }) {
      const [found] = await sql.query<{ chunks: number; is_shown: boolean }>(
        'select chunks, is_shown from index_publications where publication = $1 for update',
        [number],
      )
      if (found === undefined) throw new NotFound(number)
      if (found.is_shown) return found.chunks
      await hide(sql, docNo)
      await sql.query(
        `insert into chunks (chunk_id, doc_no, ordinal, embedding)
         select chunk_id, doc_no, ordinal, embedding from staged_chunks
         where doc_no = $1 and revision = $2 order by ordinal`,
        [docNo, revision],
      )
      await assign(sql, { docNo, revision })
      await sql.query(
        `insert into chunk_words (chunk_id, doc_no, ordinal, words, tsv)
         select chunk_id, doc_no, ordinal, (select coalesce(sum(cardinality(positions)), 0) from unnest(tsv)), tsv
         from staged_chunks where doc_no = $1 and revision = $2`,
        [docNo, revision],
      )
      await sql.query(
        `with moved as (delete from staged_chunks where doc_no = $2 and revision = $3)
         update index_publications set is_shown = true where publication = $1`,
        [number, docNo, revision],
      )
      return found.chunks
    },

    hide,

    async forget(sql, { number, docNo, revision }) {
      await sql.query(
        `with forgotten as (
           delete from index_publications where publication = $1 and not is_shown returning doc_no
         )
         delete from staged_chunks s using forgotten f
         where s.doc_no = f.doc_no and s.doc_no = $2 and s.revision = $3`,
        [number, docNo, revision],
      )
    },

    async listed(afterNumber, limit) {
      const rows = await database.query<{ publication: number }>(
        'select publication from index_publications where publication > $1 order by publication limit $2',
        [afterNumber, limit],
      )
      return rows.map(({ publication }) => publication)
    },

    async lacksVector(sql, docNo) {
      const rows = await sql.query('select from chunks where doc_no = $1 and embedding is null limit 1', [
        docNo,
      ])
      return rows.length > 0
    },
  }
}

async function hide(sql: Sql, docNo: number): Promise<void> {
  // Codes are not deleted: whoever holds them in memory has to hear that the document is gone.
  await sql.query(
    `with hidden as (delete from chunks where doc_no = $1),
       forgotten as (delete from index_publications where doc_no = $1 and is_shown)
     update document_codes set partitions = '', codes = '', changed_in = pg_current_xact_id() where doc_no = $1`,
    [docNo],
  )
}

// Rows in one statement: bounds the size of a message to the database.
const rowsMax = 200

async function insertPage(
  sql: Sql,
  vectorType: Database['vectorType'],
  { docNo, revision }: Pick<Publication, 'docNo' | 'revision'>,
  chunks: readonly IndexedChunk[],
): Promise<void> {
  await sql.query(
    `insert into staged_chunks (doc_no, revision, ordinal, chunk_id, embedding, tsv)
     select $1, $2, c.ordinal, c.chunk_id, c.embedding::${vectorType}, c.tsv::tsvector
     from unnest($3::int[], $4::text[], $5::text[], $6::text[]) as c (ordinal, chunk_id, embedding, tsv)`,
    [
      docNo,
      revision,
      chunks.map(({ ordinal }) => ordinal),
      chunks.map(({ chunkId }) => chunkId),
      chunks.map(({ vector }) => (vector === undefined ? null : toSql([...vector]))),
      chunks.map(({ lexemes }) => lexemes.map(toEntry).join(' ')),
    ],
  )
}

/** As a tsvector is written. Where a lexeme stands does not count, only how often: any places will do. */
function toEntry({ lexeme, count, inTitle }: LexemeCount): string {
  const positions = Array.from({ length: count }, (_, index) => `${index + 1}${index < inTitle ? 'A' : ''}`)
  return `${quoted(lexeme)}:${positions.join(',')}`
}
