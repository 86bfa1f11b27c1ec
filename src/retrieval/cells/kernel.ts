import { readFileSync } from 'node:fs'
import { countOf, dot } from './kmeans.ts'
import { axesMax, type CellModel, codeLength, middleOf, placeOfAxis, stepOfDeviation } from './model.ts'

/**
 * Scores of codes by the hundred: arithmetic over many numbers at once, in WebAssembly, some ten times as fast as the same
 * loops in JavaScript. What it reads lies in a memory of its own, so that for a question nothing is copied but the question
 * and who sees what:
 *
 *   along · counts · order · question · cells' steps · centroids · axes · products of these with the question ·
 *   seen · chosen · met · bits · runs · segments
 *
 * Segments grow: of slots, the documents and the codes; and of places, which say of each document in which slots its chunks
 * are, beside each other. A chunk's score is that of its cell, the product of centroid and question, and what its code adds.
 */
export interface Kernel {
  /** Bytes of its memory. */
  readonly bytes: number
  /** Whose codes are looked at next, at least {@link slotsMin} of them, */
  readonly slots: Int32Array
  /** and what their cells score. */
  readonly scores: Float32Array
  /** How far codes put chunks apart for the last question, by what the model was trained on: a standard deviation. */
  readonly deviation: number
  /** What may be among the best of what was looked at for the last question. */
  readonly seen: Seen
  /**
   * A question about documents with these bits, of which so many chunks are wanted. Gives of each cell the inner product
   * of its centroid and the question, which lies there until the next question.
   */
  ask(question: Float32Array, bits: Uint8Array, rows: number): Float32Array
  /** Adds so many blocks beside each other, of a cell that scores this, to those that are gathered next. */
  add(block: number, blocks: number, score: number): void
  /** How many slots there are in what was added. */
  readonly added: number
  /** Chooses the visible ones of what was added. Returns how many there are. */
  gather(): number
  /**
   * Chooses of so many visible chunks, met in their documents, those in the cells that score most, cell by cell but for a
   * step. Returns how many there are.
   */
  choose(chunks: number, most: number): number
  /** Looks at the codes in `count` slots from this one on, and keeps what may be among the best. */
  look(from: number, count: number): void
  /** Of what was seen the best `rows`, whatever else is as good as the last of them. */
  keep(): void
  /** The document in a slot; 0: none. */
  docAt(slot: number): number
  /** In which slots a document's chunks are, and in which cells these lie. */
  filed(docNo: number): { readonly slots: Int32Array; readonly cells: Uint16Array }
  /** Memory for the slots before this one. Throws where there is none: before anything lies in them. */
  reserve(end: number): void
  /** Puts the code at this place of `codes` into a reserved slot, whose document is this one. */
  put(slot: number, docNo: number, codes: Uint8Array, at: number): void
  /** Nothing is in the slot any more. */
  clear(slot: number): void
  /** A document's chunks are in these slots, which lie in these cells. */
  file(docNo: number, slots: readonly number[], cells: readonly number[]): void
}

export interface Seen {
  readonly size: number
  readonly slots: Int32Array
  readonly scores: Float32Array
  /** How many scores lie in each of the {@link steps}. Beyond the best that were wanted, not all are counted. */
  readonly counts: Int32Array
}

/** Codes that are looked at in one go. After each, fewer are worth it. */
export const slotsMax = 512
/** Slots beside each other whose codes lie beside each other. */
export const slotsInBlock = 16
/** There is room for so many that are to be looked at, whatever is chosen. */
export const slotsMin = 16_384
// Each has a block at least.
const runsMax = slotsMin / slotsInBlock

/** Scores lie between -1 and 1, and by codes a little beside. Sorting thousands of them to find one takes longer than counting. */
export const steps = 4_096
export const stepOf = (score: number): number =>
  // Rounded as the kernel does it: at the edge of a step one that was counted would not be found again.
  Math.max(0, Math.min(steps - 1, (Math.fround(score + 2) * (steps / 4)) | 0))
