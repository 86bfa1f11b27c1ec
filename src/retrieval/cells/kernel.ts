import { readFileSync } from 'node:fs'
import { countOf } from './kmeans.ts'
import { axesMax, type CellModel, codeLength, middleOf, stepOfDeviation } from './model.ts'

/**
 * Scores of codes by the hundred: arithmetic over many numbers at once, in WebAssembly, some ten times as fast as the same
 * loops in JavaScript. What it reads lies in a memory of its own, so that for a question nothing is copied but the question:
 *
 *   along · question · centroids · axes · products of these with the question · slots · scores · codes, which grow
 *
 * A chunk's score is that of its cell, the product of centroid and question, and what its code adds.
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
  /** Of each cell the inner product of its centroid and the question. Lies there until the next question. */
  ask(question: Float32Array): Float32Array
  /**
   * Puts scores for the last question in place of those of cells, for the first `count` slots. Drops those that hardly
   * reach `least`; those that are left stand from the start of `slots` and `scores` on. Returns how many.
   */
  score(count: number, least: number): number
  /** Puts the code at this place of `codes` into a slot. */
  put(slot: number, codes: Uint8Array, at: number): void
}

/** Codes that are looked at in one go. */
export const slotsMax = 2_048

export function createKernel({ centroids, axes, steps }: CellModel): Kernel {
  const { dimensions } = centroids
  const cells = countOf(centroids)
  const vectors = cells + axesMax
  // Eight numbers are read at a time: past the end of a vector they are 0.
  const bytesEach = 32 * Math.ceil(dimensions / 8)
  const alongAt = 0
  const questionAt = alongAt + 2 * axesMax
  const vectorsAt = questionAt + bytesEach
  const productsAt = vectorsAt + vectors * bytesEach
  const slotsAt = productsAt + 4 * vectors
  const scoresAt = slotsAt + 4 * slotsMax
  const codesAt = 16 * Math.ceil((scoresAt + 4 * slotsMax) / 16)
  const memory = new WebAssembly.Memory({ initial: Math.ceil(codesAt / pageSize), maximum: pagesMax })
  const { products, score } = new WebAssembly.Instance(compiled, { kernel: { memory } }).exports
  for (const [at, from] of [...rows(centroids.numbers, dimensions), ...rows(axes, dimensions)].entries())
    new Float32Array(memory.buffer, vectorsAt + at * bytesEach, dimensions).set(from)
  // Memory that has grown is another buffer, and what looked at the former one sees nothing any more.
  let view = viewOf(memory.buffer)
  let [unit, more, moreLate, deviation, deviationLate] = [0, 0, 0, 0, 0]

  function viewOf(buffer: ArrayBuffer) {
    return {
      along: new Int16Array(buffer, alongAt, axesMax),
      question: new Float32Array(buffer, questionAt, dimensions),
      cellScores: new Float32Array(buffer, productsAt, cells),
      alongAxes: new Float32Array(buffer, productsAt + 4 * cells, axesMax),
      slots: new Int32Array(buffer, slotsAt, slotsMax),
      scores: new Float32Array(buffer, scoresAt, slotsMax),
      codes: new Uint8Array(buffer, codesAt),
    }
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
    ask(question) {
      view.question.set(question)
      products(vectorsAt, vectors, bytesEach, questionAt, productsAt)
      const adds = view.alongAxes.map((along, axis) => along * (steps[axis] as number))
      // The largest of them becomes the largest int16.
      unit = adds.reduce((most, add) => Math.max(most, Math.abs(add)), 0) / 32_767 || 1
      more = moreOf(adds)
      deviation = deviationOf(adds)
      const late = adds.subarray(axesEarly)
      moreLate = moreOf(late)
      deviationLate = deviationOf(late)
      for (const [axis, add] of adds.entries()) view.along[axis] = Math.round(add / unit)
      return view.cellScores
    },
    score(count, least) {
      // In `more` there is what the later axes take away, and not yet what they add: as much, on average.
      const early = least + moreLate - deviationsLate * deviationLate
      return score(codesAt, slotsAt, scoresAt, count, alongAt, unit, more, early)
    },
    put(slot, codes, at) {
      const lacking = (slot + 1) * codeLength - view.codes.length
      if (lacking > 0) {
        memory.grow(Math.ceil(Math.max(lacking, memory.buffer.byteLength * growth) / pageSize))
        view = viewOf(memory.buffer)
      }
      view.codes.set(codes.subarray(at * codeLength, (at + 1) * codeLength), slot * codeLength)
    },
  }
}

/** Of what each axis adds: the lowest level's middle along all of them, which is what counting levels from 0 leaves out. */
const moreOf = (adds: Float32Array): number => adds.reduce((sum, add) => sum + add * middleOf(0), 0)

const deviationOf = (adds: Float32Array): number =>
  Math.sqrt(adds.reduce((sum, add) => sum + add * add, 0)) / stepOfDeviation

// As kernel.wat has it: so many axes are looked at before it is told whether the others are worth it.
const axesEarly = 64
// More than the spread of all codes would call for: the best are so because all axes point their way, the later ones too.
const deviationsLate = 5

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

/** Of kernel.wat. Most are places in its memory, in bytes. */
interface Exports {
  products(vectors: number, count: number, bytes: number, question: number, to: number): void
  score(
    codes: number,
    slots: number,
    scores: number,
    count: number,
    along: number,
    unit: number,
    more: number,
    least: number,
  ): number
}

const compiled = new WebAssembly.Module(readFileSync(new URL('./kernel.wasm', import.meta.url)))
