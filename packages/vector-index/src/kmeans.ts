/** Vectors one after the other in one array. */
export interface Vectors {
  readonly numbers: Float32Array
  /** Numbers in one vector. */
  readonly dimensions: number
}

/** How many vectors lie in `numbers`. */
export const vectorCount = ({ numbers, dimensions }: Vectors): number => numbers.length / dimensions

/** Centroids in groups: the nearest is searched in the nearest groups only. */
export interface Centroids extends Vectors {
  /** Centres of the groups. */
  readonly groups: Float32Array
  /** Group `g` has the centroids from `starts[g]` to before `starts[g + 1]`. */
  readonly starts: Int32Array
}

const rounds = 8
// So many samples a centre say where it lies.
const samplesPerCentre = 64
// Groups in which the nearest centroid is searched: in more of them it is hardly ever.
const groupsProbed = 8

/**
 * k-means over unit vectors by inner product, in two levels: groups, then centroids within each, then all of
 * them moved once more over the borders. The same input and random numbers give the same centroids.
 */
export function trainCentroids(samples: Vectors, count: number, random: () => number): Centroids {
  const { dimensions } = samples
  const centroidCount = Math.max(1, Math.min(count, vectorCount(samples)))
  const groupCount = Math.max(1, Math.round(Math.sqrt(centroidCount)))
  const groupSamples = sample(samples, groupCount * samplesPerCentre, random)
  const groups = lloyd(groupSamples, groupCount, random)
  const members = membersOf(samples, groups)
  const numbers: Float32Array[] = []
  const starts = new Int32Array(groupCount + 1)
  for (const [group, memberIndexes] of members.entries()) {
    const share = Math.round((centroidCount * memberIndexes.length) / vectorCount(samples))
    const groupSamples = subset(samples, memberIndexes)
    const centroids =
      memberIndexes.length === 0
        ? new Float32Array(0)
        : lloyd(groupSamples, Math.max(1, Math.min(share, memberIndexes.length)), random)
    numbers.push(centroids)
    starts[group + 1] = (starts[group] ?? 0) + centroids.length / dimensions
  }
  const flat = new Float32Array((starts[groupCount] ?? 0) * dimensions)
  let length = 0
  for (const groupNumbers of numbers) {
    flat.set(groupNumbers, length)
    length += groupNumbers.length
  }
  const centroids: Centroids = { numbers: flat, dimensions, groups, starts }
  const nearest = new Int32Array(vectorCount(samples))
  for (let index = 0; index < nearest.length; index += 1)
    nearest[index] = nearestCentroid(centroids, samples.numbers, index * dimensions)
  moveTo(samples, nearest, flat)
  return { ...centroids, groups: centresOf(centroids) }
}

/** Number of the nearest centroid to the vector at this offset of `numbers`. */
export function nearestCentroid(centroids: Centroids, numbers: Float32Array, offset: number): number {
  const { dimensions, groups, starts } = centroids
  const groupCount = starts.length - 1
  const scores = new Float32Array(groupCount)
  for (let group = 0; group < groupCount; group += 1)
    scores[group] = dot(groups, group * dimensions, numbers, offset, dimensions)
  let bestIndex = -1
  let bestScore = Number.NEGATIVE_INFINITY
  for (let probed = 0; probed < Math.min(groupsProbed, groupCount); probed += 1) {
    const group = indexOfMost(scores)
    scores[group] = Number.NEGATIVE_INFINITY
    const groupEnd = starts[group + 1] ?? 0
    for (let centroid = starts[group] ?? 0; centroid < groupEnd; centroid += 1) {
      const score = dot(centroids.numbers, centroid * dimensions, numbers, offset, dimensions)
      if (score > bestScore) {
        bestScore = score
        bestIndex = centroid
      }
    }
  }
  return bestIndex
}

/** Inner product of two vectors. Four sums at a time: one alone waits for each addition. */
export function dot(a: Float32Array, atA: number, b: Float32Array, atB: number, dimensions: number): number {
  let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0]
  const even = dimensions - (dimensions % 4)
  for (let index = 0; index < even; index += 4) {
    sum0 += (a[atA + index] as number) * (b[atB + index] as number)
    sum1 += (a[atA + index + 1] as number) * (b[atB + index + 1] as number)
    sum2 += (a[atA + index + 2] as number) * (b[atB + index + 2] as number)
    sum3 += (a[atA + index + 3] as number) * (b[atB + index + 3] as number)
  }
  for (let index = even; index < dimensions; index += 1)
    sum0 += (a[atA + index] as number) * (b[atB + index] as number)
  return sum0 + sum1 + sum2 + sum3
}

