import type { InvertedLists, Nominated } from '@remit/vector-index'
import { vectorParameter } from '../../../store/binary.ts'
import type { Database, Statement } from '../../../store/sql.ts'
import type { AccessFilter } from '../../access-filter/visible.ts'
import type { FoundChunk } from '../port.ts'
import { foundColumns, type VectorQuery } from './strategy.ts'

/** What lies in no partition yet is compared whole, as by the exact search. */
export const ivfStatement: Statement = {
  name: 'search_ivf',
  text: `select ${foundColumns}
  from (
    select c.chunk_id, c.doc_no, c.ordinal, (c.embedding <#> $1) + 0 as distance
    from unnest($2::int[], $3::int[]) as nominated (doc_no, ordinal)
    join chunks c on c.doc_no = nominated.doc_no and c.ordinal = nominated.ordinal
    where c.embedding is not null
    union all
    select c.chunk_id, c.doc_no, c.ordinal, (c.embedding <#> $1) + 0
    from unnest($4::int[]) as unassigned (doc_no) join chunks c on c.doc_no = unassigned.doc_no
    where c.embedding is not null
  ) compared
  order by distance, chunk_id
  limit $5`,
}

/** Compares the nominated chunks, and all of the documents that lie in no partition. May return fewer than there are. */
export const ivf = (
  database: Database,
  { embedding, limit }: VectorQuery,
  nominated: Nominated,
  unassigned: Int32Array,
): Promise<FoundChunk[]> =>
  database.queryFixedPlan<FoundChunk>(ivfStatement, [
    vectorParameter(database.vectorType, embedding),
    nominated.docs,
    nominated.ordinals,
    unassigned,
    limit,
  ])

/** Visible documents that lie in no partition: those that were published a moment ago. */
export function unassignedOf(lists: readonly InvertedLists[], visible: AccessFilter): Int32Array {
  const bits = visible.bits()
  const assigned = lists.map((list) => list.bits())
  const unassigned: number[] = []
  const [firstAssigned = noDocuments, ...otherAssigned] = assigned
  for (let byte = 0; byte < bits.length; byte += 1) {
    let remaining = (bits[byte] as number) & ~(firstAssigned[byte] ?? 0)
    // Hardly ever any is left: asked about all of a corpus, this is most of what it takes.
    if (remaining === 0) continue
    for (const assignedBits of otherAssigned) remaining &= ~(assignedBits[byte] ?? 0)
    for (let bit = 0; remaining !== 0; bit += 1, remaining >>= 1)
      if ((remaining & 1) === 1) unassigned.push(8 * byte + bit)
  }
  return Int32Array.from(unassigned)
}

const noDocuments = new Uint8Array()
