import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { visibleOf } from '../../src/retrieval/access-filter/visible.ts'
import { createEngine } from '../../src/retrieval/chunk-index/opensearch/engine.ts'
import {
  createOpensearchIndex,
  openSearchEngine,
} from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import { startOpensearchNodes } from '../../test/support/opensearch-nodes.ts'
import { createRandom } from '../kubernetes/random.ts'
import { long } from '../search/load.ts'
import { openServers, type Place } from '../search/servers.ts'
import { bytesInWords, bytesOf } from './bytes.ts'
import { fill } from './failures.ts'

/**
 * Many documents of one short passage each, over several indices by range of numbers: what goes over the
 * wire, what a search costs the nodes, and whether it finds the ten nearest, by how many of the documents
 * somebody may read. They are strewn, which is the worst for a bitmap. Ends with 1 where something outside
 * was found or recall@10 is under 0.99.
 *
 *   npm run bench:cluster-wide -- --documents 1200000 --range 300000
 *
 * Needs what `bench:cluster` needs.
 */
const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '3' },
    documents: { type: 'string', default: '1200000' },
    dimensions: { type: 'string', default: '8' },
    range: { type: 'string', default: '300000' },
    questions: { type: 'string', default: '50' },
  },
})
const [documents, dimensions, width, questions] = [
  values.documents,
  values.dimensions,
  values.range,
  values.questions,
].map(Number) as [number, number, number, number]
const wanted = 10
const shares = [1, 0.5, 0.1, 0.01, 0.001]
const began = performance.now()
const say = (text: string): void => {
  process.stderr.write(`${((performance.now() - began) / 1_000).toFixed(0).padStart(5)} s  ${text}\n`)
}

await using nodes = await startOpensearchNodes(Number(values.nodes))
await using servers = await openServers(process.env)
await using place = await servers.open({ load: loadDocuments, renew: async () => undefined })
const { database } = place
const vectors = await readVectors()
let sentBytes = 0
const counting: typeof fetch = (url, options) => {
  if (String(url).endsWith('_msearch')) sentBytes += Buffer.byteLength(String(options?.body ?? ''))
  return fetch(url, options)
}
const engine = createEngine({ urls: nodes.urls, fetch: counting })
const form = async () => ({ dimensions, perWord: 0.02, shards: 1, refreshMs: 1_000, width })
await using opened = await openSearchEngine({ database, engine, log: () => undefined, form })
const filled = await fill(place, opened)
await nodes.whole()
const bytes = await bytesOf(engine, database)
console.log(
  `${documents} documents of one passage, ${dimensions} dimensions, ${bytes.indices} indices of ${width}, ` +
    `${nodes.urls.length} nodes, ${servers.name}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(0)}
filled ${(filled.passages / filled.seconds).toFixed(0)} a second; ${bytesInWords(bytes, documents)}\n`,
)
console.log('| may be read | sent, kB | p50 ms | processor of the nodes, ms | recall@10 | outside |')
console.log('|---|---|---|---|---|---|')

const index = createOpensearchIndex({ database, engine, exactMax: 0 })
const random = createRandom(1)
for (const share of shares) {
  const docNos = Int32Array.from({ length: documents }, (_, at) => at + 1).filter(() => random.next() < share)
  const filter = visibleOf(docNos, docNos.length, documents, (docNo) => docNo)
  const ask = (vector: Float32Array) => index.nearest(vector, filter, wanted)
  const asked = Array.from(
    { length: questions },
    () => vectors[Math.floor(random.next() * documents)],
  ).filter((vector) => vector !== undefined)
  for (const vector of asked) await ask(vector)
  const among = new Set(docNos)
  const times: number[] = []
  let [hits, outside] = [0, 0]
  sentBytes = 0
  const processorBefore = nodes.processorTime()
  for (const vector of asked) {
    const since = performance.now()
    const found = await ask(vector)
    times.push(performance.now() - since)
    const nearest = nearestOf(vector, docNos)
    hits += found.filter(({ chunkId }) => nearest.has(Number(chunkId))).length
    outside += found.filter(({ chunkId }) => !among.has(Number(chunkId))).length
  }
  const processorMs = (nodes.processorTime() - processorBefore) / asked.length
  const recall = hits / (asked.length * wanted)
  const p50 = times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN
  const kilobytes = sentBytes / asked.length / 1_000
  console.log(
    `| ${100 * share} % | ${kilobytes.toFixed(0)} | ${p50.toFixed(1)} | ${processorMs.toFixed(0)} | ${recall.toFixed(4)} | ${outside} |`,
  )
  if (recall < 0.99 || outside > 0) process.exitCode = 1
}

/** Documents without a text: a search in the engine reads none. */
async function loadDocuments({ database: filled }: Place): Promise<void> {
  await filled.query(`insert into collections (id, title) values ('bench', 'bench')`)
  const made = await filled.query<{ name: string }>(
    `select indexname as name from pg_indexes where tablename = 'chunks' and indexname <> 'chunks_pkey'`,
  )
  for (const { name } of made) await filled.query(`drop index ${name}`)
  await long(filled, [
    `alter table chunks alter column embedding type ${filled.vectorType}(${dimensions})`,
    `insert into documents
       (doc_no, id, collection, live_revision, accepted_revision, publication, chunk_count)
     overriding system value
     select no, 'doc-' || no, 'bench', 1, 1, no, 1 from generate_series(1, ${documents}) no`,
    'select setseed(0.5)',
    `insert into chunks (chunk_id, doc_no, ordinal, embedding)
     select no, no, 0, ${`(select l2_normalize(array_agg(random() - 0.5)::real[]::vector)::${filled.vectorType}
       from generate_series(1, ${dimensions}) axis where no > 0)`}
     from generate_series(1, ${documents}) no`,
    `insert into index_publications (publication, doc_no, chunks, is_shown)
     select publication, doc_no, chunk_count, true from documents`,
    `select setval('publication_numbers', max(publication)) from documents`,
    'create index on chunks (doc_no)',
    'analyze',
  ])
  say(`${documents} documents`)
}

/** By document, from 0. */
async function readVectors(): Promise<readonly Float32Array[]> {
  const all: Float32Array[] = []
  for (let after = 0; after < documents; after += 50_000) {
    const rows = await database.query<{ embedding: string }>(
      'select embedding::text as embedding from chunks where doc_no > $1 and doc_no <= $2 order by doc_no',
      [after, after + 50_000],
    )
    for (const { embedding } of rows) all.push(Float32Array.from(JSON.parse(embedding) as number[]))
  }
  return all
}

/** The nearest of these documents, each compared. */
function nearestOf(vector: Float32Array, docNos: Int32Array): ReadonlySet<number> {
  const scores = new Float64Array(docNos.length)
  for (const [at, docNo] of docNos.entries()) {
    const other = vectors[docNo - 1] as Float32Array
    let score = 0
    for (let axis = 0; axis < dimensions; axis += 1) score += (vector[axis] ?? 0) * (other[axis] ?? 0)
    scores[at] = score
  }
  const least = scores.toSorted().at(-wanted) ?? Number.NEGATIVE_INFINITY
  return new Set(docNos.filter((_, at) => (scores[at] ?? 0) >= least))
}
