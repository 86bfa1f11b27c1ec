import { vectorParameter } from '../../store/binary.ts'
import type { Database, Statement } from '../../store/sql.ts'
import type { Candidate } from '../candidate.ts'
import { type Ask, type Row, toCandidate } from './plan.ts'

/**
 * Plan A. `+ 0` keeps the order from being that of the HNSW index. Names of documents are looked up for what is left
 * only.
 */
export const exactStatement: Statement = {
  name: 'plan_exact',
  text: `with best as materialized (
    select c.chunk_id, c.doc_no, c.ordinal, (c.embedding <#> $1) + 0 as distance
    from unnest($2::int[]) as visible (doc_no) join chunks c on c.doc_no = visible.doc_no
    where c.embedding is not null
    order by 4, c.chunk_id
    limit $3
  )
  select best.chunk_id, d.id as document_id, best.ordinal, -best.distance as score
  from best join documents d on d.doc_no = best.doc_no
  order by best.distance, best.chunk_id`,
}

/** Compares every visible chunk. Blind to what is hidden; over nothing it takes what it takes over little. */
export async function exact(database: Database, { visible, embedding, limit }: Ask): Promise<Candidate[]> {
  const rows = await database.forced<Row>(exactStatement, [
    vectorParameter(database.vectorType, embedding),
    visible.docNos,
    limit,
  ])
  return rows.map(toCandidate)
}
