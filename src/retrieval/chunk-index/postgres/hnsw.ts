import { vectorParameter } from '../../../store/binary.ts'
import type { Database, Statement } from '../../../store/sql.ts'
import type { FoundChunk } from '../port.ts'
import { foundColumns, type VectorQuery } from './strategy.ts'

/**
 * Settings last as long as the statement's own transaction, and are read where the scan begins: it depends on
 * them, so that they come first. A document that is newer than the bits is not in them, and `get_bit` past
 * their end would fail.
 */
export const hnswStatement: Statement = {
  name: 'search_hnsw',
  text: `select ${foundColumns}
  from (
    select set_config('hnsw.ef_search', $4, true) as ef, set_config('hnsw.max_scan_tuples', $5, true) as tuples offset 0
  ) settings
  cross join lateral (
    select c.chunk_id, c.doc_no, c.ordinal, c.embedding <#> $1 as distance
    from chunks c
    where settings.ef is not null and settings.tuples is not null
      and case when c.doc_no < 8 * length($2::bytea) then get_bit($2::bytea, c.doc_no) = 1 else false end
    order by c.embedding <#> $1
    limit $3
  ) near`,
}

/** Limits of one walk through the HNSW graph. */
export interface GraphWalk {
  /** Candidates that the walk keeps at a time: `hnsw.ef_search`, 1 to 1,000. */
  readonly ef: number
  /** Rows to take before the best are kept: the walk comes upon them out of order. */
  readonly rows: number
  /** Places after which it gives up: `hnsw.max_scan_tuples`. */
  readonly tuples: number
}

/**
 * Walks the HNSW graph past what is not visible. Approximate; may return fewer than there are, where the walk
 * gave up.
 */
export async function hnsw(
  database: Database,
  { visible, embedding, limit }: VectorQuery,
  { ef, rows, tuples }: GraphWalk,
): Promise<FoundChunk[]> {
  const found = await database.queryFixedPlan<FoundChunk>(hnswStatement, [
    vectorParameter(database.vectorType, embedding),
    visible.bits(),
    rows,
    String(ef),
    String(tuples),
  ])
  return found.sort((a, b) => b.score - a.score || (a.chunkId < b.chunkId ? -1 : 1)).slice(0, limit)
}
