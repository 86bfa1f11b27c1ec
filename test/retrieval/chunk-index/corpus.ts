import { seededRandom } from '@remit/vector-index'
import { toSql } from 'pgvector'
import { type AccessFilter, visibleOf } from '../../../src/retrieval/access-filter/visible.ts'
import type { Database } from '../../../src/store/sql.ts'

export interface Stored {
  readonly chunkId: string
  readonly docNo: number
  readonly ordinal: number
  readonly topic: number
  readonly vector: Float32Array
}

export interface Corpus {
  readonly chunks: readonly Stored[]
  /** A question about a topic. */
  ask(topic: number): Float32Array
  /** The documents that pass. */
  visible(passes: (docNo: number, topic: number) => boolean): AccessFilter
  /** Best first, by comparing here. */
  best(visible: AccessFilter, question: Float32Array, limit: number): string[]
}

export interface CorpusOptions {
  readonly documents: number
  readonly chunksEach: number
  readonly topics: number
  readonly dimensions?: number
}

/**
 * Documents on topics, straight into the tables; a document's chunks lie near each other, a topic's documents
 * too.
 */
export async function storeCorpus(
  database: Database,
  { documents, chunksEach, topics, dimensions = 384 }: CorpusOptions,
): Promise<Corpus> {
  const random = seededRandom(7)
  const gauss = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const near = (centre: Float32Array, spread: number) => unit(centre.map((value) => value + spread * gauss()))
  const scattered = 1 / Math.sqrt(dimensions)
  const centres = Array.from({ length: topics }, () => near(new Float32Array(dimensions), scattered))
  const chunks: Stored[] = []
  for (let docNo = 1; docNo <= documents; docNo += 1) {
    const topic = docNo % topics
    const document = near(centres[topic] ?? new Float32Array(dimensions), 0.8 * scattered)
    for (let ordinal = 0; ordinal < chunksEach; ordinal += 1) {
      const chunkId = `c_${String(docNo * chunksEach + ordinal).padStart(8, '0')}`
      chunks.push({ chunkId, docNo, ordinal, topic, vector: near(document, 0.5 * scattered) })
    }
  }
  await database.query(`insert into collections (id, title) values ('c', 'c') on conflict do nothing`)
  await database.query(
    `insert into documents (id, collection, live_revision, chunk_count)
     select 'd/' || n, 'c', 1, $2 from generate_series(1, $1::int) n`,
    [documents, chunksEach],
  )
  for (let from = 0; from < chunks.length; from += 1_000) {
    const page = chunks.slice(from, from + 1_000)
    await database.query(
      `insert into chunks (chunk_id, doc_no, ordinal, embedding)
       select c.chunk_id, c.doc_no, c.ordinal, c.embedding::${database.vectorType}
       from unnest($1::text[], $2::int[], $3::int[], $4::text[]) as c (chunk_id, doc_no, ordinal, embedding)`,
      [
        page.map(({ chunkId }) => chunkId),
        page.map(({ docNo }) => docNo),
        page.map(({ ordinal }) => ordinal),
        page.map(({ vector }) => toSql([...vector])),
      ],
    )
  }
  const topicOf = new Map(chunks.map(({ docNo, topic }) => [docNo, topic]))
  return {
    chunks,
    ask: (topic) => near(centres[topic] ?? new Float32Array(dimensions), 0.9 * scattered),
    visible(passes) {
      const docNos = [...topicOf].filter(([docNo, topic]) => passes(docNo, topic)).map(([docNo]) => docNo)
      return visibleOf(Int32Array.from(docNos), docNos.length * chunksEach, chunks.length, () => 1)
    },
    best(visible, question, limit) {
      return chunks
        .filter(({ docNo }) => visible.has(docNo))
        .map(({ chunkId, vector }) => ({ chunkId, score: dot(vector, question) }))
        .sort((a, b) => b.score - a.score)
        .slice(0, limit)
        .map(({ chunkId }) => chunkId)
    },
  }
}

const dot = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0)

function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(dot(vector, vector))
  return vector.map((value) => value / length)
}
