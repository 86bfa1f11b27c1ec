import { vectorCount } from './kmeans.ts'
import { codeLength, componentCount, type IvfModel } from './model.ts'
import { type Memory, type SharedMemory, sharedMemory } from './wasm.ts'

/**
 * What a {@link createKernel kernel} looks at, and whatever thread it is in reads: codes in their slots, and of documents in
 * which slots their chunks are. It lies in two memories that only ever grow, so that nothing that somebody reads is moved:
 *
 *   codes: segments of 4,096 slots, with as many places
 *   documents: how many places are somebody's · centroids and axes · blocks by cell · runs of places by document
 *
 * Only who made it writes. Whoever reads meanwhile may meet what is half written: each number in it is one that was written
 * at some time, so that it reads no further than this goes, and nominates at worst what is not visible or not there.
 */
export interface QuantizedCodes extends SharedCodes {
  /** The document in a slot; 0: none. */
  docAt(slot: number): number
  /** In which slots a document's chunks are, and in which cells these lie. */
  slotsOf(docNo: number): { readonly slots: Int32Array; readonly partitions: Uint16Array }
  /** Memory for the slots before this one. Throws where there is none: before anything lies in them. */
  reserve(end: number): void
  /** So many blocks from this one on, beside each other, are a cell's. */
  addBlocks(cell: number, first: number, count: number): void
  /** Puts the code at this place of `codes` into a reserved slot, whose document is this one. */
  put(slot: number, docNo: number, codes: Uint8Array, at: number): void
  /** Nothing is in the slot any more. */
  clear(slot: number): void
  /** A document's chunks are in these slots, which lie in these cells. */
  setSlots(docNo: number, slots: readonly number[], cells: readonly number[]): void
  /** Bytes of its memories. */
  readonly bytes: number
}

/** What is handed to whoever reads; to other threads, too. */
export interface SharedCodes {
  readonly partitions: number
  readonly dimensions: number
  /** Of the model's axes. */
  readonly steps: Float32Array
  readonly codeMemory: SharedMemory
  readonly documentMemory: SharedMemory
}

/** Where in the memory of documents its parts begin, in bytes. */
export function layoutOf({ partitions: cells, dimensions }: Pick<SharedCodes, 'partitions' | 'dimensions'>) {
  // Sixteen numbers are read at a time: past the end of a vector they are 0.
  const bytesEach = 32 * Math.ceil(dimensions / 16)
  const vectors = cells + componentCount
  const vectorsAt = 64
  const blocksAt = vectorsAt + vectors * bytesEach
  return { bytesEach, vectors, vectorsAt, blocksAt, runsAt: blocksAt + 8 * blockRunsMax * cells }
}

/** Each run of a cell's blocks is a quarter of what it has: with so many, 4 GB are all its own. */
export const blockRunsMax = 64

