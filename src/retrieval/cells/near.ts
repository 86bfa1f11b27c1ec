import type { Visible } from '../visible/visible.ts'
import { type Kernel, leastOf, slotsMax, stepOf, steps } from './kernel.ts'
import type { CellSet } from './members.ts'

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
/** Where no more chunks are visible, the code of each is looked at. */
const looksAll = 24_000
const looksLeast = 32_000
const looksEach = 130
// The stop rule takes over after the looks that are foreseen, and ends with so many times as many.
const looksTimes = 4 / 3
const deviations = 3
// What is searched is deeper than what is answered: how good the last of that is tells.
const depthOfLimit = 2
const limitMin = 10

/** Codes that are looked at where so many chunks are visible: ten times as many take some three times as many looks. */
export const looksOf = (chunks: number): number =>
  chunks <= looksAll ? chunks : Math.min(chunks, Math.max(looksLeast, looksEach * Math.sqrt(chunks)))

/**
 * Looks at codes of visible chunks in the cells nearest to the question, and nominates the best of them: until the next
 * cell is so far that hardly anything in it can be among the best, and at all of them where few are visible. Which chunks these
 * are is asked of the documents where that takes less, and else of the cells; what is not visible there costs a look at its bit.
 */
export function findNear(
  sets: readonly CellSet[],
  visible: Visible,
  embedding: Float32Array,
  options: NearOptions,
): Near {
  for (const set of sets) {
    const looks = looksOf(visible.chunks)
    if (visible.chunks * visible.chunks <= documentsTimes * looks * set.size)
      lookAtDocuments(set, visible, embedding, options)
    else lookAtCells(set, visible, embedding, options)
    set.kernel.keep()
  }
  return best(sets, options.rows)
}

// A chunk that is met in its document costs half as much again as one that is met in its cell, and its code lies alone.
const documentsTimes = 1 / 2

function lookAtDocuments(
  { kernel }: CellSet,
  visible: Visible,
  embedding: Float32Array,
  { rows, limit }: NearOptions,
): void {
  kernel.ask(embedding, visible.bits(), rows)
  const looks = looksOf(visible.chunks)
  const most = visible.chunks <= looksAll ? Number.POSITIVE_INFINITY : Math.ceil(looksTimes * looks)
  const count = kernel.choose(visible.chunks, most)
  for (let from = 0; from < count; from += slotsMax) {
    if (from >= looks && (kernel.scores[from] as number) < farthestOf(kernel, limit)) break
    kernel.look(from, Math.min(slotsMax, count - from))
  }
}

function lookAtCells(
  { kernel, blocks }: CellSet,
  visible: Visible,
  embedding: Float32Array,
  { rows, limit }: NearOptions,
): void {
  const cellScores = kernel.ask(embedding, visible.bits(), rows)
  const looks = looksOf(visible.chunks)
  let looked = 0
  let farthest = Number.NEGATIVE_INFINITY
  const look = (): void => {
    const count = kernel.gather()
    for (let from = 0; from < count; from += slotsMax) kernel.look(from, Math.min(slotsMax, count - from))
    looked += count
    if (looked >= looks) farthest = farthestOf(kernel, limit)
  }
  for (const cell of nearestFirst(cellScores)) {
    const score = cellScores[cell] as number
    if (score < farthest || looked >= looksTimes * looks) break
    const own = blocks[cell] as readonly number[]
    for (let run = 0; run < own.length; run += 2) {
      const first = own[run] as number
      const end = first + (own[run + 1] as number)
      for (let block = first; block < end; block += blocksMax) {
        kernel.add(block, Math.min(blocksMax, end - block), score)
        if (kernel.added >= slotsAtOnce) look()
      }
    }
  }
  look()
}

// Slots that are asked for at once: what they take fits into the nearer caches.
const slotsAtOnce = 4_096
const blocksMax = 64

/** A cell that scores less has hardly anything that is among the best. */
const farthestOf = ({ seen, deviation }: Kernel, limit: number): number =>
  leastOf(stepAt(seen.counts, Math.max(limitMin, limit / depthOfLimit)).step) - deviations * deviation

/** Cells by what they score, best first but for a step: counted, which takes a tenth of sorting them. */
function nearestFirst(scores: Float32Array): Uint16Array {
  const places = new Int32Array(steps)
  addCounts(scores, 0, scores.length, places)
  // Of each step from the highest on, where its cells begin.
  for (let step = steps - 1, before = 0; step >= 0; step -= 1) {
    const own = places[step] as number
    places[step] = before
    before += own
  }
  const order = new Uint16Array(scores.length)
  for (let cell = 0; cell < scores.length; cell += 1) {
    const step = stepOf(scores[cell] as number)
    const place = places[step] as number
    order[place] = cell
    places[step] = place + 1
  }
  return order
}

function addCounts(scores: Float32Array, from: number, end: number, to: Int32Array): void {
  for (let at = from; at < end; at += 1) {
    const step = stepOf(scores[at] as number)
    to[step] = (to[step] as number) + 1
  }
}

// Documents have fewer chunks than that.
const ordinalsMax = 2 ** 21

/** So many of those seen, the best but for a step: however many are as good as the last of them. */
function best(sets: readonly CellSet[], rows: number): Near {
  const { step, above } = stepAt(countsOf(sets), rows)
  const found: number[] = []
  let level = rows - above
  for (const { kernel, ordinals } of sets) {
    const { size, slots, scores } = kernel.seen
    for (let at = 0; at < size; at += 1) {
      const own = stepOf(scores[at] as number)
      if (own < step || (own === step && level === 0)) continue
      if (own === step) level -= 1
      const slot = slots[at] as number
      found.push(kernel.docAt(slot) * ordinalsMax + (ordinals[slot] as number))
    }
  }
  // In the order in which they lie in the table: its pages are read one after the other.
  const keys = Float64Array.from(found).sort()
  return {
    docs: Int32Array.from(keys, (key) => Math.floor(key / ordinalsMax)),
    ordinals: Int32Array.from(keys, (key) => key % ordinalsMax),
  }
}

/** How many lie in each step, in all of them. */
function countsOf(sets: readonly CellSet[]): Int32Array {
  const [first = new Int32Array(steps), ...others] = sets.map(({ kernel }) => kernel.seen.counts)
  return others.length === 0
    ? first
    : first.map((count, step) => others.reduce((sum, counts) => sum + (counts[step] ?? 0), count))
}

/** The step in which the last of the best `rows` lies, and how many lie above it; 0 where there are fewer. */
function stepAt(counts: Int32Array, rows: number): { readonly step: number; readonly above: number } {
  let above = 0
  for (let step = steps - 1; step > 0; step -= 1) {
    const own = counts[step] as number
    if (above + own >= rows) return { step, above }
    above += own
  }
  return { step: 0, above }
}
