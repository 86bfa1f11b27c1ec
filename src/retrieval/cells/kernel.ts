import { readFileSync } from 'node:fs'
import { countOf, dot } from './kmeans.ts'
import { axesMax, type CellModel, codeLength, middleOf, stepOfDeviation } from './model.ts'

/**
 * Scores of codes by the hundred: arithmetic over many numbers at once, in WebAssembly, some ten times as fast as the same
 * loops in JavaScript. What it reads lies in a memory of its own, so that for a question nothing is copied but the question
 * and who sees what:
 *
 *   along · counts · slots · scores · question · centroids · axes · products of these with the question · seen · bits · segments
 *
 * Segments grow: of slots, the documents and the codes. A chunk's score is that of its cell, the product of centroid and
 * question, and what its code adds.
 */
export interface Kernel {
  /** Bytes of its memory. */
  readonly bytes: number
  /** Where it is written whose codes are looked at next, up to {@link slotsMax} of them, */
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
  /** Adds the visible slots of a block to the first `count`, with the score of its cell. Returns how many there are then. */
  gather(block: number, score: number, count: number): number
  /** Looks at the codes in the first `count` slots, and keeps what may be among the best. */
  look(count: number): void
  /** The document in a slot; 0: none. */
  docAt(slot: number): number
  /** Memory for the slots before this one. Throws where there is none: before anything lies in them. */
  reserve(end: number): void
  /** Puts the code at this place of `codes` into a reserved slot, whose document is this one. */
  put(slot: number, docNo: number, codes: Uint8Array, at: number): void
  /** Nothing is in the slot any more. */
  clear(slot: number): void
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

/** Scores lie between -1 and 1, and by codes a little beside. Sorting thousands of them to find one takes longer than counting. */
export const steps = 4_096
export const stepOf = (score: number): number =>
  Math.max(0, Math.min(steps - 1, ((score + 2) * (steps / 4)) | 0))
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
  const countsAt = alongAt + 2 * axesMax
  const slotsAt = countsAt + 4 * steps
  const scoresAt = slotsAt + 4 * slotsMax
  const questionAt = scoresAt + 4 * slotsMax
  const vectorsAt = questionAt + bytesEach
  const productsAt = vectorsAt + vectors * bytesEach
  const seenAt = aligned(productsAt + 4 * vectors)
  /** Chunks that may be seen, and bytes of bits. */
  let [seenMax, bitsMax] = [16_384, 16_384]
  const segmentsAt = () => seenAt + 8 * seenMax + bitsMax
  const memory = new WebAssembly.Memory({ initial: Math.ceil(segmentsAt() / pageSize), maximum: pagesMax })
  const kernel = new WebAssembly.Instance(compiled, { kernel: { memory } }).exports
  const { products, gather, look } = kernel
  for (const [at, from] of [...rows(centroids.numbers, dimensions), ...rows(axes, dimensions)].entries())
    putWhole(from, 1, new Int16Array(memory.buffer, vectorsAt + at * bytesEach, dimensions))
  let view = arrange()
  let [unit, more, late, deviation, wanted, seen] = [0, 0, 0, 0, 0, 0]

  /** Memory that has grown is another buffer, and what looked at the former one sees nothing any more. */
  function arrange() {
    const { buffer } = memory
    const at = {
      along: alongAt,
      counts: countsAt,
      slots: slotsAt,
      scores: scoresAt,
      seenSlots: seenAt,
      seenScores: seenAt + 4 * seenMax,
      bits: seenAt + 8 * seenMax,
      segments: segmentsAt(),
    }
    for (const [name, place] of Object.entries(at)) kernel[name as keyof typeof at].value = place
    return {
      along: new Int16Array(buffer, at.along, axesMax),
      counts: new Int32Array(buffer, at.counts, steps),
      slots: new Int32Array(buffer, at.slots, slotsMax),
      scores: new Float32Array(buffer, at.scores, slotsMax),
      question: new Int16Array(buffer, questionAt, dimensions),
      cellScores: new Float32Array(buffer, productsAt, cells),
      alongAxes: new Float32Array(buffer, productsAt + 4 * cells, axesMax),
      seenSlots: new Int32Array(buffer, at.seenSlots, seenMax),
      seenScores: new Float32Array(buffer, at.seenScores, seenMax),
      bits: new Uint8Array(buffer, at.bits, bitsMax),
      codes: new Uint8Array(buffer, at.segments),
      docs: new Int32Array(buffer, at.segments),
    }
  }

  /** More room before the segments: they are moved. */
  function makeRoom(seenLeast: number, bitsLeast: number): void {
    if (seenLeast <= seenMax && bitsLeast <= bitsMax) return
    const before = segmentsAt()
    const length = memory.buffer.byteLength
    const seenNow = aligned(Math.max(seenMax, 2 * seenLeast))
    const bitsNow = aligned(Math.max(bitsMax, 2 * bitsLeast))
    // First, since there may be no memory.
    memory.grow(Math.ceil((8 * (seenNow - seenMax) + bitsNow - bitsMax) / pageSize))
    seenMax = seenNow
    bitsMax = bitsNow
    view = arrange()
    new Uint8Array(memory.buffer).copyWithin(segmentsAt(), before, length)
  }

