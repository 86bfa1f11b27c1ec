import type { InvertedLists } from './inverted-lists.ts'
import { blockRunsMax } from './quantized-codes.ts'
import { scoreSteps } from './scratch-memory.ts'
import { type SimdScanner, scanBatch, scoreStepOf } from './simd.ts'

/** Which documents a query may touch. */
export interface ScanFilter {
  /** Chunks of these documents together. */
  readonly chunks: number
  /** One bit for each document's number, the lowest of a byte first. It may end before the largest number. */
  bits(): Uint8Array
}

/** Chunks that are worth comparing, by document and ordinal in it. Nominated, no more. */
export interface Nominated {
  readonly docs: Int32Array
  readonly ordinals: Int32Array
}

/** What says how many codes are scanned. */
export interface ScanCounts {
  /** Chunks that are visible, and all. */
  readonly visible: number
  readonly corpus: number
  readonly partitions: number
}

// Measured: docs/decisions/0023-search-plans.md.
const partitionsProbed = 600
const shareExponent = 1 / 4

/**
 * How many codes are scanned: as many as so many partitions hold of visible chunks, however large the corpus
 * is, and some more where a smaller share is visible. With fewer partitions it is all.
 */
export function scanBudget({ visible, corpus, partitions }: ScanCounts): number {
  const share = visible / Math.max(1, corpus, visible)
  return Math.min(
    visible,
    Math.ceil(((partitionsProbed / partitions) * visible) / share ** shareExponent) || 0,
  )
}

/** What is searched for. */
export interface ScanQuery {
  readonly embedding: Float32Array
  /** How many chunks are visible, */
  readonly chunks: number
  /** and of which documents, as bits by number. */
  readonly bits: Uint8Array
  /** How many are wanted. */
  readonly rows: number
}

/** The best chunks of what was scanned, by slot. */
export interface BestSlots {
  readonly slots: Int32Array
  readonly scores: Float32Array
}

/** In this thread. */
export const scanHere = (lists: readonly InvertedLists[], query: ScanQuery): BestSlots[] =>
  lists.map(({ scanner, size }) => scanLists(scanner, size, query))

/**
 * Scans codes of visible chunks in the partitions nearest to the query, as many as are worth it, and gives
 * the best of them. Which chunks these are is read from the documents where that takes less, and else from
 * the partitions; what is not visible there costs a test of its bit. What it gives holds until the scanner
 * begins another query.
 */
export function scanLists(
  scanner: SimdScanner,
  size: number,
  { embedding, chunks, bits, rows }: ScanQuery,
): BestSlots {
  const partitionScores = scanner.begin(embedding, bits, rows)
  const budget = scanBudget({ visible: chunks, corpus: size, partitions: partitionScores.length })
  if (chunks * chunks <= documentsTimes * budget * size) scanDocuments(scanner, chunks, budget)
  else scanPartitions(scanner, partitionScores, budget, chunks >= denseShare * size)
  scanner.keepBest()
  const { hits } = scanner
  return { slots: hits.slots.subarray(0, hits.size), scores: hits.scores.subarray(0, hits.size) }
}

// A chunk that is read from its document costs half as much again as one from its partition, and its code
// lies alone.
const documentsTimes = 1 / 2
// Where fewer are visible, most of the codes beside each other are not scanned.
const denseShare = 1 / 3

function scanDocuments(scanner: SimdScanner, chunks: number, budget: number): void {
  // All of them: also of those that came after they were counted.
  scanChosen(scanner, scanner.chooseNearest(chunks, budget === chunks ? Number.POSITIVE_INFINITY : budget))
}

function scanPartitions(
  scanner: SimdScanner,
  partitionScores: Float32Array,
  budget: number,
  isDense: boolean,
): void {
  let scanned = 0
  const scanQueued = (): void => {
    const count = scanner.gather(isDense)
    scanChosen(scanner, count)
    scanned += count
  }
  const { blocks } = scanner
  for (const partition of nearestPartitions(partitionScores)) {
    if (scanned >= budget) break
    const score = partitionScores[partition] as number
    const runsEnd = 2 * blockRunsMax * (partition + 1)
    for (let run = runsEnd - 2 * blockRunsMax; run < runsEnd && blocks[run + 1] !== 0; run += 2) {
      const firstBlock = blocks[run] as number
      const blocksEnd = firstBlock + (blocks[run + 1] as number)
      for (let block = firstBlock; block < blocksEnd; block += blocksMax) {
        scanner.queueBlocks(block, Math.min(blocksMax, blocksEnd - block), score)
        if (scanner.queuedSlots >= slotsAtOnce) scanQueued()
      }
    }
  }
  scanQueued()
}

function scanChosen(scanner: SimdScanner, count: number): void {
  for (let slot = 0; slot < count; slot += scanBatch) scanner.scan(slot, Math.min(scanBatch, count - slot))
}

// Slots that are gathered at once: what they take fits into the nearer caches.
const slotsAtOnce = 4_096
const blocksMax = 64

/** Partitions by what they score, best first but for a step: counted, which takes a tenth of sorting them. */
function nearestPartitions(scores: Float32Array): Uint16Array {
  const positions = new Int32Array(scoreSteps)
  for (const score of scores) positions[scoreStepOf(score)] = (positions[scoreStepOf(score)] as number) + 1
  // Of each step from the highest on, where its partitions begin.
  for (let step = scoreSteps - 1, count = 0; step >= 0; step -= 1) {
    const inStep = positions[step] as number
    positions[step] = count
    count += inStep
  }
  const order = new Uint16Array(scores.length)
  for (let partition = 0; partition < scores.length; partition += 1) {
    const step = scoreStepOf(scores[partition] as number)
    const position = positions[step] as number
    order[position] = partition
    positions[step] = position + 1
  }
  return order
}

// Documents have fewer chunks than that.
const ordinalsMax = 2 ** 21

/** Of the best of each generation the best, by document and ordinal. */
export function nominate(
  lists: readonly InvertedLists[],
  bestSlots: readonly BestSlots[],
  { rows, bits }: ScanQuery,
): Nominated {
  const scoreMin = bestSlots.length > 1 ? leastScore(bestSlots, rows) : Number.NEGATIVE_INFINITY
  const keys: number[] = []
  for (const [index, { slots, scores }] of bestSlots.entries()) {
    const { codes, ordinals } = lists[index] as InvertedLists
    for (let hit = 0; hit < slots.length; hit += 1) {
      if ((scores[hit] as number) < scoreMin) continue
      const slot = slots[hit] as number
      const docNo = codes.docAt(slot)
      // While another thread scanned, another document may have come into the slot.
      if ((((bits[docNo >> 3] ?? 0) >> (docNo & 7)) & 1) === 0) continue
      keys.push(docNo * ordinalsMax + (ordinals[slot] as number))
    }
  }
  // In the order in which they lie in the table: its pages are read one after the other.
  const sorted = Float64Array.from(keys).sort()
  const docs = new Int32Array(sorted.length)
  const ordinals = new Int32Array(sorted.length)
  for (let index = 0; index < sorted.length; index += 1) {
    const key = sorted[index] as number
    docs[index] = Math.floor(key / ordinalsMax)
    ordinals[index] = key % ordinalsMax
  }
  return { docs, ordinals }
}

/** What the last of the best `rows` of all scores. */
const leastScore = (bestSlots: readonly BestSlots[], rows: number): number =>
  bestSlots
    .flatMap(({ scores }) => [...scores])
    .sort((a, b) => b - a)
    .at(rows - 1) ?? Number.NEGATIVE_INFINITY
