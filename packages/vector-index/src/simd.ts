import { dot } from './kmeans.ts'
import { componentCount, componentPosition, levelMidpoint, stepPerDeviation } from './model.ts'
import {
  blockRunsMax,
  earlyComponents,
  int16Max,
  layoutOf,
  quantizeInto,
  type SharedCodes,
  slotsInBlock,
} from './quantized-codes.ts'
import {
  addressesOf,
  aligned,
  type Capacity,
  type ScratchOffsets,
  type ScratchViews,
  scoreSteps,
  scratchOffsets,
  slotsMin,
  viewsOf,
} from './scratch-memory.ts'
import { instantiate, type Memory, ownMemory, type SimdExports } from './wasm.ts'

/** Chunks that may be among the best, by slot, with their scores. The arrays are longer than `size`. */
export interface ScanHits {
  readonly size: number
  readonly slots: Int32Array
  readonly scores: Float32Array
}

/** Codes that are scanned in one go. After each, fewer are worth it. */
export const scanBatch = 512
/** The step in which a score is counted, from 0 for the least. */
export const scoreStepOf = (score: number): number =>
  // Rounded as simd.wat does it: at the edge of a step a score that was counted would not be found again.
  Math.max(0, Math.min(scoreSteps - 1, (Math.fround(score + 2) * (scoreSteps / 4)) | 0))

/** What a query's scores are made with. */
interface QueryTerms {
  /** What 1 in a sum of products stands for. */
  readonly unit: number
  /** What the middle of the lowest level adds along all components. */
  readonly base: number
  /** What the late components add to a score at most. */
  readonly lateMargin: number
  /** Chunks that are wanted. */
  readonly rows: number
  /** Bytes of bits that may hold a document, in whole words. */
  readonly bitsEnd: number
}

/**
 * Scores codes by the hundred: arithmetic over many numbers at once, in WebAssembly, some ten times as fast
 * as the same loops in JavaScript. A thread has a scanner of its own for all {@link SharedCodes} that it
 * scans: it writes into its own memory alone, where for a query nothing is copied but the query and who sees
 * what:
 *
 * projections · step counts · order · query · steps of partitions · products with centroids and components ·
 * queued runs · bits · hits · chosen · collected
 *
 * A chunk's score is that of its partition, the product of centroid and query, and what its code adds.
 */
export class SimdScanner {
  /**
   * By partition {@link blockRunsMax} runs of blocks: the first block of each, and how many there are; 0: no
   * more.
   */
  readonly blocks: Int32Array
  readonly #codes: SharedCodes
  readonly #layout: ReturnType<typeof layoutOf>
  readonly #offsets: ScratchOffsets
  readonly #memory: Memory = ownMemory(1)
  readonly #simd: SimdExports
  readonly #liveEntries: Int32Array
  #capacity: Capacity = { bits: 0, hits: 16_384, chosen: slotsMin, collected: 16_384 }
  #views: ScratchViews
  #query: QueryTerms = { unit: 0, base: 0, lateMargin: 0, rows: 0, bitsEnd: 0 }
  #hitCount = 0
  #queuedRuns = 0
  #queuedSlots = 0

