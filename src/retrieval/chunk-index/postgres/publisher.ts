import { toSql } from 'pgvector'
import { AppError } from '../../../kernel/errors.ts'
import type { Database, Sql } from '../../../store/sql.ts'
import {
  type ChunkPublisher,
  type IndexedChunk,
  type LexemeCount,
  NotFound,
  type Publication,
  type StagedPublication,
} from '../port.ts'
import { quoted } from './words.ts'

/** The database, and the IVF index's part in showing revisions. */
export interface PublisherDeps {
  readonly database: Database
  /** Notes where the chunks of staged revisions lie for the IVF, in the transaction that shows them. */
  readonly assign: (sql: Sql, revisions: readonly StagedRevision[]) => Promise<void>
}

/** By which staged chunks are known. */
export type StagedRevision = Pick<Publication, 'docNo' | 'revision'>

/** Staged chunks stand in a table of their own; showing moves them, in the caller's transaction. */
export function createPublisher({ database, assign }: PublisherDeps): ChunkPublisher {
  return {
    async stage(publications) {
      await database.transaction(async (sql) => {
        await assertNoEngine(sql)
        return stageIn(sql, database.vectorType, publications)
      })
    },

    async show(sql, publications) {
      const rows = await sql.query<{ publication: number; chunks: number; is_shown: boolean }>(
        `select publication, chunks, is_shown from index_publications where publication = any($1::int[])
         order by publication for update`,
        [publications.map(({ number }) => number)],
      )
      const foundByNumber = new Map(rows.map((row) => [row.publication, row]))
      const counts = publications.map(({ number }) => {
        const found = foundByNumber.get(number)
        if (found === undefined) throw new NotFound(number)
        return found.chunks
      })
      const staged = publications.filter(({ number }) => foundByNumber.get(number)?.is_shown === false)
      if (staged.length === 0) return counts
      await hide(
        sql,
        staged.map(({ docNo }) => docNo),
      )
      await move(sql, staged, assign)
      return counts
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

/**
 * Throws where other processes find chunks in a search engine, which this one has no setting for: what it
 * stages could not be shown, and would be hidden for that.
 */
async function assertNoEngine(sql: Sql): Promise<void> {
  const inUse = await sql.query('select from search_generations where retired_at is null limit 1')
  if (inUse.length > 0)
    throw new AppError('storage_unavailable', {
      internal: 'other processes have SEARCH_ENGINE_URLS, and this one has not',
    })
}

/**
 * Stages them in the caller's transaction, which holds their rows from here on. Resolves with those that are
 * not shown: of the others it changes nothing.
 */
export async function stageIn(
  sql: Sql,
  vectorType: Database['vectorType'],
  publications: readonly StagedPublication[],
): Promise<readonly StagedPublication[]> {
  const rows = await sql.query<{ publication: number; is_shown: boolean }>(
    `insert into index_publications (publication, doc_no, chunks)
     select * from unnest($1::int[], $2::int[], $3::int[]) as p (publication, doc_no, chunks) order by publication
     on conflict (publication) do update set chunks =
       case when index_publications.is_shown then index_publications.chunks else excluded.chunks end
     returning publication, is_shown`,
    [
      publications.map(({ number }) => number),
      publications.map(({ docNo }) => docNo),
      publications.map(({ chunks }) => chunks.length),
    ],
  )
  // By a process that stood still: what is in force stays.
  const hidden = new Set(rows.flatMap(({ publication, is_shown }) => (is_shown ? [] : [publication])))
  const staged = publications.filter(({ number }) => hidden.has(number))
  await deleteStaged(sql, staged)
  const lines = staged.flatMap(({ docNo, revision, chunks }) =>
    chunks.map((chunk) => ({ docNo, revision, ...chunk })),
  )
  for (let offset = 0; offset < lines.length; offset += rowsMax)
    await insertPage(sql, vectorType, lines.slice(offset, offset + rowsMax))
  return staged
}

/** From where nobody sees them to where searches look. */
async function move(
  sql: Sql,
  staged: readonly Publication[],
  assign: PublisherDeps['assign'],
): Promise<void> {
  await sql.query(
    `insert into chunks (chunk_id, doc_no, ordinal, embedding)
     select s.chunk_id, s.doc_no, s.ordinal, s.embedding
     from unnest($1::int[], $2::bigint[]) as r (doc_no, revision) join staged_chunks s using (doc_no, revision)
     order by s.doc_no, s.ordinal`,
    keysOf(staged),
  )
  await assign(sql, staged)
  await sql.query(
    `insert into chunk_words (chunk_id, doc_no, ordinal, words, tsv)
     select s.chunk_id, s.doc_no, s.ordinal,
       (select coalesce(sum(cardinality(positions)), 0) from unnest(s.tsv)), s.tsv
     from unnest($1::int[], $2::bigint[]) as r (doc_no, revision) join staged_chunks s using (doc_no, revision)`,
    keysOf(staged),
  )
  await deleteStaged(sql, staged)
  await sql.query('update index_publications set is_shown = true where publication = any($1::int[])', [
    staged.map(({ number }) => number),
  ])
}

async function deleteStaged(sql: Sql, revisions: readonly StagedRevision[]): Promise<void> {
  await sql.query(
    `delete from staged_chunks s using unnest($1::int[], $2::bigint[]) as r (doc_no, revision)
     where s.doc_no = r.doc_no and s.revision = r.revision`,
    keysOf(revisions),
  )
}

const keysOf = (revisions: readonly StagedRevision[]): readonly number[][] => [
  revisions.map(({ docNo }) => docNo),
  revisions.map(({ revision }) => revision),
]

async function hide(sql: Sql, docNos: readonly number[]): Promise<void> {
  // Codes are not deleted: whoever holds them in memory has to hear that the document is gone.
  await sql.query(
    `with hidden as (delete from chunks where doc_no = any($1::int[])),
       forgotten as (delete from index_publications where doc_no = any($1::int[]) and is_shown)
     update document_codes set partitions = '', codes = '', changed_in = pg_current_xact_id()
     where doc_no = any($1::int[])`,
    [docNos],
  )
}

// Rows in one statement: bounds the size of a message to the database.
const rowsMax = 200

async function insertPage(
  sql: Sql,
  vectorType: Database['vectorType'],
  chunks: readonly (StagedRevision & IndexedChunk)[],
): Promise<void> {
  await sql.query(
    `insert into staged_chunks (doc_no, revision, ordinal, chunk_id, embedding, tsv)
     select c.doc_no, c.revision, c.ordinal, c.chunk_id, c.embedding::${vectorType}, c.tsv::tsvector
     from unnest($1::int[], $2::bigint[], $3::int[], $4::text[], $5::text[], $6::text[])
       as c (doc_no, revision, ordinal, chunk_id, embedding, tsv)`,
    [
      ...keysOf(chunks),
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
