import { vectorCount } from './kmeans.ts'
import { codeLength, componentCount, type IvfModel } from './model.ts'
import { type Memory, type SharedMemory, sharedMemory } from './wasm.ts'

/** What is handed to whoever reads; to other threads, too. */
export interface SharedCodes {
  readonly partitions: number
  readonly dimensions: number
  /** Of the model's components. */
  readonly steps: Float32Array
  readonly codeMemory: SharedMemory
  readonly documentMemory: SharedMemory
}

/** Where in the memory of documents what begins, in bytes. */
export function layoutOf({ partitions, dimensions }: Pick<SharedCodes, 'partitions' | 'dimensions'>) {
  // Sixteen numbers are read at a time: past the end of a vector they are 0.
  const bytesEach = 32 * Math.ceil(dimensions / 16)
  const vectors = partitions + componentCount
  const vectorsAt = 64
  const blocksAt = vectorsAt + vectors * bytesEach
  return { bytesEach, vectors, vectorsAt, blocksAt, runsAt: blocksAt + 8 * blockRunsMax * partitions }
}

/** Each run of a partition's blocks is a quarter of what it has: with so many, 4 GB are all its own. */
export const blockRunsMax = 64

/**
 * What a scanner reads, in whatever thread it is: codes in their slots, and of documents in which slots their
 * chunks are. It lies in two memories that only ever grow, so that nothing that somebody reads is moved:
 *
 * codes: segments of 4,096 slots, with as many entries documents: how many entries are somebody's · centroids
 * and components · blocks by partition · runs of entries by document
 *
 * Only who made it writes. Whoever reads meanwhile may meet what is half written: each number in it was
 * written at some time, so that it reads no further than this goes, and nominates at worst what is not
 * visible or not there.
 */
export class QuantizedCodes implements SharedCodes {
  readonly partitions: number
  readonly dimensions: number
  readonly steps: Float32Array
  readonly codeMemory = sharedMemory(1)
  readonly documentMemory: SharedMemory
  readonly #runsAt: number
  readonly #liveEntries: Int32Array
  readonly #blocks: Int32Array
  /** By partition: how many runs of blocks it has. */
  readonly #blockRuns: Uint8Array
  #view: ReturnType<typeof viewsOf>
  /** Where the entries end that documents have, or had. */
  #entriesEnd = 0

  /** Empty, with the vectors of this model. */
  constructor({ centroids, components, steps }: IvfModel) {
    const { dimensions } = centroids
    const partitions = vectorCount(centroids)
    const { bytesEach, vectorsAt, blocksAt, runsAt } = layoutOf({ partitions, dimensions })
    const documents = sharedMemory(Math.ceil((runsAt + runsMin) / pageSize))
    for (const [row, vector] of [
      ...rowsOf(centroids.numbers, dimensions),
      ...rowsOf(components, dimensions),
    ].entries())
      quantizeInto(vector, 1, new Int16Array(documents.buffer, vectorsAt + row * bytesEach, dimensions))
    this.partitions = partitions
    this.dimensions = dimensions
    this.steps = steps
    this.documentMemory = documents
    this.#runsAt = runsAt
    this.#liveEntries = new Int32Array(documents.buffer, 0, 1)
    this.#blocks = new Int32Array(documents.buffer, blocksAt, 2 * blockRunsMax * partitions)
    this.#blockRuns = new Uint8Array(partitions)
    this.#view = viewsOf(this.codeMemory, documents, runsAt)
  }

  /** Bytes of its memories. */
  get bytes(): number {
    return this.codeMemory.buffer.byteLength + this.documentMemory.buffer.byteLength
  }

  /** The document in a slot; 0: none. */
  docAt(slot: number): number {
    return this.#view.int32[docAddress(slot)] ?? 0
  }

  /** In which slots a document's chunks are, and in which partitions these lie. */
  slotsOf(docNo: number): { readonly slots: Int32Array; readonly partitions: Uint16Array } {
    const { runs, int32, uint16 } = this.#view
    const firstEntry = runs[2 * docNo] ?? 0
    const length = runs[2 * docNo + 1] ?? 0
    return {
      slots: Int32Array.from({ length }, (_, index) => int32[slotEntry(firstEntry + index)] as number),
      partitions: Uint16Array.from(
        { length },
        (_, index) => uint16[partitionEntry(firstEntry + index)] as number,
      ),
    }
  }

  /** Memory for the slots before this one. Throws where there is none: before anything lies in them. */
  reserve(slotsEnd: number): void {
    const needed = segmentLength * Math.ceil(slotsEnd / slotsInSegment)
    this.#grow(this.codeMemory, needed - this.#view.codes.length)
  }

  /** So many blocks from this one on, beside each other, are a partition's. */
  addBlocks(partition: number, firstBlock: number, count: number): void {
    const runCount = this.#blockRuns[partition] as number
    const run = 2 * (partition * blockRunsMax + runCount)
    this.#blocks[run] = firstBlock
    // Last: where it is 0 there is no run yet.
    this.#blocks[run + 1] = count
    this.#blockRuns[partition] = runCount + 1
  }

  /** Puts the code at this index of `codes` into a reserved slot, whose document is this one. */
  put(slot: number, docNo: number, codes: Uint8Array, index: number): void {
    this.#makeRun(docNo)
    const view = this.#view
    const code = codes.subarray(index * codeLength, (index + 1) * codeLength)
    const address = docAddress(slot)
    view.codes.set(code.subarray(0, earlyLength), 4 * address + earlyOffset(slot))
    const lateAt = segmentLength * Math.floor(slot / slotsInSegment) + lateCodesAt
    view.codes.set(code.subarray(earlyLength), lateAt + (slot % slotsInSegment) * (codeLength - earlyLength))
    view.int32[address] = docNo
  }