  constructor(codes: SharedCodes) {
    const { partitions, codeMemory, documentMemory } = codes
    this.#codes = codes
    this.#layout = layoutOf(codes)
    this.#offsets = scratchOffsets(partitions, this.#layout)
    this.#simd = instantiate({ scratch: this.#memory, codes: codeMemory, documents: documentMemory })
    this.blocks = new Int32Array(documentMemory.buffer, this.#layout.blocksAt, 2 * blockRunsMax * partitions)
    this.#liveEntries = new Int32Array(documentMemory.buffer, 0, 1)
    this.#views = this.#arrange(this.#capacity)
  }

  /** Bytes of its memory. */
  get bytes(): number {
    return this.#memory.buffer.byteLength
  }

  /** Whose codes are scanned next, at least {@link slotsMin} of them, */
  get slots(): Int32Array {
    return this.#views.slots
  }

  /** and what their partitions score. */
  get scores(): Float32Array {
    return this.#views.scores
  }

  /** What may be among the best of what was scanned for the last query. */
  get hits(): ScanHits {
    return { size: this.#hitCount, slots: this.#views.hitSlots, scores: this.#views.hitScores }
  }

  /** How many slots there are in what was queued. */
  get queuedSlots(): number {
    return this.#queuedSlots
  }

  /**
   * Begins a query about documents with these bits, of which so many chunks are wanted. Gives of each
   * partition the inner product of its centroid and the query, which lies there until the next query.
   *
   * @throws RangeError where there is no memory for it.
   */
  begin(query: Float32Array, bits: Uint8Array, rows: number): Float32Array {
    const { bytesEach, vectors, vectorsAt, runsAt } = this.#layout
    // Of each document that has a run: what is no bit of the query must not be taken for one.
    const bitsRoom = Math.floor((this.#codes.documentMemory.buffer.byteLength - runsAt) / 512) * 8
    this.#ensure({ bits: bitsRoom + 8, hits: 2 * rows + scanBatch })
    this.#hitCount = 0
    this.#queuedRuns = 0
    this.#queuedSlots = 0
    this.#simd.step.value = 0
    this.#simd.above.value = 0
    const views = this.#views
    views.counts.fill(0)
    // Documents past their end are not visible; past the room for them there are none.
    views.bits.set(bits.subarray(0, bitsRoom))
    views.bits.fill(0, Math.min(bits.length, bitsRoom))
    const bitsEnd = 8 * Math.ceil(Math.min(bits.length, bitsRoom) / 8)
    const length = Math.sqrt(dot(query, 0, query, 0, this.#codes.dimensions)) || 1
    quantizeInto(query, length, views.query)
    const { queryAt, productsAt } = this.#offsets
    this.#simd.products(vectorsAt, vectors, bytesEach, queryAt, productsAt, length / int16Max ** 2)
    this.#query = { ...termsOf(views.componentProducts, this.#codes.steps, views.projections), rows, bitsEnd }
    return views.partitionScores
  }

  /**
   * Adds so many blocks beside each other, of a partition that scores this, to those that are gathered next.
   */
  queueBlocks(block: number, count: number, score: number): void {
    const run = 3 * this.#queuedRuns
    this.#views.queued[run] = block
    this.#views.queued[run + 1] = count
    this.#views.queuedScores[run + 2] = score
    this.#queuedRuns += 1
    this.#queuedSlots += count * slotsInBlock
  }

  /**
   * Chooses the visible slots of what was queued; most of them are visible where it is dense. Returns how
   * many there are.
   */
  gather(isDense: boolean): number {
    const count = this.#simd.gather(this.#queuedRuns, isDense ? 1 : 0)
    this.#queuedRuns = 0
    this.#queuedSlots = 0
    return count
  }

  /**
   * Chooses of so many visible chunks, collected from their documents, those in the partitions that score
   * most, partition by partition but for a step. Returns how many there are.
   */
  chooseNearest(chunks: number, limit: number): number {
    const collected = this.#collect(chunks, limit)
    const { order, partitionSteps, partitionScores } = this.#views
    for (let partition = 0; partition < partitionScores.length; partition += 1)
      partitionSteps[partition] = 4 * scoreStepOf(partitionScores[partition] as number)
    order.fill(0)
    this.#simd.countSteps(collected)
    // Of each step from the highest on, where its chunks begin.
    let count = 0
    let step = scoreSteps
    while (count < limit && step > 0) {
      step -= 1
      const inStep = order[step] as number
      order[step] = 4 * count
      count += inStep
    }
    count = Math.min(count, limit)
    order.fill(4 * count, 0, step)
    this.#simd.choose(collected, 4 * count)
    return count
  }

  /** Scans the codes of `count` slots from this one on, and keeps what may be among the best. */
  scan(slot: number, count: number): void {
    const { unit, base, lateMargin, rows } = this.#query
    this.#hitCount = this.#simd.scan(slot, count, unit, base, lateMargin, rows, this.#hitCount)
    if (this.#hitCount + scanBatch > this.#capacity.hits) this.keepBest()
  }

  /** Leaves of the hits the best `rows`, whatever else is as good as the last of them. */
  keepBest(): void {
    this.#hitCount = this.#simd.keepBest(this.#hitCount, this.#query.rows)
  }

  /**
   * How many chunks the visible documents have here, beside each other: no more than were counted, or moments
   * ago.
   */
  #collect(chunks: number, limit: number): number {
    for (const expected of [chunks + pastEnd, (this.#liveEntries[0] as number) + pastEnd]) {
      this.#ensure({ chosen: Math.min(limit, expected) + 1, collected: expected })
      const collected = this.#simd.collect(this.#query.bitsEnd, expected - pastEnd)
      if (collected >= 0) return collected
    }
    return 0
  }

  /**
   * More room, at the end: the bits of a query stay where they are, while it needs more for what it collects.
   */
  #ensure({ bits = 0, hits = 0, chosen = 0, collected = 0 }: Partial<Capacity>): void {
    const current = this.#capacity
    const isEnough =
      bits <= current.bits &&
      hits <= current.hits &&
      chosen <= current.chosen &&
      collected <= current.collected
    if (isEnough) return
    const larger: Capacity = {
      bits: bits > current.bits ? aligned(1.5 * bits) : current.bits,
      hits: hits > current.hits ? aligned(2 * hits) : current.hits,
      chosen: chosen > current.chosen ? aligned(1.5 * chosen) : current.chosen,
      collected: collected > current.collected ? aligned(1.5 * collected) : current.collected,
    }
    this.#views = this.#arrange(larger)
    this.#capacity = larger
  }

  /**
   * Grows the memory to this capacity, and says what lies where. Memory that has grown is another buffer:
   * what looked at the former one sees nothing any more.
   */
  #arrange(capacity: Capacity): ScratchViews {
    const addresses = addressesOf(this.#offsets, this.#layout.runsAt, capacity)
    const lacking = addresses.collectedSlots + 6 * capacity.collected - this.#memory.buffer.byteLength
    if (lacking > 0) this.#memory.grow(Math.ceil(lacking / pageSize))
    for (const [name, address] of Object.entries(addresses))
      this.#simd[name as keyof typeof addresses].value = address
    return viewsOf(this.#memory.buffer, this.#codes, capacity, this.#offsets, addresses)
  }
}

/**
 * Writes what a query has along each component into `projections`, as codes have them, and gives what goes
 * with it.
 */
function termsOf(
  products: Float32Array,
  steps: Float32Array,
  projections: Int8Array,
): Pick<QueryTerms, 'unit' | 'base' | 'lateMargin'> {
  const additions = products.map((product, component) => product * (steps[component] as number))
  // The largest of them becomes the largest int8.
  const unit =
    additions.reduce((largest, addition) => Math.max(largest, Math.abs(addition)), 0) / int8Max || 1
  let sum = 0
  let lateSum = 0
  for (let component = 0; component < additions.length; component += 1) {
    const projection = Math.round((additions[component] as number) / unit)
    projections[projectionPositions[component] as number] = projection
    sum += projection
    if (component >= earlyComponents) lateSum += projection
  }
  return {
    unit,
    // The lowest level's middle along all components is what counting levels from 0 leaves out.
    base: sum * unit * levelMidpoint(0),
    // In `base` there is what the late components take away, and not yet what they add: as much, on average.
    lateMargin:
      deviationsLate * deviationOf(additions.subarray(earlyComponents)) - lateSum * unit * levelMidpoint(0),
  }
}

// Chunks are collected eight at a time.
const pastEnd = 8
// More than the spread of all codes would call for: the best are so because all components point their way,
// the late ones too.
const deviationsLate = 8

/**
 * By component, where it stands in `projections`: of sixteen bytes of a code the lower bits, and the upper
 * ones.
 */
const projectionPositions = Int32Array.from({ length: componentCount }, (_, component) => {
  const { byte, shift } = componentPosition(component)
  return 32 * (byte >> 4) + 4 * shift + (byte & 15)
})
const int8Max = 127

const deviationOf = (additions: Float32Array): number =>
  Math.sqrt(additions.reduce((sum, addition) => sum + addition * addition, 0)) / stepPerDeviation

const pageSize = 65_536
