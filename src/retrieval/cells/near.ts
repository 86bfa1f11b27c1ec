import type { Visible } from '../visible/visible.ts'
import { dot } from './kmeans.ts'
import type { Cell, CellSet } from './members.ts'
import { type CellModel, codeLength } from './model.ts'

/** Chunks that are worth comparing, by document and place in it. Nominated, no more. */
export interface Near {
  readonly docs: Int32Array
  readonly ordinals: Int32Array
}

export interface NearOptions {
  /** How many are wanted. */
  readonly rows: number
  /** The answer ends with so many of them: how good the last of those is tells when to stop. */
  readonly limit: number
}

// Measured: docs/decisions/0023-search-plans.md.
const looksMin = 8_000
const looksMax = 48_000
const deviations = 4
const looksBetween = 4_000

/**
 * Looks at the visible chunks of the cells nearest to the question, and nominates the nearest of them by codes. Stops
 * where the next cell is so far that hardly anything in it can be among the best. What is not visible costs a look at
 * its bit, never a comparison.
 */
export function findNear(
  sets: readonly CellSet[],
  visible: Visible,
  embedding: Float32Array,
  { rows, limit }: NearOptions,
): Near {
  const bits = visible.bits()
  const seen = createSeen()
  let nextAt = looksMin
  let farthest = Number.NEGATIVE_INFINITY
  for (const { cell, score, along } of rankCells(sets, embedding)) {
    if (seen.size >= looksMax) break
    if (seen.size >= nextAt) {
      nextAt = seen.size + looksBetween
      farthest = scoreOf(seen, limit) - deviations * Math.sqrt(seen.squares / seen.size)
    }
    if (score < farthest) break
    look(cell, score, along, bits, seen)
  }
  return best(seen, rows)
}

const neighbours = 2_000

/** The visible share of the chunks in the cells nearest to the question, exactly. */
export function shareNear(sets: readonly CellSet[], visible: Visible, embedding: Float32Array): number {
  const bits = visible.bits()
  let [all, own] = [0, 0]
  for (const { cell } of rankCells(sets, embedding)) {
    if (all >= neighbours) break
    all += cell.size
    for (let at = 0; at < cell.size; at += 1) {
      const docNo = cell.docs[at] as number
      own += ((bits[docNo >> 3] ?? 0) >> (docNo & 7)) & 1
    }
  }
  return own / Math.max(1, all)
}

interface RankedCell {
  readonly cell: Cell
  readonly score: number
  readonly along: Float32Array
}

/**
 * All of them, nearest first: by groups, as a passage finds its cell, the best of a question that lies between cells are
 * missed.
 */
function* rankCells(sets: readonly CellSet[], embedding: Float32Array): Generator<RankedCell> {
  const all = sets.reduce((sum, { cells }) => sum + cells.length, 0)
  // Distance and place in one number: numbers are sorted without asking a function for each pair.
  const keys = new Float64Array(all)
  const scores = new Float32Array(all)
  let at = 0
  for (const { model } of sets) {
    const { numbers, dimensions } = model.centroids
    for (let from = 0; from < numbers.length; from += dimensions, at += 1) {
      const score = dot(numbers, from, embedding, 0, dimensions)
      scores[at] = score
      keys[at] = Math.floor((2 - score) * precision) * placesMax + at
    }
  }
  keys.sort()
  const alongs = sets.map(({ model }) => alongAxes(model, embedding))
  for (const key of keys) {
    const place = key % placesMax
    let [set, index] = [0, place]
    while (index >= (sets[set]?.cells.length ?? Number.POSITIVE_INFINITY)) {
      index -= sets[set]?.cells.length ?? 0
      set += 1
    }
    const [cell, along] = [sets[set]?.cells[index], alongs[set]]
    if (cell !== undefined && along !== undefined) yield { cell, score: scores[place] ?? 0, along }
  }
}

// Together below 2^53.
const precision = 2 ** 24
const placesMax = 2 ** 20

