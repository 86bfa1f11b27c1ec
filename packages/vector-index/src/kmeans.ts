/** Vectors one after the other in one array. */
export interface Vectors {
  readonly numbers: Float32Array
  /** Numbers in one vector. */
  readonly dimensions: number
}

export const vectorCount = ({ numbers, dimensions }: Vectors): number => numbers.length / dimensions

/** Centroids in groups: the nearest is looked for in the nearest groups only. */
export interface Centroids extends Vectors {
  /** Centres of the groups. */
  readonly groups: Float32Array
  /** Group `g` has the centroids from `starts[g]` to before `starts[g + 1]`. */
  readonly starts: Int32Array
}

const rounds = 8
// So many samples a centre say where it lies.
const samplesPerCentre = 64
// Groups in which the nearest centroid is looked for: in more of them it is hardly ever.
const groupsLookedAt = 8

/**
 * k-means over unit vectors by inner product, in two levels: groups, then centroids within each, then all of them moved
 * once more over the borders. The same input and random numbers give the same centroids.
 */
export function trainCentroids(samples: Vectors, count: number, random: () => number): Centroids {
  const { dimensions } = samples
  const wanted = Math.max(1, Math.min(count, vectorCount(samples)))
  const groupCount = Math.max(1, Math.round(Math.sqrt(wanted)))
  const some = pickSome(samples, groupCount * samplesPerCentre, random)
  const groups = lloyd(some, groupCount, random)
  const members = membersOf(samples, groups)
  const numbers: Float32Array[] = []
  const starts = new Int32Array(groupCount + 1)
  for (const [group, own] of members.entries()) {
    const share = Math.round((wanted * own.length) / vectorCount(samples))
    const part = subset(samples, own)
    const centroids =
      own.length === 0 ? new Float32Array(0) : lloyd(part, Math.max(1, Math.min(share, own.length)), random)
    numbers.push(centroids)
    starts[group + 1] = (starts[group] ?? 0) + centroids.length / dimensions
  }
  const flat = new Float32Array((starts[groupCount] ?? 0) * dimensions)
  let at = 0
  for (const part of numbers) {
    flat.set(part, at)
    at += part.length
  }
  const centroids: Centroids = { numbers: flat, dimensions, groups, starts }
  const nearest = new Int32Array(vectorCount(samples))
  for (let index = 0; index < nearest.length; index += 1)
    nearest[index] = nearestCentroid(centroids, samples.numbers, index * dimensions)
  moveTo(samples, nearest, flat)
  return { ...centroids, groups: centresOf(centroids) }
}

/** Number of the nearest centroid to the vector at this place of `numbers`. */
export function nearestCentroid(centroids: Centroids, numbers: Float32Array, at: number): number {
  const { dimensions, groups, starts } = centroids
  const groupCount = starts.length - 1
  const scores = new Float32Array(groupCount)
  for (let group = 0; group < groupCount; group += 1)
    scores[group] = dot(groups, group * dimensions, numbers, at, dimensions)
  let best = -1
  let most = Number.NEGATIVE_INFINITY
  for (let looked = 0; looked < Math.min(groupsLookedAt, groupCount); looked += 1) {
    const group = indexOfMost(scores)
    scores[group] = Number.NEGATIVE_INFINITY
    const end = starts[group + 1] ?? 0
    for (let centroid = starts[group] ?? 0; centroid < end; centroid += 1) {
      const score = dot(centroids.numbers, centroid * dimensions, numbers, at, dimensions)
      if (score > most) {
        most = score
        best = centroid
      }
    }
  }
  return best
}

/** Inner product of two vectors. Four sums at a time: one alone waits for each addition. */
export function dot(a: Float32Array, atA: number, b: Float32Array, atB: number, dimensions: number): number {
  let [one, two, three, four] = [0, 0, 0, 0]
  const even = dimensions - (dimensions % 4)
  for (let index = 0; index < even; index += 4) {
    one += (a[atA + index] as number) * (b[atB + index] as number)
    two += (a[atA + index + 1] as number) * (b[atB + index + 1] as number)
    three += (a[atA + index + 2] as number) * (b[atB + index + 2] as number)
    four += (a[atA + index + 3] as number) * (b[atB + index + 3] as number)
  }
  for (let index = even; index < dimensions; index += 1)
    one += (a[atA + index] as number) * (b[atB + index] as number)
  return one + two + three + four
}

/** Lloyd's algorithm. A centre that lost all its vectors begins anew at one of them. */
function lloyd(vectors: Vectors, count: number, random: () => number): Float32Array {
  const { dimensions } = vectors
  const centres = new Float32Array(pickSome(vectors, count, random).numbers)
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
      const from = Math.floor(random() * total) * dimensions
      centres.set(vectors.numbers.subarray(from, from + dimensions), empty * dimensions)
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
    const [to, from] = [centre * dimensions, index * dimensions]
    for (let offset = 0; offset < dimensions; offset += 1)
      sums[to + offset] = (sums[to + offset] as number) + (numbers[from + offset] as number)
  }
  const empty: number[] = []
  for (const [centre, count] of counts.entries()) {
    if (count === 0) empty.push(centre)
    else putUnit(sums.subarray(centre * dimensions, (centre + 1) * dimensions), centres, centre * dimensions)
  }
  return empty
}

function putUnit(sum: Float64Array, into: Float32Array, at: number): void {
  let square = 0
  for (const value of sum) square += value * value
  const length = Math.sqrt(square) || 1
  for (const [offset, value] of sum.entries()) into[at + offset] = value / length
}

function nearestOf(centres: Float32Array, numbers: Float32Array, at: number, dimensions: number): number {
  let best = 0
  let most = Number.NEGATIVE_INFINITY
  for (let centre = 0, from = 0; from < centres.length; centre += 1, from += dimensions) {
    const score = dot(centres, from, numbers, at, dimensions)
    if (score > most) {
      most = score
      best = centre
    }
  }
  return best
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
    const end = (starts[group + 1] ?? 0) * dimensions
    for (let at = (starts[group] ?? 0) * dimensions; at < end; at += 1)
      sum[at % dimensions] = (sum[at % dimensions] as number) + (numbers[at] as number)
    putUnit(sum, centres, group * dimensions)
  }
  return centres
}

function subset({ numbers, dimensions }: Vectors, indexes: readonly number[]): Vectors {
  const some = new Float32Array(indexes.length * dimensions)
  for (const [to, index] of indexes.entries())
    some.set(numbers.subarray(index * dimensions, (index + 1) * dimensions), to * dimensions)
  return { numbers: some, dimensions }
}

function pickSome(vectors: Vectors, count: number, random: () => number): Vectors {
  const indexes = Array.from({ length: vectorCount(vectors) }, (_, index) => index)
  const wanted = Math.min(count, indexes.length)
  for (let at = 0; at < wanted; at += 1) {
    const other = at + Math.floor(random() * (indexes.length - at))
    const [one, two] = [indexes[at] ?? 0, indexes[other] ?? 0]
    indexes[at] = two
    indexes[other] = one
  }
  return subset(vectors, indexes.slice(0, wanted))
}

function indexOfMost(scores: Float32Array): number {
  let best = 0
  for (let index = 1; index < scores.length; index += 1)
    if ((scores[index] as number) > (scores[best] as number)) best = index
  return best
}
