import type { Database } from '../../src/store/sql.ts'

/** Every stored vector, compared one by one: what a search over exactly these documents would find. */
export interface ExactSearch {
  readonly chunks: number
  /**
   * Score of the `count`-th best chunk of these documents; of the last where there are fewer; undefined for
   * none.
   */
  best(query: Float32Array, documents: ReadonlySet<string>, count: number): Exact
}

export interface Exact {
  readonly chunkIds: ReadonlySet<string>
  readonly least: number
  score(chunkId: string): number | undefined
}

export async function readVectors(database: Database): Promise<ExactSearch> {
  const rows: { readonly chunkId: string; readonly document: string; readonly vector: Float32Array }[] = []
  const page = 1_000
  for (let after = ''; ; ) {
    const found = await database.query<{ chunk_id: string; id: string; embedding: string }>(
      `select c.chunk_id, d.id, c.embedding::text as embedding from chunks c join documents d using (doc_no)
       where c.embedding is not null and c.chunk_id > $1 order by c.chunk_id limit ${page}`,
      [after],
    )
    for (const { chunk_id, id, embedding } of found) {
      rows.push({
        chunkId: chunk_id,
        document: id,
        vector: Float32Array.from(JSON.parse(embedding) as number[]),
      })
    }
    const last = found.at(-1)
    if (last === undefined || found.length < page) break
    after = last.chunk_id
  }
  return {
    chunks: rows.length,
    best(query, documents, count) {
      const scored = rows
        .filter(({ document }) => documents.has(document))
        .map(({ chunkId, vector }) => ({ chunkId, score: dot(query, vector) }))
        .sort((a, b) => b.score - a.score)
      const scores = new Map(scored.map(({ chunkId, score }) => [chunkId, score]))
      const top = scored.slice(0, count)
      return {
        chunkIds: new Set(top.map(({ chunkId }) => chunkId)),
        least: top.at(-1)?.score ?? Number.NEGATIVE_INFINITY,
        score: (chunkId) => scores.get(chunkId),
      }
    },
  }
}

function dot(one: Float32Array, other: Float32Array): number {
  let sum = 0
  for (let at = 0; at < one.length; at++) sum += (one[at] ?? 0) * (other[at] ?? 0)
  return sum
}