  /** Leaves the best `wanted` of those seen. */
  function keepBest(): void {
    const { seenSlots, seenScores } = view
    let [kept, level] = [0, wanted - kernel.above.value]
    for (let at = 0; at < seen; at += 1) {
      const own = stepOf(seenScores[at] as number) - kernel.step.value
      if (own < 0 || (own === 0 && level <= 0)) continue
      if (own === 0) level -= 1
      seenSlots[kept] = seenSlots[at] as number
      seenScores[kept] = seenScores[at] as number
      kept += 1
    }
    seen = kept
  }

  const docPlace = (slot: number): number =>
    (segmentLength >> 2) * Math.floor(slot / slotsInSegment) + (slot % slotsInSegment)

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
      makeRoom(2 * most + slotsMax, 0)
      wanted = most
      seen = 0
      kernel.step.value = 0
      kernel.above.value = 0
      view.counts.fill(0)
      // Documents past their end are not visible; past the room for them there are none.
      view.bits.set(bits.subarray(0, bitsMax))
      view.bits.fill(0, bits.length)
      const length = Math.sqrt(dot(question, 0, question, 0, dimensions)) || 1
      putWhole(question, length, view.question)
      products(vectorsAt, vectors, bytesEach, questionAt, productsAt, length / whole ** 2)
      const adds = view.alongAxes.map((along, axis) => along * (stepsOfAxes[axis] as number))
      // The largest of them becomes the largest int16.
      unit = adds.reduce((most, add) => Math.max(most, Math.abs(add)), 0) / whole || 1
      more = moreOf(adds)
      deviation = deviationOf(adds)
      const lateAdds = adds.subarray(axesEarly)
      // In `more` there is what the later axes take away, and not yet what they add: as much, on average.
      late = deviationsLate * deviationOf(lateAdds) - moreOf(lateAdds)
      for (const [axis, add] of adds.entries()) view.along[axis] = Math.round(add / unit)
      return view.cellScores
    },
    gather,
    look(count) {
      seen = look(count, unit, more, late, wanted, seen)
      if (seen + slotsMax > seenMax) keepBest()
    },
    docAt: (slot) => view.docs[docPlace(slot)] ?? 0,
    reserve(end) {
      const lacking = segmentLength * Math.ceil(end / slotsInSegment) - view.codes.length
      if (lacking <= 0) return
      memory.grow(Math.ceil(Math.max(lacking, memory.buffer.byteLength * growth) / pageSize))
      view = arrange()
    },
    put(slot, docNo, codes, at) {
      makeRoom(0, (docNo >> 3) + 1)
      const place = slot % slotsInSegment
      const from = segmentLength * Math.floor(slot / slotsInSegment)
      const code = codes.subarray(at * codeLength, (at + 1) * codeLength)
      view.codes.set(code.subarray(0, earlyLength), from + docsLength + place * earlyLength)
      const lateAt = from + docsLength + slotsInSegment * earlyLength
      view.codes.set(code.subarray(earlyLength), lateAt + place * (codeLength - earlyLength))
      view.docs[docPlace(slot)] = docNo
    },
    clear(slot) {
      view.docs[docPlace(slot)] = 0
    },
  }
}

// As kernel.wat has it. So many axes are looked at before it is told whether the others are worth it.
const axesEarly = 64
const earlyLength = axesEarly / 2
const slotsInSegment = 4_096
const docsLength = 4 * slotsInSegment
const segmentLength = docsLength + slotsInSegment * codeLength
// More than the spread of all codes would call for: the best are so because all axes point their way, the later ones too.
const deviationsLate = 8

/** What 1 is as int16. Vectors are no longer, so that no sum of products is more than an int32 holds. */
const whole = 32_767

/** So many times as short. */
function putWhole(numbers: Float32Array, times: number, to: Int16Array): void {
  for (const [at, number] of numbers.entries())
    to[at] = Math.max(-whole, Math.min(whole, Math.round((number * whole) / times)))
}

const aligned = (bytes: number): number => 64 * Math.ceil(bytes / 64)

/** Of what each axis adds: the lowest level's middle along all of them, which is what counting levels from 0 leaves out. */
const moreOf = (adds: Float32Array): number => adds.reduce((sum, add) => sum + add * middleOf(0), 0)

const deviationOf = (adds: Float32Array): number =>
  Math.sqrt(adds.reduce((sum, add) => sum + add * add, 0)) / stepOfDeviation

const pageSize = 65_536
// 4 GB: codes of 40 million passages.
const pagesMax = 65_536
// What is there already is not copied.
const growth = 1 / 8

function* rows(numbers: Float32Array, dimensions: number): Generator<Float32Array> {
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
      | 'slots'
      | 'scores'
      | 'seenSlots'
      | 'seenScores'
      | 'bits'
      | 'segments'
      | 'step'
      | 'above',
      Global
    >
  > {
  products(vectors: number, count: number, bytes: number, question: number, to: number, unit: number): void
  gather(block: number, score: number, count: number): number
  look(count: number, unit: number, more: number, late: number, rows: number, seen: number): number
}

const compiled = new WebAssembly.Module(readFileSync(new URL('./kernel.wasm', import.meta.url)))
