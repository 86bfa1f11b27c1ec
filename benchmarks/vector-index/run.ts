// How fast the IVF index scans, and what it finds of the nearest: `npm run bench:vector-index -- [VECTORS]`.
// Vectors around topics, seeded, of 384 dimensions. No database, one thread.
import {
  assignAll,
  codeLength,
  dot,
  InvertedLists,
  probeWithPool,
  seededRandom,
  trainModel,
} from '@remit/vector-index'

const dimensions = 384
const chunksEach = 10
const questionCount = 40
const rounds = 5
const limit = 10
const recallMin = 0.99

const vectorCount = Number(process.argv[2] ?? 50_000)
const documentCount = Math.ceil(vectorCount / chunksEach)
const random = seededRandom(7)

const gauss = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

/** A unit vector at about this distance from another one. */
function vectorNear(centre: Float32Array, distance: number): Float32Array {
  const moved = centre.map((value) => value + (distance * gauss()) / Math.sqrt(dimensions))
  const length = Math.sqrt(dot(moved, 0, moved, 0, dimensions))
  return moved.map((value) => value / length)
}

const topics = Array.from({ length: 200 }, () => vectorNear(new Float32Array(dimensions), 1))
const topicOf = (index: number): Float32Array => topics[index % topics.length] ?? new Float32Array(dimensions)

const numbers = new Float32Array(documentCount * chunksEach * dimensions)
for (let document = 0; document < documentCount; document += 1) {
  const centre = vectorNear(topicOf(document), 0.8)
  for (let ordinal = 0; ordinal < chunksEach; ordinal += 1)
    numbers.set(vectorNear(centre, 0.5), (document * chunksEach + ordinal) * dimensions)
}

function timed<Result>(work: () => Result): { readonly result: Result; readonly ms: number } {
  const startedAt = performance.now()
  const result = work()
  return { result, ms: performance.now() - startedAt }
}

const partitionCount = Math.round(4 * Math.sqrt(vectorCount))
const samples = numbers.subarray(0, Math.min(vectorCount, 16 * partitionCount) * dimensions)
const trained = timed(() => trainModel({ numbers: samples, dimensions }, partitionCount, random))
const assigned = timed(() => assignAll(trained.result, { numbers, dimensions }))
const { partitions, codes } = assigned.result
const lists = new InvertedLists(1, trained.result)
for (let document = 0; document < documentCount; document += 1) {
  const from = document * chunksEach
  lists.put(
    document + 1,
    partitions.subarray(from, from + chunksEach),
    codes.subarray(from * codeLength, (from + chunksEach) * codeLength),
  )
}
console.log(`${lists.size} vectors in ${partitionCount} partitions, ${Math.round(lists.bytes / 1e6)} MB`)
console.log(
  `trained in ${(trained.ms / 1e3).toFixed(1)} s, assigned ${Math.round((1e3 * vectorCount) / assigned.ms)}/s`,
)

// As the planner of searches takes more where codes tell less.
const rows = limit + Math.ceil(90 * Math.max(1, lists.residualVariance / 0.1))

/** Keys `document/ordinal` of the nearest chunks of the documents that pass, by comparing all of them. */
function nearest(question: Float32Array, passes: (docNo: number) => boolean): readonly string[] {
  const scored: { readonly key: string; readonly score: number }[] = []
  for (let index = 0; index < documentCount * chunksEach; index += 1) {
    const docNo = 1 + Math.floor(index / chunksEach)
    if (!passes(docNo)) continue
    const score = dot(numbers, index * dimensions, question, 0, dimensions)
    scored.push({ key: `${docNo}/${index % chunksEach}`, score })
  }
  const best = scored.sort((a, b) => b.score - a.score)
  return best.slice(0, limit).map(({ key }) => key)
}

const percentile = (sorted: readonly number[], share: number): string =>
  (sorted[Math.floor(share * sorted.length)] ?? 0).toFixed(2)

for (const every of [1, 2, 10, 100, 1_000]) {
  // Whatever a document is about.
  const passes = (docNo: number): boolean => (Math.imul(docNo, 2_654_435_761) >>> 8) % every === 0
  const bits = new Uint8Array((documentCount >> 3) + 1)
  let chunks = 0
  for (let docNo = 1; docNo <= documentCount; docNo += 1) {
    if (!passes(docNo)) continue
    bits[docNo >> 3] = (bits[docNo >> 3] ?? 0) | (1 << (docNo & 7))
    chunks += chunksEach
  }
  const filter = { chunks, bits: () => bits }
  const times: number[] = []
  let found = 0
  let expected = 0
  for (let index = 0; index < questionCount; index += 1) {
    const question = vectorNear(topicOf(index), 0.8)
    const wanted = nearest(question, passes)
    for (let round = 0; round < rounds; round += 1) {
      const startedAt = performance.now()
      const { docs, ordinals } = await probeWithPool(undefined, [lists], filter, question, rows)
      times.push(performance.now() - startedAt)
      if (round > 0) continue
      const nominated = new Set(Array.from(docs, (docNo, row) => `${docNo}/${ordinals[row]}`))
      found += wanted.filter((key) => nominated.has(key)).length
      expected += wanted.length
    }
  }
  const recall = expected === 0 ? 1 : found / expected
  times.sort((a, b) => a - b)
  const share = `1 of ${every}`.padEnd(10)
  console.log(
    `visible ${share} p50 ${percentile(times, 0.5)} ms, p95 ${percentile(times, 0.95)} ms, recall@${limit} ${recall.toFixed(3)}`,
  )
  if (recall < recallMin) process.exitCode = 1
}