/** Lloyd's algorithm. A centre that lost all its vectors begins anew at one of them. */
function lloyd(vectors: Vectors, count: number, random: () => number): Float32Array {
  const { dimensions } = vectors
  const centres = new Float32Array(sample(vectors, count, random).numbers)
  const total = vectorCount(vectors)
  const nearest = new Int32Array(total)
  for (let round = 0; round < rounds; round += 1) {
    let moved = 0
    for (let index = 0; index < total; index += 1) {
      const centre = nearestOf(centres, vectors.numbers, index * dimensions, dimensions)
      if (centre !== nearest[index]) moved += 1
      nearest[index] = centre
    }
    for (const empty of moveTo(vectors, nearest, centres)) {
      const source = Math.floor(random() * total) * dimensions
      centres.set(vectors.numbers.subarray(source, source + dimensions), empty * dimensions)
    }
    if (round > 0 && moved < total / 200) break
  }
  return centres
}

/** Moves each centre to the mean of its vectors, of length 1. Returns those that have none. */
function moveTo({ numbers, dimensions }: Vectors, nearest: Int32Array, centres: Float32Array): number[] {
  const sums = new Float64Array(centres.length)
  const counts = new Int32Array(centres.length / dimensions)
  for (const [index, centre] of nearest.entries()) {
    counts[centre] = (counts[centre] ?? 0) + 1
    const [target, source] = [centre * dimensions, index * dimensions]
    for (let offset = 0; offset < dimensions; offset += 1)
      sums[target + offset] = (sums[target + offset] as number) + (numbers[source + offset] as number)
  }
  const empty: number[] = []
  for (const [centre, count] of counts.entries()) {
    if (count === 0) empty.push(centre)
    else putUnit(sums.subarray(centre * dimensions, (centre + 1) * dimensions), centres, centre * dimensions)
  }
  return empty
}

function putUnit(sum: Float64Array, centres: Float32Array, offset: number): void {
  let square = 0
  for (const value of sum) square += value * value
  const length = Math.sqrt(square) || 1
  for (const [index, value] of sum.entries()) centres[offset + index] = value / length
}

function nearestOf(centres: Float32Array, numbers: Float32Array, offset: number, dimensions: number): number {
  let bestIndex = 0
  let bestScore = Number.NEGATIVE_INFINITY
  for (let centre = 0, source = 0; source < centres.length; centre += 1, source += dimensions) {
    const score = dot(centres, source, numbers, offset, dimensions)
    if (score > bestScore) {
      bestScore = score
      bestIndex = centre
    }
  }
  return bestIndex
}

function membersOf({ numbers, dimensions }: Vectors, centres: Float32Array): number[][] {
  const members: number[][] = Array.from({ length: centres.length / dimensions }, () => [])
  for (let index = 0; index < numbers.length / dimensions; index += 1)
    members[nearestOf(centres, numbers, index * dimensions, dimensions)]?.push(index)
  return members
}

function centresOf({ numbers, dimensions, groups, starts }: Centroids): Float32Array {
  const centres = new Float32Array(groups.length)
  for (let group = 0; group + 1 < starts.length; group += 1) {
    const sum = new Float64Array(dimensions)
    const groupEnd = (starts[group + 1] ?? 0) * dimensions
    for (let index = (starts[group] ?? 0) * dimensions; index < groupEnd; index += 1)
      sum[index % dimensions] = (sum[index % dimensions] as number) + (numbers[index] as number)
    putUnit(sum, centres, group * dimensions)
  }
  return centres
}

function subset({ numbers, dimensions }: Vectors, indexes: readonly number[]): Vectors {
  const chosen = new Float32Array(indexes.length * dimensions)
  for (const [target, index] of indexes.entries())
    chosen.set(numbers.subarray(index * dimensions, (index + 1) * dimensions), target * dimensions)
  return { numbers: chosen, dimensions }
}

function sample(vectors: Vectors, count: number, random: () => number): Vectors {
  const indexes = Array.from({ length: vectorCount(vectors) }, (_, index) => index)
  const sampleCount = Math.min(count, indexes.length)
  for (let index = 0; index < sampleCount; index += 1) {
    const swapped = index + Math.floor(random() * (indexes.length - index))
    const [current, drawn] = [indexes[index] ?? 0, indexes[swapped] ?? 0]
    indexes[index] = drawn
    indexes[swapped] = current
  }
  return subset(vectors, indexes.slice(0, sampleCount))
}

function indexOfMost(scores: Float32Array): number {
  let bestIndex = 0
  for (let index = 1; index < scores.length; index += 1)
    if ((scores[index] as number) > (scores[bestIndex] as number)) bestIndex = index
  return bestIndex
}

/** Mulberry32: numbers from 0 to below 1, the same for the same seed. Nothing secret may rest on them. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
