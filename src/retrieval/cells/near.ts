import type { Visible } from '../visible/visible.ts'
import { blockRunsMax } from './codes.ts'
import { type Kernel, leastOf, slotsMax, stepOf, steps } from './kernel.ts'
import type { Looked, Lookers } from './lookers.ts'
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

/** What is looked for. */
export interface Look {
  readonly embedding: Float32Array
  /** How many chunks are visible, */
  readonly chunks: number
  /** and of which documents, as bits by number. */
  readonly bits: Uint8Array
  readonly rows: number
  readonly limit: number
}

/** The best chunks of what was looked at, by slot. */
export interface Best {
  readonly slots: Int32Array
  readonly scores: Float32Array
}

/** Nominates chunks that are worth comparing; in this thread. */
export function findNear(
  sets: readonly CellSet[],
  visible: Visible,
  embedding: Float32Array,
  options: NearOptions,
): Near {
  const look = lookFor(visible, embedding, options)
  return nominate(sets, lookHere(sets, look), look)
}

/** In a thread where one is to be had, and the question is worth it; else in this one. */
export async function findNearBy(
  lookers: Pick<Lookers, 'look'> | undefined,
  sets: readonly CellSet[],
  visible: Visible,
  embedding: Float32Array,
  options: NearOptions,
): Promise<Near & Pick<Looked, 'waitedMs'>> {
  const look = lookFor(visible, embedding, options)
  const { best, waitedMs } = (await lookers?.look(sets, look)) ?? { best: lookHere(sets, look), waitedMs: 0 }
  return { ...nominate(sets, best, look), waitedMs }
}

const lookFor = (visible: Visible, embedding: Float32Array, { rows, limit }: NearOptions): Look => ({
  embedding,
  chunks: visible.chunks,
  bits: visible.bits(),
  rows,
  limit,
})

const lookHere = (sets: readonly CellSet[], look: Look): Best[] =>
  sets.map(({ kernel, size }) => lookInto(kernel, size, look))

/**
 * Looks at codes of visible chunks in the cells nearest to the question, and gives the best of them: until the next
 * cell is so far that hardly anything in it can be among the best, and at all of them where few are visible. Which chunks these
 * are is asked of the documents where that takes less, and else of the cells; what is not visible there costs a look at its bit.
 * What it gives is seen until the kernel is asked again.
 */
export function lookInto(kernel: Kernel, size: number, look: Look): Best {
  const { chunks } = look
  if (chunks * chunks <= documentsTimes * looksOf(chunks) * size) lookAtDocuments(kernel, look)
  else lookAtCells(kernel, look)
  kernel.keep()
  const { seen } = kernel
  return { slots: seen.slots.subarray(0, seen.size), scores: seen.scores.subarray(0, seen.size) }
}

// A chunk that is met in its document costs half as much again as one that is met in its cell, and its code lies alone.
const documentsTimes = 1 / 2

function lookAtDocuments(kernel: Kernel, { embedding, chunks, bits, rows, limit }: Look): void {
  kernel.ask(embedding, bits, rows)
  const looks = looksOf(chunks)
  const most = chunks <= looksAll ? Number.POSITIVE_INFINITY : Math.ceil(looksTimes * looks)
  const count = kernel.choose(chunks, most)
  for (let from = 0; from < count; from += slotsMax) {
    if (from >= looks && (kernel.scores[from] as number) < farthestOf(kernel, limit)) break
    kernel.look(from, Math.min(slotsMax, count - from))
  }
}

function lookAtCells(kernel: Kernel, { embedding, chunks, bits, rows, limit }: Look): void {
  const cellScores = kernel.ask(embedding, bits, rows)
  const looks = looksOf(chunks)
  let looked = 0
  let farthest = Number.NEGATIVE_INFINITY
  const look = (): void => {
    const count = kernel.gather()
    for (let from = 0; from < count; from += slotsMax) kernel.look(from, Math.min(slotsMax, count - from))
    looked += count
    if (looked >= looks) farthest = farthestOf(kernel, limit)
  }
  const { blocks } = kernel
  for (const cell of nearestFirst(cellScores)) {
    const score = cellScores[cell] as number
    if (score < farthest || looked >= looksTimes * looks) break
    const end = 2 * blockRunsMax * (cell + 1)
    for (let run = end - 2 * blockRunsMax; run < end && blocks[run + 1] !== 0; run += 2) {
      const first = blocks[run] as number
      const last = first + (blocks[run + 1] as number)
      for (let block = first; block < last; block += blocksMax) {
        kernel.add(block, Math.min(blocksMax, last - block), score)
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

/** Of the best of each set the best, where they are. */
export function nominate(sets: readonly CellSet[], best: readonly Best[], { rows, bits }: Look): Near {
  const scoreAtLeast = best.length > 1 ? leastScore(best, rows) : Number.NEGATIVE_INFINITY
  const keys: number[] = []
  for (const [index, { slots, scores }] of best.entries()) {
    const { codes, ordinals } = sets[index] as CellSet
    for (let at = 0; at < slots.length; at += 1) {
      if ((scores[at] as number) < scoreAtLeast) continue
      const slot = slots[at] as number
      const docNo = codes.docAt(slot)
      // While another thread looked, another document may have come into the slot.
      if ((((bits[docNo >> 3] ?? 0) >> (docNo & 7)) & 1) === 0) continue
      keys.push(docNo * ordinalsMax + (ordinals[slot] as number))
    }
  }
  // In the order in which they lie in the table: its pages are read one after the other.
  const sorted = Float64Array.from(keys).sort()
  const docs = new Int32Array(sorted.length)
  const ordinals = new Int32Array(sorted.length)
  for (let at = 0; at < sorted.length; at += 1) {
    const key = sorted[at] as number
    docs[at] = Math.floor(key / ordinalsMax)
    ordinals[at] = key % ordinalsMax
  }
  return { docs, ordinals }
}

/** What the last of the best `rows` of all scores. */
const leastScore = (best: readonly Best[], rows: number): number =>
  best
    .flatMap(({ scores }) => [...scores])
    .sort((one, other) => other - one)
    .at(rows - 1) ?? Number.NEGATIVE_INFINITY

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
