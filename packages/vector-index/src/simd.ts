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
import { instantiate, ownMemory } from './wasm.ts'

/**
 * Scores of codes by the hundred: arithmetic over many numbers at once, in WebAssembly, some ten times as fast as the same
 * loops in JavaScript. A thread has one of its own for all {@link Codes} that it looks at: it writes into its own memory alone, where
 * for a question nothing is copied but the question and who sees what:
 *
 *   along · counts · order · question · cells' steps · products with centroids and axes · gathered · bits · seen · chosen · met
 *
 * A chunk's score is that of its cell, the product of centroid and question, and what its code adds.
 */
export interface SimdScanner {
  /** By cell {@link blockRunsMax} runs of blocks beside each other: the first of each run, and how many there are; 0: no more. */
  readonly blocks: Int32Array
  /** Bytes of its memory. */
  readonly bytes: number
  /** Whose codes are looked at next, at least {@link slotsMin} of them, */
  readonly slots: Int32Array
  /** and what their cells score. */
  readonly scores: Float32Array
  /** What may be among the best of what was looked at for the last question. */
  readonly hits: ScanHits
  /**
   * A question about documents with these bits, of which so many chunks are wanted. Gives of each cell the inner product
   * of its centroid and the question, which lies there until the next question.
   */
  begin(question: Float32Array, bits: Uint8Array, rows: number): Float32Array
  /** Adds so many blocks beside each other, of a cell that scores this, to those that are gathered next. */
  queueBlocks(block: number, blocks: number, score: number): void
  /** How many slots there are in what was added. */
  readonly queuedSlots: number
  /** Chooses the visible ones of what was added; most of it is visible where it is dense. Returns how many there are. */
  gather(isDense: boolean): number
  /**
   * Chooses of so many visible chunks, met in their documents, those in the cells that score most, cell by cell but for a
   * step. Returns how many there are.
   */
  chooseNearest(chunks: number, most: number): number
  /** Looks at the codes in `count` slots from this one on, and keeps what may be among the best. */
  scan(from: number, count: number): void
  /** Of what was seen the best `rows`, whatever else is as good as the last of them. */
  keepBest(): void
}

export interface ScanHits {
  readonly size: number
  readonly slots: Int32Array
  readonly scores: Float32Array
}

/** Codes that are looked at in one go. After each, fewer are worth it. */
export const scanBatch = 512
/** There is room for so many that are to be looked at, whatever is chosen. */
export const slotsMin = 16_384
// Each has a block at least.
const runsMax = slotsMin / slotsInBlock

/** Scores lie between -1 and 1, and by codes a little beside. Sorting thousands of them to find one takes longer than counting. */
export const scoreSteps = 4_096
export const scoreStepOf = (score: number): number =>
  // Rounded as the kernel does it: at the edge of a step one that was counted would not be found again.
  Math.max(0, Math.min(scoreSteps - 1, (Math.fround(score + 2) * (scoreSteps / 4)) | 0))

