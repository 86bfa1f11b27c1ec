import type { InvertedLists } from './inverted-lists.ts'
import { blockRunsMax } from './quantized-codes.ts'
import type { PoolScan, ScanPool } from './scan-pool.ts'
import { type SimdScanner, scanBatch, scoreStepOf, scoreSteps } from './simd.ts'

/** Which documents a question may touch. */
export interface ScanFilter {
  /** Chunks of these documents together. */
  readonly chunks: number
  /** One bit for each document's number, the lowest of a byte first. It may end before the largest number. */
  bits(): Uint8Array
}

/** Chunks that are worth comparing, by document and place in it. Nominated, no more. */
export interface Nominated {
  readonly docs: Int32Array
  readonly ordinals: Int32Array
}

/** What says how many codes are looked at. */
export interface ScanCounts {
  /** Chunks that are visible, and all. */
  readonly visible: number
  readonly corpus: number
  readonly partitions: number
}

// Measured: docs/decisions/0023-search-plans.md.
const cellsLooked = 600
const moreOfFewer = 1 / 4

/**
 * As many codes are looked at as so many cells hold of visible chunks, however large the corpus is, and some more where a
 * smaller part is visible. With fewer cells it is all.
 */
export function scanBudget({ visible, corpus, partitions: cells }: ScanCounts): number {
  const share = visible / Math.max(1, corpus, visible)
  return Math.min(visible, Math.ceil(((cellsLooked / cells) * visible) / share ** moreOfFewer) || 0)
}

/** What is looked for. */
export interface ScanQuery {
  readonly embedding: Float32Array
  /** How many chunks are visible, */
  readonly chunks: number
  /** and of which documents, as bits by number. */
  readonly bits: Uint8Array
  /** How many are wanted. */
  readonly rows: number
}

/** The best chunks of what was looked at, by slot. */
export interface BestSlots {
  readonly slots: Int32Array
  readonly scores: Float32Array
}

/** Nominates chunks that are worth comparing; in this thread. */
export function probe(
  sets: readonly InvertedLists[],
  visible: ScanFilter,
  embedding: Float32Array,
  rows: number,
): Nominated {
  const look = lookFor(visible, embedding, rows)
  return nominate(sets, lookHere(sets, look), look)
}

/** In a thread where one is to be had, and the question is worth it; else in this one. */
export async function probeWithPool(
  lookers: Pick<ScanPool, 'scan'> | undefined,
  sets: readonly InvertedLists[],
  visible: ScanFilter,
  embedding: Float32Array,
  rows: number,
): Promise<Nominated & Pick<PoolScan, 'waitedMs'>> {
  const look = lookFor(visible, embedding, rows)
  const { best, waitedMs } = (await lookers?.scan(sets, look)) ?? { best: lookHere(sets, look), waitedMs: 0 }
  return { ...nominate(sets, best, look), waitedMs }
}

const lookFor = (visible: ScanFilter, embedding: Float32Array, rows: number): ScanQuery => ({
  embedding,
  chunks: visible.chunks,
  bits: visible.bits(),
  rows,
})

const lookHere = (sets: readonly InvertedLists[], look: ScanQuery): BestSlots[] =>
  sets.map(({ scanner: kernel, size }) => scanLists(kernel, size, look))

/**
 * Looks at codes of visible chunks in the cells nearest to the question, as many as are worth it, and gives the best of them.
 * Which chunks these are is asked of the documents where that takes less, and else of the cells; what is not visible there
 * costs a look at its bit. What it gives is seen until the kernel is asked again.
 */
export function scanLists(
  kernel: SimdScanner,
  size: number,
  { embedding, chunks, bits, rows }: ScanQuery,
): BestSlots {
  const cellScores = kernel.begin(embedding, bits, rows)
  const looks = scanBudget({ visible: chunks, corpus: size, partitions: cellScores.length })
  if (chunks * chunks <= documentsTimes * looks * size) lookAtDocuments(kernel, chunks, looks)
  else lookAtCells(kernel, cellScores, looks, chunks >= shareDense * size)
  kernel.keepBest()
  const { hits: seen } = kernel
  return { slots: seen.slots.subarray(0, seen.size), scores: seen.scores.subarray(0, seen.size) }
}

// A chunk that is met in its document costs half as much again as one that is met in its cell, and its code lies alone.
const documentsTimes = 1 / 2
// Where fewer are visible, most of the codes beside each other are not looked at.
const shareDense = 1 / 3

function lookAtDocuments(kernel: SimdScanner, chunks: number, looks: number): void {
  // All of them: also of those that came after they were counted.
  const count = kernel.chooseNearest(chunks, looks === chunks ? Number.POSITIVE_INFINITY : looks)
  for (let from = 0; from < count; from += scanBatch) kernel.scan(from, Math.min(scanBatch, count - from))
}

function lookAtCells(kernel: SimdScanner, cellScores: Float32Array, looks: number, isDense: boolean): void {
  let looked = 0
  const look = (): void => {
    const count = kernel.gather(isDense)
    for (let from = 0; from < count; from += scanBatch) kernel.scan(from, Math.min(scanBatch, count - from))
    looked += count
  }
  const { blocks } = kernel
  for (const cell of nearestFirst(cellScores)) {
    if (looked >= looks) break
    const score = cellScores[cell] as number
    const end = 2 * blockRunsMax * (cell + 1)
    for (let run = end - 2 * blockRunsMax; run < end && blocks[run + 1] !== 0; run += 2) {
      const first = blocks[run] as number
      const last = first + (blocks[run + 1] as number)
      for (let block = first; block < last; block += blocksMax) {
        kernel.queueBlocks(block, Math.min(blocksMax, last - block), score)
        if (kernel.queuedSlots >= slotsAtOnce) look()
      }
    }
  }
  look()
}

// Slots that are asked for at once: what they take fits into the nearer caches.
const slotsAtOnce = 4_096
const blocksMax = 64

/** Cells by what they score, best first but for a step: counted, which takes a tenth of sorting them. */
function nearestFirst(scores: Float32Array): Uint16Array {
  const places = new Int32Array(scoreSteps)
  for (const score of scores) places[scoreStepOf(score)] = (places[scoreStepOf(score)] as number) + 1
  // Of each step from the highest on, where its cells begin.
  for (let step = scoreSteps - 1, before = 0; step >= 0; step -= 1) {
    const own = places[step] as number
    places[step] = before
    before += own
  }
  const order = new Uint16Array(scores.length)
  for (let cell = 0; cell < scores.length; cell += 1) {
    const step = scoreStepOf(scores[cell] as number)
    const place = places[step] as number
    order[place] = cell
    places[step] = place + 1
  }
  return order
}

// Documents have fewer chunks than that.
const ordinalsMax = 2 ** 21

/** Of the best of each set the best, where they are. */
export function nominate(
  sets: readonly InvertedLists[],
  best: readonly BestSlots[],
  { rows, bits }: ScanQuery,
): Nominated {
  const scoreAtLeast = best.length > 1 ? leastScore(best, rows) : Number.NEGATIVE_INFINITY
  const keys: number[] = []
  for (const [index, { slots, scores }] of best.entries()) {
    const { codes, ordinals } = sets[index] as InvertedLists
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
const leastScore = (best: readonly BestSlots[], rows: number): number =>
  best
    .flatMap(({ scores }) => [...scores])
    .sort((one, other) => other - one)
    .at(rows - 1) ?? Number.NEGATIVE_INFINITY