export function createQuantizedCodes({ centroids, components: axes, steps }: IvfModel): QuantizedCodes {
  const { dimensions } = centroids
  const cells = vectorCount(centroids)
  const { bytesEach, vectorsAt, blocksAt, runsAt } = layoutOf({ partitions: cells, dimensions })
  const codes = sharedMemory(1)
  const documents = sharedMemory(Math.ceil((runsAt + runsMin) / pageSize))
  for (const [at, from] of [...rowsOf(centroids.numbers, dimensions), ...rowsOf(axes, dimensions)].entries())
    quantizeInto(from, 1, new Int16Array(documents.buffer, vectorsAt + at * bytesEach, dimensions))
  const live = new Int32Array(documents.buffer, 0, 1)
  const blocks = new Int32Array(documents.buffer, blocksAt, 2 * blockRunsMax * cells)
  const blockRuns = new Uint8Array(cells)
  let view = arrange()
  /** Where the places end that documents have, or had. */
  let placesEnd = 0

  /** What looked at a memory before it grew does not see what is new. */
  function arrange() {
    return {
      runs: new Int32Array(documents.buffer, runsAt),
      codes: new Uint8Array(codes.buffer),
      whole: new Int32Array(codes.buffer),
      halves: new Uint16Array(codes.buffer),
    }
  }

  function grow(memory: Memory, lacking: number): void {
    if (lacking <= 0) return
    memory.grow(Math.ceil(Math.max(lacking, memory.buffer.byteLength * growth) / pageSize))
    view = arrange()
  }

  const reserve = (end: number): void =>
    grow(codes, segmentLength * Math.ceil(end / slotsInSegment) - view.codes.length)

  const makeRun = (docNo: number): void => grow(documents, 8 * (docNo + 1) - view.runs.byteLength)

  /** All places without those that no document has any more, in the order of documents. */
  function sweep(): void {
    const placesLive = live[0] as number
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
    partitions: cells,
    dimensions,
    steps,
    codeMemory: codes,
    documentMemory: documents,
    get bytes() {
      return codes.buffer.byteLength + documents.buffer.byteLength
    },
    docAt: (slot) => view.whole[docPlace(slot)] ?? 0,
    slotsOf(docNo) {
      const first = view.runs[2 * docNo] ?? 0
      const length = view.runs[2 * docNo + 1] ?? 0
      return {
        slots: Int32Array.from({ length }, (_, at) => view.whole[slotPlace(first + at)] as number),
        partitions: Uint16Array.from({ length }, (_, at) => view.halves[cellPlace(first + at)] as number),
      }
    },
    reserve,
    addBlocks(cell, first, count) {
      const run = 2 * (cell * blockRunsMax + (blockRuns[cell] as number))
      blocks[run] = first
      // Last: where it is 0 there is no run yet.
      blocks[run + 1] = count
      blockRuns[cell] = (blockRuns[cell] as number) + 1
    },
    put(slot, docNo, codes, at) {
      makeRun(docNo)
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
    setSlots(docNo, slots, cellsOf) {
      makeRun(docNo)
      if (placesEnd > placesWaste * (live[0] as number) + slotsInSegment) sweep()
      reserve(placesEnd + slots.length)
      live[0] = (live[0] as number) + slots.length - (view.runs[2 * docNo + 1] as number)
      for (const [at, slot] of slots.entries()) {
        view.whole[slotPlace(placesEnd + at)] = slot
        view.halves[cellPlace(placesEnd + at)] = cellsOf[at] as number
      }
      view.runs[2 * docNo] = placesEnd
      view.runs[2 * docNo + 1] = slots.length
      placesEnd += slots.length
    },
  }
}

// As simd.wat has it. So many axes are looked at before it is told whether the others are worth it.
export const earlyComponents = 64
/** Slots beside each other whose codes lie beside each other. */
export const slotsInBlock = 16
const earlyLength = earlyComponents / 2
const slotsInSegment = 4_096
const blockLength = slotsInBlock * (4 + earlyLength)
const cellsFrom = (slotsInSegment / slotsInBlock) * blockLength
const placesFrom = cellsFrom + 2 * slotsInSegment
const lateFrom = placesFrom + 4 * slotsInSegment
const segmentLength = slotsInSegment * (10 + codeLength)
// A quarter of them may be nobody's before they are swept, and a few.
const placesWaste = 5 / 4
// Of 32,768 documents.
const runsMin = 8 * 32_768

/** In numbers of four bytes, or two. */
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

/** What 1 is as int16. Vectors are no longer, so that no sum of products is more than an int32 holds. */
export const int16Max = 32_767

/** So many times as short. */
export function quantizeInto(numbers: Float32Array, times: number, to: Int16Array): void {
  // By index: an iterator makes a pair for each number, of each question.
  for (let at = 0; at < numbers.length; at += 1)
    to[at] = Math.max(-int16Max, Math.min(int16Max, Math.round(((numbers[at] as number) * int16Max) / times)))
}

const pageSize = 65_536
// What is there already is not copied.
const growth = 1 / 8

function* rowsOf(numbers: Float32Array, dimensions: number): Generator<Float32Array> {
  for (let at = 0; at < numbers.length; at += dimensions) yield numbers.subarray(at, at + dimensions)
}
