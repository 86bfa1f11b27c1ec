import { vectorParameter } from '../../../store/binary.ts'
import type { Database, Statement } from '../../../store/sql.ts'
import type { FoundChunk } from '../port.ts'
import { foundColumns, type VectorQuery } from './strategy.ts'

/** `+ 0` keeps the order from being that of the HNSW index. */
export const exactStatement: Statement = {
  name: 'search_exact',
  text: `select ${foundColumns}
  from (
    select c.chunk_id, c.doc_no, c.ordinal, (c.embedding <#> $1) + 0 as distance
    from unnest($2::int[]) as visible (doc_no) join chunks c on c.doc_no = visible.doc_no
    where c.embedding is not null
  ) compared
  order by distance, chunk_id
  limit $3`,
}

/** Compares every visible chunk. Blind to what is hidden; over nothing it takes what it takes over little. */
export const exact = (
  database: Database,
  { visible, embedding, limit }: VectorQuery,
): Promise<FoundChunk[]> =>
  database.queryFixedPlan<FoundChunk>(exactStatement, [
    vectorParameter(database.vectorType, embedding),
    visible.docNos,
    limit,
  ])

/**
 * The same without choosing a strategy, with the whole machine's other work first. Rejects after so many
 * milliseconds.
 */
export const exactWithin = (database: Database, ask: VectorQuery, timeoutMs: number): Promise<FoundChunk[]> =>
  database.transaction(
    async (sql) => {
      await sql.query('set local max_parallel_workers_per_gather = 0')
      return sql.query<FoundChunk>(exactStatement.text, [
        vectorParameter(database.vectorType, ask.embedding),
        ask.visible.docNos,
        ask.limit,
      ])
    },
    { msMax: timeoutMs },
  )