export function createSimdScanner(written: SharedCodes): SimdScanner {
  const {
    partitions: cells,
    dimensions,
    codeMemory: codes,
    documentMemory: documents,
    steps: stepsOfAxes,
  } = written
  const { bytesEach, vectors, vectorsAt, blocksAt, runsAt } = layoutOf(written)
  const alongAt = 0
  const countsAt = alongAt + componentCount
  const orderAt = countsAt + 4 * scoreSteps
  const questionAt = orderAt + 4 * scoreSteps
  const cellStepsAt = questionAt + bytesEach
  const productsAt = aligned(cellStepsAt + 4 * cells)
  const gatheredAt = aligned(productsAt + 4 * vectors)
  const bitsAt = aligned(gatheredAt + 12 * runsMax)
  /** Bytes of bits, and chunks that may be seen, chosen and met. */
  let [bitsMax, seenMax, chosenMax, metMax] = [0, 16_384, slotsMin, 16_384]
  const own = ownMemory(1)
  const kernel = instantiate({ own, codes, documents })
  const { products, gather, meet, survey, choose, look, keep } = kernel
  const blocks = new Int32Array(documents.buffer, blocksAt, 2 * blockRunsMax * cells)
  const placesLive = new Int32Array(documents.buffer, 0, 1)
  let view = arrange()
  let [unit, more, late, wanted, seen, bitsEnd] = [0, 0, 0, 0, 0, 0]
  /** Of what is gathered next. */
  let [runs, added] = [0, 0]

  /** Memory that has grown is another buffer, and what looked at the former one sees nothing any more. */
  function arrange() {
    const seenAt = bitsAt + bitsMax
    const chosenAt = seenAt + 8 * seenMax
    const metAt = chosenAt + 8 * chosenMax
    const lacking = metAt + 6 * metMax - own.buffer.byteLength
    if (lacking > 0) own.grow(Math.ceil(lacking / pageSize))
    const { buffer } = own
    const at = {
      along: alongAt,
      counts: countsAt,
      order: orderAt,
      slots: chosenAt,
      scores: chosenAt + 4 * chosenMax,
      seenSlots: seenAt,
      seenScores: seenAt + 4 * seenMax,
      blocks: gatheredAt,
      bits: bitsAt,
      runs: runsAt,
      metSlots: metAt,
      metCells: metAt + 4 * metMax,
      cellSteps: cellStepsAt,
      cellScores: productsAt,
    }
    for (const [name, place] of Object.entries(at)) kernel[name as keyof typeof at].value = place
    return {
      along: new Int8Array(buffer, at.along, componentCount),
      counts: new Int32Array(buffer, at.counts, scoreSteps),
      order: new Int32Array(buffer, at.order, scoreSteps),
      slots: new Int32Array(buffer, at.slots, chosenMax),
      scores: new Float32Array(buffer, at.scores, chosenMax),
      question: new Int16Array(buffer, questionAt, dimensions),
      cellSteps: new Int32Array(buffer, at.cellSteps, cells),
      cellScores: new Float32Array(buffer, at.cellScores, cells),
      alongAxes: new Float32Array(buffer, productsAt + 4 * cells, componentCount),
      seenSlots: new Int32Array(buffer, at.seenSlots, seenMax),
      seenScores: new Float32Array(buffer, at.seenScores, seenMax),
      gathered: new Int32Array(buffer, at.blocks, 3 * runsMax),
      gatheredScores: new Float32Array(buffer, at.blocks, 3 * runsMax),
      bits: new Uint8Array(buffer, at.bits, bitsMax),
    }
  }

  /** More room, at the end: the bits of a question stay where they are, while it needs more for what it meets. */
  function makeRoom({ bits = 0, seen = 0, chosen = 0, met = 0 }): void {
    if (bits <= bitsMax && seen <= seenMax && chosen <= chosenMax && met <= metMax) return
    const before = [bitsMax, seenMax, chosenMax, metMax] as const
    if (bits > bitsMax) bitsMax = aligned(1.5 * bits)
    if (seen > seenMax) seenMax = aligned(2 * seen)
    if (chosen > chosenMax) chosenMax = aligned(1.5 * chosen)
    if (met > metMax) metMax = aligned(1.5 * met)
    try {
      view = arrange()
    } catch (error) {
      ;[bitsMax, seenMax, chosenMax, metMax] = before
      throw error
    }
  }

  /** How many chunks the visible documents have here, beside each other: no more than were counted, or moments ago. */
  function meetAll(chunks: number, most: number): number {
    for (const room of [chunks + pastEnd, (placesLive[0] as number) + pastEnd]) {
      makeRoom({ chosen: Math.min(most, room) + 1, met: room })
      const met = meet(bitsEnd, room - pastEnd)
      if (met >= 0) return met
    }
    return 0
  }

  return {
    blocks,
    get bytes() {
      return own.buffer.byteLength
    },
    get slots() {
      return view.slots
    },
    get scores() {
      return view.scores
    },
    get hits() {
      return { size: seen, slots: view.seenSlots, scores: view.seenScores }
    },
    begin(question, bits, most) {
      // Of each document that has a run: what is no bit of the question must not be taken for one.
      const room = Math.floor((documents.buffer.byteLength - runsAt) / 512) * 8
      makeRoom({ bits: room + 8, seen: 2 * most + scanBatch })
      wanted = most
      ;[seen, runs, added] = [0, 0, 0]
      kernel.step.value = 0
      kernel.above.value = 0
      view.counts.fill(0)
      // Documents past their end are not visible; past the room for them there are none.
      view.bits.set(bits.subarray(0, room))
      view.bits.fill(0, Math.min(bits.length, room))
      bitsEnd = 8 * Math.ceil(Math.min(bits.length, room) / 8)
      const length = Math.sqrt(dot(question, 0, question, 0, dimensions)) || 1
      quantizeInto(question, length, view.question)
      products(vectorsAt, vectors, bytesEach, questionAt, productsAt, length / int16Max ** 2)
      const adds = view.alongAxes.map((along, axis) => along * (stepsOfAxes[axis] as number))
      // The largest of them becomes the largest int8.
      unit = adds.reduce((most, add) => Math.max(most, Math.abs(add)), 0) / wholeAlong || 1
      let [own, later] = [0, 0]
      for (let axis = 0; axis < adds.length; axis += 1) {
        const along = Math.round((adds[axis] as number) / unit)
        view.along[alongPlaces[axis] as number] = along
        own += along
        if (axis >= earlyComponents) later += along
      }
      // The lowest level's middle along all axes is what counting levels from 0 leaves out.
      more = own * unit * levelMidpoint(0)
      // In `more` there is what the later axes take away, and not yet what they add: as much, on average.
      late = deviationsLate * deviationOf(adds.subarray(earlyComponents)) - later * unit * levelMidpoint(0)
      return view.cellScores
    },
    queueBlocks(block, blocks, score) {
      view.gathered[3 * runs] = block
      view.gathered[3 * runs + 1] = blocks
      view.gatheredScores[3 * runs + 2] = score
      runs += 1
      added += blocks * slotsInBlock
    },
    get queuedSlots() {
      return added
    },
    gather(isDense) {
      const count = gather(runs, isDense ? 1 : 0)
      ;[runs, added] = [0, 0]
      return count
    },
    chooseNearest(chunks, most) {
      const met = meetAll(chunks, most)
      const { order, cellSteps, cellScores } = view
      for (let cell = 0; cell < cells; cell += 1)
        cellSteps[cell] = 4 * scoreStepOf(cellScores[cell] as number)
      order.fill(0)
      survey(met)
      // Of each step from the highest on, where its chunks begin.
      let [count, step] = [0, scoreSteps]
      while (count < most && step > 0) {
        step -= 1
        const own = order[step] as number
        order[step] = 4 * count
        count += own
      }
      count = Math.min(count, most)
      order.fill(4 * count, 0, step)
      choose(met, 4 * count)
      return count
    },
    scan(from, count) {
      seen = look(from, count, unit, more, late, wanted, seen)
      if (seen + scanBatch > seenMax) seen = keep(seen, wanted)
    },
    keepBest() {
      seen = keep(seen, wanted)
    },
  }
}

// Chunks are met eight at a time.
const pastEnd = 8
// More than the spread of all codes would call for: the best are so because all axes point their way, the later ones too.
const deviationsLate = 8

/** By axis, where it stands in `along`: of sixteen bytes of a code the lower bits, and the upper ones. */
const alongPlaces = Int32Array.from({ length: componentCount }, (_, axis) => {
  const { byte, shift } = componentPosition(axis)
  return 32 * (byte >> 4) + 4 * shift + (byte & 15)
})
const wholeAlong = 127

const aligned = (bytes: number): number => 64 * Math.ceil(bytes / 64)

const deviationOf = (adds: Float32Array): number =>
  Math.sqrt(adds.reduce((sum, add) => sum + add * add, 0)) / stepPerDeviation

const pageSize = 65_536
