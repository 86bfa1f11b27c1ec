import type { Visible } from '../visible/visible.ts'
import { type Kernel, slotsMax } from './kernel.ts'
import { type CellSet, slotsInBlock } from './members.ts'

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
export const looksAll = 24_000
const looksMin = 24_000
const looksMax = 32_000
const deviations = 3
// What is searched is deeper than what is answered: how good the last of that is tells.
const depthOfLimit = 4
const limitMin = 10

/**
 * Looks at codes of visible chunks, and nominates the best of them. At all of them, document by document, where few are
 * visible. Else at those in the cells nearest to the question, until the next cell is so far that hardly anything in it can
 * be among the best; what is not visible there costs a look at its bit.
 */
export function findNear(
  sets: readonly CellSet[],
  visible: Visible,
  embedding: Float32Array,
  { rows, limit }: NearOptions,
): Near {
  seen.size = 0
  seen.counts.fill(0)
  const ends = sets.map((set) => {
    if (visible.chunks <= looksAll) lookAtDocuments(set, visible.docNos, embedding, rows)
    else lookAtCells(set, visible.bits(), embedding, { rows, limit })
    return seen.size
  })
  return best(sets, ends, rows)
}

// Scores lie between -1 and 1, and by codes a little beside. Sorting thousands of them to find one takes longer than
// counting them.
const steps = 4_096
const stepOf = (score: number): number => Math.max(0, Math.min(steps - 1, ((score + 2) * (steps / 4)) | 0))

/** What may be among the best of what was looked at. One for all questions: nothing waits while it is in use. */
const seen = {
  size: 0,
  slots: new Int32Array(slotsMax),
  scores: new Float32Array(slotsMax),
  /** How many scores lie in each step. */
  counts: new Int32Array(steps),
}

function lookAtDocuments(set: CellSet, docNos: Int32Array, embedding: Float32Array, rows: number): void {
  const { kernel, firsts, next, cellOf } = set
  const { slots, scores } = kernel
  const cellScores = kernel.ask(embedding)
  let count = 0
  for (const docNo of docNos) {
    for (let slot = firsts[docNo] ?? 0; slot !== 0; slot = next[slot] as number) {
      slots[count] = slot
      scores[count] = cellScores[cellOf[(slot / slotsInBlock) | 0] as number] as number
      count += 1
      if (count < slotsMax) continue
      look(kernel, count, rows)
      count = 0
    }
  }
  look(kernel, count, rows)
}

function lookAtCells(
  { kernel, docs, blocks }: CellSet,
  bits: Uint8Array,
  embedding: Float32Array,
  { rows, limit }: NearOptions,
): void {
  const { slots, scores } = kernel
  const cellScores = kernel.ask(embedding)
  const reach = deviations * kernel.deviation
  let [count, looked] = [0, 0]
  let farthest = Number.NEGATIVE_INFINITY
  for (const cell of nearestFirst(cellScores)) {
    const score = cellScores[cell] as number
    if (score < farthest) break
    for (const block of blocks[cell] as readonly number[]) {
      count = putVisible(docs, bits, block, score, slots, scores, count)
      if (count <= slotsMax - slotsInBlock) continue
      look(kernel, count, rows)
      looked += count
      count = 0
      if (looked >= looksMin) farthest = scoreOf(Math.max(limitMin, limit / depthOfLimit)) - reach
    }
    if (looked >= looksMax) break
  }
  look(kernel, count, rows)
}

/** Adds those of a block to the kernel's slots that are visible. A loop of its own, so that it is compiled by itself. */
function putVisible(
  docs: Int32Array,
  bits: Uint8Array,
  block: number,
  score: number,
  slots: Int32Array,
  scores: Float32Array,
  count: number,
): number {
  let to = count
  const end = (block + 1) * slotsInBlock
  for (let slot = end - slotsInBlock; slot < end; slot += 1) {
    const docNo = docs[slot] as number
    slots[to] = slot
    scores[to] = score
    // Written in any case, and written over by the next where it is not visible: nothing to be guessed.
    to += ((bits[docNo >> 3] as number) >> (docNo & 7)) & 1
  }
  return to
}

/** Looks at the codes in the first `count` of the kernel's slots, and keeps what may be among the best so far. */
function look(kernel: Kernel, count: number, rows: number): void {
  const kept = kernel.score(count, scoreOf(rows))
  const { size } = seen
  if (size + kept > seen.slots.length) makeRoom(2 * (size + kept))
  seen.slots.set(kernel.slots.subarray(0, kept), size)
  seen.scores.set(kernel.scores.subarray(0, kept), size)
  seen.size += kept
  addCounts(seen.scores, size, seen.size, seen.counts)
}

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

function makeRoom(length: number): void {
  const { slots, scores } = seen
  seen.slots = new Int32Array(length)
  seen.scores = new Float32Array(length)
  seen.slots.set(slots)
  seen.scores.set(scores)
}

// Documents have fewer chunks than that.
const ordinalsMax = 2 ** 21

/** So many of those seen, the best but for a step: however many are as good as the last of them. */
function best(sets: readonly CellSet[], ends: readonly number[], rows: number): Near {
  const { step, above } = stepAt(rows)
  const found = new Float64Array(Math.min(rows, seen.size))
  let [size, level] = [0, rows - above]
  for (const [place, { docs, ordinals }] of sets.entries()) {
    const end = ends[place] as number
    for (let at = ends[place - 1] ?? 0; at < end; at += 1) {
      const own = stepOf(seen.scores[at] as number)
      if (own < step || (own === step && level === 0)) continue
      if (own === step) level -= 1
      const slot = seen.slots[at] as number
      found[size] = (docs[slot] as number) * ordinalsMax + (ordinals[slot] as number)
      size += 1
    }
  }
  // In the order in which they lie in the table: its pages are read one after the other.
  found.sort()
  return {
    docs: Int32Array.from(found, (key) => Math.floor(key / ordinalsMax)),
    ordinals: Int32Array.from(found, (key) => key % ordinalsMax),
  }
}

/** The step in which the last of the best `rows` of those seen lies, and how many lie above it; 0 where there are fewer. */
function stepAt(rows: number): { readonly step: number; readonly above: number } {
  let above = 0
  for (let step = steps - 1; step > 0; step -= 1) {
    const own = seen.counts[step] as number
    if (above + own >= rows) return { step, above }
    above += own
  }
  return { step: 0, above }
}

/** A score that at least `rows` of those seen reach. */
function scoreOf(rows: number): number {
  const { step } = stepAt(rows)
  return step === 0 ? Number.NEGATIVE_INFINITY : (4 * step) / steps - 2
}
