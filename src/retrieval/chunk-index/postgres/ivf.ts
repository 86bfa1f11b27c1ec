import type { CellSet, Near } from '@remit/vector-index'
import { vectorParameter } from '../../../store/binary.ts'
import type { Database, Statement } from '../../../store/sql.ts'
import type { AccessFilter } from '../../access-filter/visible.ts'
import type { FoundChunk } from '../port.ts'
import { type Ask, type ChunkRow, toFound } from './plan.ts'

/** Plan E. What lies in no cell yet is compared whole, as in plan A. */
export const cellsStatement: Statement = {
  name: 'plan_cells',
  text: `select chunk_id, doc_no, ordinal, -distance as score
  from (
    select c.chunk_id, c.doc_no, c.ordinal, (c.embedding <#> $1) + 0 as distance
    from unnest($2::int[], $3::int[]) as near (doc_no, ordinal)
    join chunks c on c.doc_no = near.doc_no and c.ordinal = near.ordinal
    where c.embedding is not null
    union all
    select c.chunk_id, c.doc_no, c.ordinal, (c.embedding <#> $1) + 0
    from unnest($4::int[]) as loose (doc_no) join chunks c on c.doc_no = loose.doc_no
    where c.embedding is not null
  ) compared
  order by distance, chunk_id
  limit $5`,
}

/** Compares the nominated chunks, and all of the documents that lie in no cell. May return fewer than there are. */
export async function cells(
  database: Database,
  { embedding, limit }: Ask,
  near: Near,
  loose: Int32Array,
): Promise<FoundChunk[]> {
  const rows = await database.forced<ChunkRow>(cellsStatement, [
    vectorParameter(database.vectorType, embedding),
    near.docs,
    near.ordinals,
    loose,
    limit,
  ])
  return rows.map(toFound)
}

/** Visible documents that lie in no cell: those that were published a moment ago. */
export function looseOf(sets: readonly CellSet[], visible: AccessFilter): Int32Array {
  const bits = visible.bits()
  const placed = sets.map((set) => set.bits())
  const loose: number[] = []
  const [first = none, ...others] = placed
  for (let byte = 0; byte < bits.length; byte += 1) {
    let rest = (bits[byte] as number) & ~(first[byte] ?? 0)
    // Hardly ever any is left: asked about all of a corpus, this is most of what it takes.
    if (rest === 0) continue
    for (const own of others) rest &= ~(own[byte] ?? 0)
    for (let bit = 0; rest !== 0; bit += 1, rest >>= 1) if ((rest & 1) === 1) loose.push(8 * byte + bit)
  }
  return Int32Array.from(loose)
}

const none = new Uint8Array()
