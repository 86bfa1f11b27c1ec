import { createRandom } from '../kubernetes/random.ts'
import { type Corpus, dimensions, dot, rounded, vectorAt } from './corpus.ts'

const pivotCount = 256
const looked = 160
const kept = 6
const growthMax = 10

/**
 * More passages around real ones, at most ten times as many: a real one moved towards two of its near
 * neighbours, and by what two other neighbours differ. Each belongs to a further copy of its document. The
 * questions stay real ones that are in neither.
 */
export function grownCorpus(real: Corpus, count: number, seed: number): Corpus {
  if (count > growthMax * real.count)
    throw new Error(`From ${real.count} real passages come ${growthMax * real.count} at most.`)
  const random = createRandom(seed)
  const neighbours = nearNeighbours(real, seed)
  const vectors = new Float32Array(count * dimensions)
  vectors.set(real.vectors.subarray(0, Math.min(count, real.count) * dimensions))
  const documentOf = new Int32Array(count)
  documentOf.set(real.documentOf.subarray(0, Math.min(count, real.count)))
  const drawn = (of: number): number => neighbours[of * kept + Math.floor(random.next() * kept)] ?? of
  for (let at = real.count; at < count; at++) {
    const anchor = at % real.count
    const other = Math.floor(random.next() * real.count)
    const parts = [drawn(anchor), drawn(anchor), other, drawn(other)].map((row) => vectorAt(real, row))
    const [towards, further, from, to] = parts as [Float32Array, Float32Array, Float32Array, Float32Array]
    const [much, little] = [0.5 * random.next(), 0.35 * random.next()]
    const moved = vectorAt(real, anchor).map(
      (value, place) =>
        value +
        much * ((towards[place] as number) - value) +
        little * ((further[place] as number) - value) +
        0.55 * ((to[place] as number) - (from[place] as number)),
    )
    vectors.set(rounded(moved), at * dimensions)
    documentOf[at] = (real.documentOf[anchor] ?? 0) + Math.floor(at / real.count) * real.documents.length
  }
  const copies = Math.ceil(count / real.count)
  const documents = Array.from({ length: copies }, (_, copy) =>
    real.documents.map(({ id, partOf }) => ({
      id: copy === 0 ? id : `${id}=${copy}`,
      ...(partOf !== undefined && { partOf }),
    })),
  ).flat()
  return { ...real, kind: 'grown', count, vectors, documentOf, documents }
}

/**
 * Of each passage the nearest few among some that are near to the same drawn passage: near enough to grow by.
 */
function nearNeighbours(real: Corpus, seed: number): Int32Array {
  const random = createRandom(seed + 1)
  const pivots = Array.from({ length: pivotCount }, () =>
    vectorAt(real, Math.floor(random.next() * real.count)),
  )
  const members: number[][] = pivots.map(() => [])
  for (let at = 0; at < real.count; at++) {
    const vector = vectorAt(real, at)
    let [bestScore, nearestPivot] = [Number.NEGATIVE_INFINITY, 0]
    for (const [index, pivot] of pivots.entries()) {
      const score = dot(vector, pivot)
      if (score > bestScore) [bestScore, nearestPivot] = [score, index]
    }
    members[nearestPivot]?.push(at)
  }
  const neighbours = new Int32Array(real.count * kept)
  for (const group of members) {
    for (const at of group) {
      const vector = vectorAt(real, at)
      const some =
        group.length <= looked
          ? group
          : Array.from({ length: looked }, () => group[Math.floor(random.next() * group.length)] ?? at)
      const near = some
        .map((one) => [one === at ? -1 : dot(vector, vectorAt(real, one)), one] as const)
        .toSorted(([a], [b]) => b - a)
      for (let place = 0; place < kept; place++)
        neighbours[at * kept + place] = near[place % near.length]?.[1] ?? at
    }
  }
  return neighbours
}