/** Less than any in the step. Anything is in the first. */
export const leastOf = (step: number): number =>
  step === 0 ? Number.NEGATIVE_INFINITY : (4 * step) / steps - 2

export function createKernel({ centroids, axes, steps: stepsOfAxes }: CellModel): Kernel {
  const { dimensions } = centroids
  const cells = countOf(centroids)
  const vectors = cells + axesMax
  // Sixteen numbers are read at a time: past the end of a vector they are 0.
  const bytesEach = 32 * Math.ceil(dimensions / 16)
  const alongAt = 0
  const countsAt = alongAt + axesMax
  const orderAt = countsAt + 4 * steps
  const questionAt = orderAt + 4 * steps
  const cellStepsAt = questionAt + bytesEach
  const vectorsAt = aligned(cellStepsAt + 4 * cells)
  const productsAt = vectorsAt + vectors * bytesEach
  const blocksAt = aligned(productsAt + 4 * vectors)
  const seenAt = aligned(blocksAt + 12 * runsMax)
  /** Chunks that may be seen, chosen and met, and bytes of bits: of each the document has two numbers. */
  let [seenMax, chosenMax, metMax, bitsMax] = [16_384, slotsMin, 16_384, 4_096]
  const segmentsAt = () => seenAt + 8 * seenMax + 8 * chosenMax + 6 * metMax + bitsMax + 64 * bitsMax
  const memory = new WebAssembly.Memory({ initial: Math.ceil(segmentsAt() / pageSize), maximum: pagesMax })
  const kernel = new WebAssembly.Instance(compiled, { kernel: { memory } }).exports
  const { products, gather, meet, survey, choose, look, keep } = kernel
  for (const [at, from] of [...rowsOf(centroids.numbers, dimensions), ...rowsOf(axes, dimensions)].entries())
    putWhole(from, 1, new Int16Array(memory.buffer, vectorsAt + at * bytesEach, dimensions))
  let view = arrange()
  let [unit, more, late, deviation, wanted, seen, bitsEnd] = [0, 0, 0, 0, 0, 0, 0]
  /** Of what is gathered next. */
  let [runs, added] = [0, 0]
  /** Places that documents have, and where those end that they had. */
  let [placesLive, placesEnd] = [0, 0]

  /** Memory that has grown is another buffer, and what looked at the former one sees nothing any more. */
  function arrange() {
    const { buffer } = memory
    const chosenAt = seenAt + 8 * seenMax
    const metAt = chosenAt + 8 * chosenMax
    const bitsAt = metAt + 6 * metMax
    const at = {
      along: alongAt,
      counts: countsAt,
      order: orderAt,
      slots: chosenAt,
      scores: chosenAt + 4 * chosenMax,
      seenSlots: seenAt,
      seenScores: seenAt + 4 * seenMax,
      blocks: blocksAt,
      bits: bitsAt,
      runs: bitsAt + bitsMax,
      metSlots: metAt,
      metCells: metAt + 4 * metMax,
      cellSteps: cellStepsAt,
      cellScores: productsAt,
      segments: segmentsAt(),
    }
    for (const [name, place] of Object.entries(at)) kernel[name as keyof typeof at].value = place
    return {
      along: new Int8Array(buffer, at.along, axesMax),
      counts: new Int32Array(buffer, at.counts, steps),
      order: new Int32Array(buffer, at.order, steps),
      slots: new Int32Array(buffer, at.slots, chosenMax),
      scores: new Float32Array(buffer, at.scores, chosenMax),
      question: new Int16Array(buffer, questionAt, dimensions),
      cellSteps: new Int32Array(buffer, at.cellSteps, cells),
      cellScores: new Float32Array(buffer, at.cellScores, cells),
      alongAxes: new Float32Array(buffer, productsAt + 4 * cells, axesMax),
      seenSlots: new Int32Array(buffer, at.seenSlots, seenMax),
      seenScores: new Float32Array(buffer, at.seenScores, seenMax),
      blocks: new Int32Array(buffer, at.blocks, 3 * runsMax),
      blockScores: new Float32Array(buffer, at.blocks, 3 * runsMax),
      bits: new Uint8Array(buffer, at.bits, bitsMax),
      runs: new Int32Array(buffer, at.runs, 16 * bitsMax),
      codes: new Uint8Array(buffer, at.segments),
      whole: new Int32Array(buffer, at.segments),
      halves: new Uint16Array(buffer, at.segments),
    }
  }

  /** More room before the segments: they are moved, and what of documents lies before them. */
  function makeRoom({ seen = 0, chosen = 0, met = 0, bits = 0 }): void {
    if (seen <= seenMax && chosen <= chosenMax && met <= metMax && bits <= bitsMax) return
    const [bitsNow, runsNow] = [view.bits.slice(), view.runs.slice()]
    const before = segmentsAt()
    const length = memory.buffer.byteLength
    const next = [
      seen <= seenMax ? seenMax : aligned(2 * seen),
      chosen <= chosenMax ? chosenMax : aligned(1.5 * chosen),
      met <= metMax ? metMax : aligned(1.5 * met),
      bits <= bitsMax ? bitsMax : aligned(1.5 * bits),
    ] as const
    const more =
      8 * (next[0] - seenMax) + 8 * (next[1] - chosenMax) + 6 * (next[2] - metMax) + 65 * (next[3] - bitsMax)
    // First, since there may be no memory.
    memory.grow(Math.ceil(more / pageSize))
    ;[seenMax, chosenMax, metMax, bitsMax] = next
    view = arrange()
    new Uint8Array(memory.buffer).copyWithin(segmentsAt(), before, length)
    view.bits.set(bitsNow)
    view.runs.fill(0)
    view.runs.set(runsNow)
  }

  function reserve(end: number): void {
    const lacking = segmentLength * Math.ceil(end / slotsInSegment) - view.codes.length
    if (lacking <= 0) return
    memory.grow(Math.ceil(Math.max(lacking, memory.buffer.byteLength * growth) / pageSize))
    view = arrange()
  }

  /** How many chunks the visible documents have here, beside each other: no more than were counted, or moments ago. */
  function meetAll(chunks: number, most: number): number {
    for (const room of [chunks + pastEnd, placesLive + pastEnd]) {
      makeRoom({ chosen: Math.min(most, room) + 1, met: room })
      const met = meet(bitsEnd, room - pastEnd)
      if (met >= 0) return met
    }
    return 0
  }

  /** All places without those that no document has any more, in the order of documents. */
  function sweep(): void {
    const slots = new Int32Array(placesLive)
    const cellsOf = new Uint16Array(placesLive)
    let end = 0
    for (let run = 0; run < view.runs.length; run += 2) {
      const first = view.runs[run] as number
      const length = view.runs[run + 1] as number
      view.runs[run] = end
      for (let place = first; place < first + length; place += 1, end += 1) {
        slots[end] = view.whole[slotPlace(place)] as number
        cellsOf[end] = view.halves[cellPlace(place)] as number
      }
    }
    for (let place = 0; place < end; place += 1) {
      view.whole[slotPlace(place)] = slots[place] as number
      view.halves[cellPlace(place)] = cellsOf[place] as number
    }
    placesEnd = end
  }

  return {
    get bytes() {
      return memory.buffer.byteLength
    },
    get slots() {
      return view.slots
    },
    get scores() {
      return view.scores
    },
    get deviation() {
      return deviation
    },
    get seen() {
      return { size: seen, slots: view.seenSlots, scores: view.seenScores, counts: view.counts }
    },
    ask(question, bits, most) {
      makeRoom({ seen: 2 * most + slotsMax })
      wanted = most
      ;[seen, runs, added] = [0, 0, 0]
      kernel.step.value = 0
      kernel.above.value = 0
      view.counts.fill(0)
      // Documents past their end are not visible; past the room for them there are none.
      view.bits.set(bits.subarray(0, bitsMax))
      view.bits.fill(0, bits.length)
      bitsEnd = 8 * Math.ceil(Math.min(bits.length, bitsMax) / 8)
      const length = Math.sqrt(dot(question, 0, question, 0, dimensions)) || 1
      putWhole(question, length, view.question)
      products(vectorsAt, vectors, bytesEach, questionAt, productsAt, length / whole ** 2)
      const adds = view.alongAxes.map((along, axis) => along * (stepsOfAxes[axis] as number))
      // The largest of them becomes the largest int8.
      unit = adds.reduce((most, add) => Math.max(most, Math.abs(add)), 0) / wholeAlong || 1
      deviation = deviationOf(adds)
      let [own, later] = [0, 0]
      for (const [axis, add] of adds.entries()) {
        const along = Math.round(add / unit)
        view.along[alongPlaces[axis] as number] = along
        own += along
        if (axis >= axesEarly) later += along
      }
      // The lowest level's middle along all axes is what counting levels from 0 leaves out.
      more = own * unit * middleOf(0)
      // In `more` there is what the later axes take away, and not yet what they add: as much, on average.
      late = deviationsLate * deviationOf(adds.subarray(axesEarly)) - later * unit * middleOf(0)
      return view.cellScores
    },
    add(block, blocks, score) {
      view.blocks[3 * runs] = block
      view.blocks[3 * runs + 1] = blocks
      view.blockScores[3 * runs + 2] = score
      runs += 1
      added += blocks * slotsInBlock
    },
    get added() {
      return added
    },
    gather() {
      const count = gather(runs)
      ;[runs, added] = [0, 0]
      return count
    },
    choose(chunks, most) {
      const met = meetAll(chunks, most)
      const { order, cellSteps, cellScores } = view
      for (let cell = 0; cell < cells; cell += 1) cellSteps[cell] = 4 * stepOf(cellScores[cell] as number)
      order.fill(0)
      survey(met)
      // Of each step from the highest on, where its chunks begin.
      let [count, step] = [0, steps]
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
    look(from, count) {
      seen = look(from, count, unit, more, late, wanted, seen)
      if (seen + slotsMax > seenMax) seen = keep(seen, wanted)
    },
    keep() {
      seen = keep(seen, wanted)
    },
    docAt: (slot) => view.whole[docPlace(slot)] ?? 0,
    filed(docNo) {
      const first = view.runs[2 * docNo] ?? 0
      const length = view.runs[2 * docNo + 1] ?? 0
      return {
        slots: Int32Array.from({ length }, (_, at) => view.whole[slotPlace(first + at)] as number),
        cells: Uint16Array.from({ length }, (_, at) => view.halves[cellPlace(first + at)] as number),
      }
    },
    reserve,
    put(slot, docNo, codes, at) {
      makeRoom({ bits: (docNo >> 3) + 1 })
      const code = codes.subarray(at * codeLength, (at + 1) * codeLength)
      const document = docPlace(slot)
      view.codes.set(code.subarray(0, earlyLength), 4 * document + earlyPlace(slot))
      const lateAt = segmentLength * Math.floor(slot / slotsInSegment) + lateFrom
      view.codes.set(
        code.subarray(earlyLength),
        lateAt + (slot % slotsInSegment) * (codeLength - earlyLength),
      )
      view.whole[document] = docNo
    },
    clear(slot) {
      view.whole[docPlace(slot)] = 0
    },
    file(docNo, slots, cellsOf) {
      makeRoom({ bits: (docNo >> 3) + 1 })
      if (placesEnd > placesWaste * placesLive + slotsInSegment) sweep()
      reserve(placesEnd + slots.length)
      placesLive += slots.length - (view.runs[2 * docNo + 1] as number)
      view.runs[2 * docNo] = placesEnd
      view.runs[2 * docNo + 1] = slots.length
      for (const [at, slot] of slots.entries()) {
        view.whole[slotPlace(placesEnd + at)] = slot
        view.halves[cellPlace(placesEnd + at)] = cellsOf[at] as number
      }
      placesEnd += slots.length
    },
  }
}

// As kernel.wat has it. So many axes are looked at before it is told whether the others are worth it.
const axesEarly = 64
const earlyLength = axesEarly / 2
const slotsInSegment = 4_096
const blockLength = slotsInBlock * (4 + earlyLength)
const cellsFrom = (slotsInSegment / slotsInBlock) * blockLength
const placesFrom = cellsFrom + 2 * slotsInSegment
const lateFrom = placesFrom + 4 * slotsInSegment
// Chunks are met eight at a time.
const pastEnd = 8
const segmentLength = slotsInSegment * (10 + codeLength)
// More than the spread of all codes would call for: the best are so because all axes point their way, the later ones too.
const deviationsLate = 8
// A quarter of them may be nobody's before they are swept, and a few.
const placesWaste = 5 / 4

/** Of what lies in the segments from here on, in numbers of four bytes, or two. */
const docPlace = (slot: number): number =>
  (segmentLength * Math.floor(slot / slotsInSegment) +
    blockLength * Math.floor((slot % slotsInSegment) / slotsInBlock)) /
    4 +
  (slot % slotsInBlock)
const slotPlace = (place: number): number =>
  (segmentLength * Math.floor(place / slotsInSegment) + placesFrom) / 4 + (place % slotsInSegment)
const cellPlace = (place: number): number =>
  (segmentLength * Math.floor(place / slotsInSegment) + cellsFrom) / 2 + (place % slotsInSegment)

/** From its document on, in bytes. */
const earlyPlace = (slot: number): number => 4 * slotsInBlock + (earlyLength - 4) * (slot % slotsInBlock)

/** By axis, where it stands in `along`: of sixteen bytes of a code the lower bits, and the upper ones. */
const alongPlaces = Int32Array.from({ length: axesMax }, (_, axis) => {
  const { byte, shift } = placeOfAxis(axis)
  return 32 * (byte >> 4) + 4 * shift + (byte & 15)
})
const wholeAlong = 127

/** What 1 is as int16. Vectors are no longer, so that no sum of products is more than an int32 holds. */
const whole = 32_767

/** So many times as short. */
function putWhole(numbers: Float32Array, times: number, to: Int16Array): void {
  for (const [at, number] of numbers.entries())
    to[at] = Math.max(-whole, Math.min(whole, Math.round((number * whole) / times)))
}

const aligned = (bytes: number): number => 64 * Math.ceil(bytes / 64)

const deviationOf = (adds: Float32Array): number =>
  Math.sqrt(adds.reduce((sum, add) => sum + add * add, 0)) / stepOfDeviation

const pageSize = 65_536
// 4 GB: codes of 40 million passages.
const pagesMax = 65_536
// What is there already is not copied.
const growth = 1 / 8

function* rowsOf(numbers: Float32Array, dimensions: number): Generator<Float32Array> {
  for (let at = 0; at < numbers.length; at += dimensions) yield numbers.subarray(at, at + dimensions)
}

/** As far as it is used here: TypeScript has its types only among those of browsers. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Memory: new (pages: { readonly initial: number; readonly maximum: number }) => Memory
  readonly Instance: new (
    module: object,
    imports: { readonly kernel: { readonly memory: Memory } },
  ) => { readonly exports: Exports }
}

interface Memory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}

interface Global {
  value: number
}

/** Of kernel.wat. */
interface Exports
  extends Readonly<
    Record<
      | 'along'
      | 'counts'
      | 'order'
      | 'slots'
      | 'scores'
      | 'seenSlots'
      | 'seenScores'
      | 'blocks'
      | 'bits'
      | 'runs'
      | 'metSlots'
      | 'metCells'
      | 'cellSteps'
      | 'cellScores'
      | 'segments'
      | 'step'
      | 'above',
      Global
    >
  > {
  products(vectors: number, count: number, bytes: number, question: number, to: number, unit: number): void
  gather(runs: number): number
  meet(bytes: number, room: number): number
  survey(count: number): void
  choose(count: number, room: number): void
  look(
    from: number,
    count: number,
    unit: number,
    more: number,
    late: number,
    rows: number,
    seen: number,
  ): number
  keep(seen: number, rows: number): number
}

const compiled = new WebAssembly.Module(readFileSync(new URL('./kernel.wasm', import.meta.url)))
