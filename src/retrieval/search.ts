import { toSql } from 'pgvector'
import type { ChunkId } from '../kernel/ids.ts'
import type { Database, Sql, SqlValue } from '../store/sql.ts'
import type { Candidate } from './candidate.ts'
import { type Fields, type Filter, filterSql } from './filter.ts'
import { byWords } from './ranking/keyword.ts'
import type { Scope } from './ranking/weigh.ts'

/** The documents that a search may touch, already narrowed by nomination, collections and filter. */
export interface Visible {
  readonly docNos: readonly number[]
  /** Their live chunks together: an exact count, from which the plan is chosen. */
  readonly chunks: number
}

export interface Narrowing {
  readonly collections?: readonly string[]
  readonly filter?: Filter
}

export interface Search {
  visible(documentIds: readonly string[], narrowing: Narrowing): Promise<Visible>
  /** Nearest by inner product of unit vectors, best first. */
  vector(visible: Visible, embedding: Float32Array, limit: number): Promise<Candidate[]>
  /** Best by BM25, best first. */
  keyword(visible: Visible, query: string, limit: number): Promise<Candidate[]>
}

export interface SearchOptions {
  /**
   * Visible chunks up to which every one is compared (exact, and blind to what is hidden). Above, the HNSW
   * index is used, which is approximate. Defaults to 50,000.
   */
  readonly exactChunksMax?: number
  /** Whose passages tell how common a word is. Defaults to all of the deployment's. */
  readonly statistics?: Scope
}

interface Row {
  readonly chunk_id: string
  readonly document_id: string
  readonly ordinal: number
  readonly score: number
}

/** Searches the chunks of the given documents only; every branch is filtered before its limit. */
export function createSearch(
  database: Database,
  { exactChunksMax = 50_000, statistics = 'deployment' }: SearchOptions = {},
): Search {
  return {
    async visible(documentIds, { collections, filter }) {
      const values: SqlValue[] = [documentIds]
      const conditions = ['id = any($1)', 'live_revision is not null', 'chunk_count > 0']
      if (collections !== undefined) {
        values.push(collections)
        conditions.push(`collection = any($${values.length})`)
      }
      if (filter !== undefined) conditions.push(...filterSql(filter, await readFields(database), values))
      // Only now: a wrong filter is refused the same way for those who may read nothing.
      if (documentIds.length === 0) return { docNos: [], chunks: 0 }
      const rows = await database.query<{ doc_no: number; chunk_count: number }>(
        `select doc_no, chunk_count from documents where ${conditions.join(' and ')} order by doc_no`,
        values,
      )
      return {
        docNos: rows.map(({ doc_no }) => doc_no),
        chunks: rows.reduce((sum, { chunk_count }) => sum + chunk_count, 0),
      }
    },

    async vector(visible, embedding, limit) {
      if (visible.docNos.length === 0) return []
      if (visible.chunks <= exactChunksMax) return exact(database, visible, embedding, limit)
      const found = await approximate(database, visible, embedding, limit)
      // The scan gave up early: what it lacks is found exactly, so that nobody loses passages.
      return found.length < Math.min(limit, visible.chunks)
        ? exact(database, visible, embedding, limit)
        : found
    },

    async keyword(visible, query, limit) {
      if (visible.docNos.length === 0) return []
      return byWords(database, visible, query, limit, { scope: statistics })
    },
  }
}

async function exact(
  sql: Sql,
  visible: Visible,
  embedding: Float32Array,
  limit: number,
): Promise<Candidate[]> {
  // `+ 0` keeps the planner from the HNSW index, whose scan would stop early under a filter.
  const rows = await sql.query<Row>(
    `select c.chunk_id, d.id as document_id, c.ordinal, -(c.embedding <#> $1) as score
     from chunks c join documents d using (doc_no)
     where c.doc_no = any($2::int[]) and c.embedding is not null
     order by (c.embedding <#> $1) + 0, c.chunk_id
     limit $3`,
    [toSql([...embedding]), visible.docNos, limit],
  )
  return rows.map(toCandidate)
}

// pgvector returns fewer rows without a word when its scan limits are met, and relaxed order is not sorted.
async function approximate(
  database: Database,
  visible: Visible,
  embedding: Float32Array,
  limit: number,
): Promise<Candidate[]> {
  return database.transaction(async (sql) => {
    await sql.query(
      `select set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '400', true),
              set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
              set_config('enable_bitmapscan', 'off', true)`,
    )
    const rows = await sql.query<Row>(
      `with near as materialized (
         select chunk_id, doc_no, ordinal, embedding <#> $1 as distance
         from chunks
         where doc_no = any($2::int[])
         order by embedding <#> $1
         limit $3
       )
       select near.chunk_id, d.id as document_id, near.ordinal, -near.distance as score
       from near join documents d using (doc_no)`,
      [toSql([...embedding]), visible.docNos, Math.max(limit, 40)],
    )
    return rows
      .map(toCandidate)
      .sort((a, b) => b.score - a.score || (a.chunkId < b.chunkId ? -1 : 1))
      .slice(0, limit)
  })
}

const toCandidate = ({ chunk_id, document_id, ordinal, score }: Row): Candidate => ({
  chunkId: chunk_id as ChunkId,
  documentId: document_id,
  ordinal,
  score,
})

async function readFields(sql: Sql): Promise<Fields> {
  const rows = await sql.query<{ name: string; type: 'string' | 'number' | 'boolean' | 'date' }>(
    'select name, type from fields',
  )
  return new Map(rows.map(({ name, type }) => [name, type]))
}