/** What 1 at each place of a code adds to a score. */
function alongAxes(
  { axes, step, centroids: { dimensions } }: CellModel,
  embedding: Float32Array,
): Float32Array {
  const along = new Float32Array(codeLength)
  for (let axis = 0; axis < codeLength; axis += 1)
    along[axis] = step * dot(axes, axis * dimensions, embedding, 0, dimensions)
  return along
}

/** What was looked at so far. */
interface Seen {
  size: number
  /** Squared differences of scores from those of their cells, together. */
  squares: number
  docs: Int32Array
  ordinals: Int32Array
  scores: Float32Array
}

const createSeen = (): Seen => ({
  size: 0,
  squares: 0,
  docs: new Int32Array(2 * looksMin),
  ordinals: new Int32Array(2 * looksMin),
  scores: new Float32Array(2 * looksMin),
})

function makeRoom(seen: Seen, atLeast: number): void {
  if (atLeast <= seen.docs.length) return
  const [docs, ordinals, scores] = [seen.docs, seen.ordinals, seen.scores]
  seen.docs = new Int32Array(2 * atLeast)
  seen.ordinals = new Int32Array(2 * atLeast)
  seen.scores = new Float32Array(2 * atLeast)
  seen.docs.set(docs)
  seen.ordinals.set(ordinals)
  seen.scores.set(scores)
}

// No calls and no iterators in here: it runs for tens of thousands of chunks.
function look(cell: Cell, score: number, along: Float32Array, bits: Uint8Array, seen: Seen): void {
  makeRoom(seen, seen.size + cell.size)
  const { size: count, docs, ordinals, codes } = cell
  const { docs: toDocs, ordinals: toOrdinals, scores } = seen
  let { size, squares } = seen
  for (let at = 0; at < count; at += 1) {
    const docNo = docs[at] as number
    if ((((bits[docNo >> 3] as number) >> (docNo & 7)) & 1) !== 1) continue
    let apart = 0
    for (let axis = 0, from = at * codeLength; axis < codeLength; axis += 4, from += 4)
      apart +=
        (along[axis] as number) * (codes[from] as number) +
        (along[axis + 1] as number) * (codes[from + 1] as number) +
        (along[axis + 2] as number) * (codes[from + 2] as number) +
        (along[axis + 3] as number) * (codes[from + 3] as number)
    toDocs[size] = docNo
    toOrdinals[size] = ordinals[at] as number
    scores[size] = score + apart
    squares += apart * apart
    size += 1
  }
  seen.size = size
  seen.squares = squares
}

function best(seen: Seen, rows: number): Near {
  const { size, docs, ordinals, scores } = seen
  const least = size <= rows ? Number.NEGATIVE_INFINITY : scoreOf(seen, rows)
  // In the order in which they lie in the table: its pages are read one after the other.
  const found: number[] = []
  for (let at = 0; at < size; at += 1) if ((scores[at] as number) >= least) found.push(at)
  found.sort(
    (a, b) => (docs[a] as number) - (docs[b] as number) || (ordinals[a] as number) - (ordinals[b] as number),
  )
  return {
    docs: Int32Array.from(found, (at) => docs[at] ?? 0),
    ordinals: Int32Array.from(found, (at) => ordinals[at] ?? 0),
  }
}

// Scores lie between -1 and 1. Sorting thousands of them to find one takes longer than counting them.
const steps = 4096

/** A score that `rows` of those seen reach, and few more: those within one step. */
function scoreOf({ size, scores }: Seen, rows: number): number {
  const counts = new Int32Array(steps)
  for (let at = 0; at < size; at += 1) {
    const step = Math.max(0, Math.min(steps - 1, Math.floor((((scores[at] as number) + 1) * steps) / 2)))
    counts[step] = (counts[step] as number) + 1
  }
  let step = steps
  for (let above = 0; step > 0 && above < rows; ) {
    step -= 1
    above += counts[step] ?? 0
  }
  return step === 0 ? Number.NEGATIVE_INFINITY : (2 * step) / steps - 1
}
