import { vectorParameter } from '../../../store/binary.ts'
import type { Database, Statement } from '../../../store/sql.ts'
import { type Ask, type Found, type Row, toFound } from './plan.ts'

/** Plan A. `+ 0` keeps the order from being that of the HNSW index. */
export const exactStatement: Statement = {
  name: 'plan_exact',
  text: `select chunk_id, doc_no, ordinal, -distance as score
  from (
    select c.chunk_id, c.doc_no, c.ordinal, (c.embedding <#> $1) + 0 as distance
    from unnest($2::int[]) as visible (doc_no) join chunks c on c.doc_no = visible.doc_no
    where c.embedding is not null
  ) compared
  order by distance, chunk_id
  limit $3`,
}

/** Compares every visible chunk. Blind to what is hidden; over nothing it takes what it takes over little. */
export async function exact(database: Database, { visible, embedding, limit }: Ask): Promise<Found[]> {
  const rows = await database.forced<Row>(exactStatement, [
    vectorParameter(database.vectorType, embedding),
    visible.docNos,
    limit,
  ])
  return rows.map(toFound)
}
