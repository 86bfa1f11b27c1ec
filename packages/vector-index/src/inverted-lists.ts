import { vectorCount } from './kmeans.ts'
import { type IvfModel, residualVarianceOf } from './model.ts'
import { createQuantizedCodes, type QuantizedCodes, slotsInBlock } from './quantized-codes.ts'
import { createSimdScanner, type SimdScanner } from './simd.ts'

/**
 * Which chunks lie in which cell of one model, in memory. It only nominates: one too many finds nothing.
 *
 * A chunk has a slot, which it keeps: its code lies there in memory that other threads read, too, and what else is known of it at the same
 * place of the arrays here. Sixteen slots beside each other are a block, and belong to one cell, so that what is looked at
 * together lies together.
 */
export interface InvertedLists {
  readonly generation: number
  readonly model: IvfModel
  /** See {@link residualVarianceOf}. */
  readonly residualVariance: number
  /** Chunks in it. */
  readonly size: number
  /** By slot: place of the chunk in its document. */
  readonly ordinals: Int32Array
  readonly codes: QuantizedCodes
  /** What this thread looks at them with. */
  readonly scanner: SimdScanner
  /** Bytes of all this, about. */
  readonly bytes: number
  /** Documents whose chunks are in it, as bits by number; may end before the largest number. */
  bits(): Uint8Array
  /** In place of what was known of the document. `cells` has one number a chunk; {@link noPartition}: no vector. */
  put(docNo: number, cells: Uint16Array, codes: Uint8Array): void
  remove(docNo: number): void
}

/** Of a chunk without a vector. */
export const noPartition = 0xffff

export function createInvertedLists(generation: number, model: IvfModel): InvertedLists {
  const count = vectorCount(model.centroids)
  const codes = createQuantizedCodes(model)
  const kernel = createSimdScanner(codes)
  const blocksOf = new Int32Array(count)
  /** By cell: the first of its slots that hold nothing; the others by `ordinals`. */
  const holes = new Int32Array(count)
  let ordinals = new Int32Array(0)
  let bits = new Uint8Array(1_024)
  // Slot 0 is none.
  let blockCount = 1
  let size = 0

  /** Blocks for a cell that is full: a quarter more, beside each other, since they are read one after the other. */
  function addBlocks(cell: number): void {
    const own = blocksOf[cell] as number
    const first = blockCount
    const added = 1 + (own >> 2)
    const end = (first + added) * slotsInBlock
    codes.reserve(end)
    if (end > ordinals.length) ordinals = growArray(ordinals, lengthFor(ordinals, end))
    blockCount += added
    blocksOf[cell] = own + added
    for (let slot = end - 1; slot >= first * slotsInBlock; slot -= 1) leave(slot, cell)
    codes.addBlocks(cell, first, added)
  }

  function leave(slot: number, cell: number): void {
    codes.clear(slot)
    ordinals[slot] = holes[cell] ?? 0
    holes[cell] = slot
  }

  function take(cell: number): number {
    if (holes[cell] === 0) addBlocks(cell)
    const slot = holes[cell] ?? 0
    holes[cell] = ordinals[slot] ?? 0
    return slot
  }

  function remove(docNo: number): void {
    const { slots, partitions: cells } = codes.slotsOf(docNo)
    codes.setSlots(docNo, [], [])
    for (const [at, slot] of slots.entries()) leave(slot, cells[at] as number)
    size -= slots.length
    setBit(bits, docNo, false)
  }

  return {
    generation,
    model,
    residualVariance: residualVarianceOf(model),
    codes,
    scanner: kernel,
    get size() {
      return size
    },
    get ordinals() {
      return ordinals
    },
    get bytes() {
      return codes.bytes + kernel.bytes + bits.length + ordinals.byteLength
    },
    bits: () => bits,
    put(docNo, cells, given) {
      remove(docNo)
      if (docNo >= 8 * bits.length) bits = growArray(bits, lengthFor(bits, (docNo >> 3) + 1))
      const slots: number[] = []
      const cellsOf: number[] = []
      try {
        for (const [ordinal, cell] of cells.entries()) {
          if (cell >= count) continue
          const slot = take(cell)
          slots.push(slot)
          cellsOf.push(cell)
          codes.put(slot, docNo, given, ordinal)
          ordinals[slot] = ordinal
        }
        codes.setSlots(docNo, slots, cellsOf)
      } catch (error) {
        // There is no memory: what nobody would know of could not be removed.
        for (const [at, slot] of slots.entries()) leave(slot, cellsOf[at] as number)
        throw error
      }
      size += slots.length
      setBit(bits, docNo)
    },
    remove,
  }
}

/** A longer copy; what there is more of is 0. */
function growArray<Numbers extends Int32Array | Uint8Array>(array: Numbers, length: number): Numbers {
  const larger = new (array.constructor as new (length: number) => Numbers)(length)
  larger.set(array)
  return larger
}

/** Does nothing beyond the end. */
function setBit(bits: Uint8Array, at: number, on = true): void {
  const byte = bits[at >> 3]
  if (byte !== undefined) bits[at >> 3] = on ? byte | (1 << (at & 7)) : byte & ~(1 << (at & 7))
}

/** By a half, in whole blocks and bytes of bits. */
const lengthFor = ({ length }: { readonly length: number }, atLeast: number): number =>
  slotsInBlock * Math.ceil(Math.max(atLeast, 1.5 * length) / slotsInBlock)
