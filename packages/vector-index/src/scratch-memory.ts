import { componentCount } from './model.ts'
import { type layoutOf, type SharedCodes, slotsInBlock } from './quantized-codes.ts'

/**
 * Scores lie between -1 and 1, and by codes a little beside. Sorting thousands of them to find one takes
 * longer than counting.
 */
export const scoreSteps = 4_096

/** There is room for so many slots to be scanned, whatever is chosen. */
export const slotsMin = 16_384
// Each has a block at least.
const runsMax = slotsMin / slotsInBlock

/** How many of each there is room for: bytes of bits, and chunks that may be hits, chosen and collected. */
export interface Capacity {
  readonly bits: number
  readonly hits: number
  readonly chosen: number
  readonly collected: number
}

/** See {@link scratchOffsets}. */
export type ScratchOffsets = ReturnType<typeof scratchOffsets>
/** See {@link viewsOf}. */
export type ScratchViews = ReturnType<typeof viewsOf>

/** Where simd.wat finds what, in bytes. */
export function addressesOf(offsets: ScratchOffsets, runsAt: number, capacity: Capacity) {
  const hitsAt = offsets.bitsAt + capacity.bits
  const chosenAt = hitsAt + 8 * capacity.hits
  const collectedAt = chosenAt + 8 * capacity.chosen
  return {
    projections: 0,
    counts: offsets.countsAt,
    order: offsets.orderAt,
    slots: chosenAt,
    scores: chosenAt + 4 * capacity.chosen,
    hitSlots: hitsAt,
    hitScores: hitsAt + 4 * capacity.hits,
    queued: offsets.queuedAt,
    bits: offsets.bitsAt,
    runs: runsAt,
    collectedSlots: collectedAt,
    collectedPartitions: collectedAt + 4 * capacity.collected,
    partitionSteps: offsets.partitionStepsAt,
    partitionScores: offsets.productsAt,
  }
}

/** The arrays at these addresses, for what fits into this capacity. They hold until the memory grows. */
export function viewsOf(
  buffer: ArrayBufferLike,
  { partitions, dimensions }: SharedCodes,
  capacity: Capacity,
  { queryAt, productsAt }: ScratchOffsets,
  addresses: ReturnType<typeof addressesOf>,
) {
  return {
    projections: new Int8Array(buffer, addresses.projections, componentCount),
    counts: new Int32Array(buffer, addresses.counts, scoreSteps),
    order: new Int32Array(buffer, addresses.order, scoreSteps),
    slots: new Int32Array(buffer, addresses.slots, capacity.chosen),
    scores: new Float32Array(buffer, addresses.scores, capacity.chosen),
    query: new Int16Array(buffer, queryAt, dimensions),
    partitionSteps: new Int32Array(buffer, addresses.partitionSteps, partitions),
    partitionScores: new Float32Array(buffer, addresses.partitionScores, partitions),
    componentProducts: new Float32Array(buffer, productsAt + 4 * partitions, componentCount),
    hitSlots: new Int32Array(buffer, addresses.hitSlots, capacity.hits),
    hitScores: new Float32Array(buffer, addresses.hitScores, capacity.hits),
    queued: new Int32Array(buffer, addresses.queued, 3 * runsMax),
    queuedScores: new Float32Array(buffer, addresses.queued, 3 * runsMax),
    bits: new Uint8Array(buffer, addresses.bits, capacity.bits),
  }
}

/** Where in a scanner's own memory what never grows begins, in bytes. */
export function scratchOffsets(partitions: number, { bytesEach, vectors }: ReturnType<typeof layoutOf>) {
  const countsAt = componentCount
  const orderAt = countsAt + 4 * scoreSteps
  const queryAt = orderAt + 4 * scoreSteps
  const partitionStepsAt = queryAt + bytesEach
  const productsAt = aligned(partitionStepsAt + 4 * partitions)
  const queuedAt = aligned(productsAt + 4 * vectors)
  const bitsAt = aligned(queuedAt + 12 * runsMax)
  return { countsAt, orderAt, queryAt, partitionStepsAt, productsAt, queuedAt, bitsAt }
}

/** In whole lines of the nearer caches. */
export const aligned = (bytes: number): number => 64 * Math.ceil(bytes / 64)