  /** Nothing is in the slot any more. */
  clear(slot: number): void {
    this.#view.int32[docAddress(slot)] = 0
  }

  /** A document's chunks are in these slots, which lie in these partitions. */
  setSlots(docNo: number, slots: readonly number[], partitions: readonly number[]): void {
    this.#makeRun(docNo)
    const liveCount = this.#liveEntries[0] as number
    if (this.#entriesEnd > entriesWaste * liveCount + slotsInSegment) this.#sweep(liveCount)
    const firstEntry = this.#entriesEnd
    this.reserve(firstEntry + slots.length)
    const { runs, int32, uint16 } = this.#view
    this.#liveEntries[0] = liveCount + slots.length - (runs[2 * docNo + 1] as number)
    for (const [index, slot] of slots.entries()) {
      int32[slotEntry(firstEntry + index)] = slot
      uint16[partitionEntry(firstEntry + index)] = partitions[index] as number
    }
    runs[2 * docNo] = firstEntry
    runs[2 * docNo + 1] = slots.length
    this.#entriesEnd = firstEntry + slots.length
  }

  #makeRun(docNo: number): void {
    this.#grow(this.documentMemory, 8 * (docNo + 1) - this.#view.runs.byteLength)
  }

  /** What looked at a memory before it grew does not see what is new. */
  #grow(memory: Memory, lacking: number): void {
    if (lacking <= 0) return
    memory.grow(Math.ceil(Math.max(lacking, memory.buffer.byteLength * growth) / pageSize))
    this.#view = viewsOf(this.codeMemory, this.documentMemory, this.#runsAt)
  }

  /** All entries without those that no document has any more, in the order of documents. */
  #sweep(liveCount: number): void {
    const { runs, int32, uint16 } = this.#view
    const slots = new Int32Array(liveCount)
    const partitions = new Uint16Array(liveCount)
    let count = 0
    for (let run = 0; run < runs.length; run += 2) {
      const firstEntry = runs[run] as number
      const length = runs[run + 1] as number
      runs[run] = count
      for (let entry = firstEntry; entry < firstEntry + length; entry += 1, count += 1) {
        slots[count] = int32[slotEntry(entry)] as number
        partitions[count] = uint16[partitionEntry(entry)] as number
      }
    }
    for (let entry = 0; entry < count; entry += 1) {
      int32[slotEntry(entry)] = slots[entry] as number
      uint16[partitionEntry(entry)] = partitions[entry] as number
    }
    this.#entriesEnd = count
  }
}

const viewsOf = (codes: Memory, documents: Memory, runsAt: number) => ({
  runs: new Int32Array(documents.buffer, runsAt),
  codes: new Uint8Array(codes.buffer),
  int32: new Int32Array(codes.buffer),
  uint16: new Uint16Array(codes.buffer),
})

// As simd.wat has it. So many components are scanned before it is known whether the others are worth it.
/** Components that are scanned first; most slots are out after these. */
export const earlyComponents = 64
/** Slots beside each other whose codes lie beside each other. */
export const slotsInBlock = 16
const earlyLength = earlyComponents / 2
const slotsInSegment = 4_096
const blockLength = slotsInBlock * (4 + earlyLength)
const partitionEntriesAt = (slotsInSegment / slotsInBlock) * blockLength
const slotEntriesAt = partitionEntriesAt + 2 * slotsInSegment
const lateCodesAt = slotEntriesAt + 4 * slotsInSegment
const segmentLength = slotsInSegment * (10 + codeLength)
// A quarter of them may be nobody's before they are swept, and a few.
const entriesWaste = 5 / 4
// Of 32,768 documents.
const runsMin = 8 * 32_768

/** In numbers of four bytes, or two. */
const docAddress = (slot: number): number =>
  (segmentLength * Math.floor(slot / slotsInSegment) +
    blockLength * Math.floor((slot % slotsInSegment) / slotsInBlock)) /
    4 +
  (slot % slotsInBlock)
const slotEntry = (entry: number): number =>
  (segmentLength * Math.floor(entry / slotsInSegment) + slotEntriesAt) / 4 + (entry % slotsInSegment)
const partitionEntry = (entry: number): number =>
  (segmentLength * Math.floor(entry / slotsInSegment) + partitionEntriesAt) / 2 + (entry % slotsInSegment)

/** From its document on, in bytes. */
const earlyOffset = (slot: number): number => 4 * slotsInBlock + (earlyLength - 4) * (slot % slotsInBlock)

/** What 1 is as int16. Vectors are no longer, so that no sum of products is more than an int32 holds. */
export const int16Max = 32_767

/** Writes int16 numbers that stand for a vector so many times as short. */
export function quantizeInto(numbers: Float32Array, length: number, target: Int16Array): void {
  // By index: an iterator makes a pair for each number, of each query.
  for (let index = 0; index < numbers.length; index += 1) {
    const scaled = ((numbers[index] as number) * int16Max) / length
    target[index] = Math.max(-int16Max, Math.min(int16Max, Math.round(scaled)))
  }
}

const pageSize = 65_536
// What is there already is not copied.
const growth = 1 / 8

function* rowsOf(numbers: Float32Array, dimensions: number): Generator<Float32Array> {
  for (let offset = 0; offset < numbers.length; offset += dimensions)
    yield numbers.subarray(offset, offset + dimensions)
}
