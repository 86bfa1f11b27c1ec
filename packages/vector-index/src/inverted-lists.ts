import { vectorCount } from './kmeans.ts'
import { type IvfModel, residualVarianceOf } from './model.ts'
import { createQuantizedCodes, type QuantizedCodes, slotsInBlock } from './quantized-codes.ts'
import { SimdScanner } from './simd.ts'

/**
 * Which chunks lie in which partition of one model, in memory. It only nominates: a chunk too many finds nothing.
 *
 * A chunk has a slot, which it keeps. Its code lies there in memory that other threads read, too, and what else is known
 * of it at the same index of the arrays here. Sixteen slots beside each other are a block, and belong to one partition,
 * so that what is scanned together lies together.
 */
export interface InvertedLists {
  readonly generation: number
  readonly model: IvfModel
  /** See {@link residualVarianceOf}. */
  readonly residualVariance: number
  /** Chunks in it. */
  readonly size: number
  /** By slot: which chunk of its document it is, from 0. */
  readonly ordinals: Int32Array
  readonly codes: QuantizedCodes
  /** What this thread scans them with. */
  readonly scanner: SimdScanner
  /** Bytes of all this, about. */
  readonly bytes: number
  /** Documents whose chunks are in it, as bits by number; may end before the largest number. */
  bits(): Uint8Array
  /** In place of what was known of the document. `partitions` has one number a chunk; {@link noPartition}: no vector. */
  put(docNo: number, partitions: Uint16Array, codes: Uint8Array): void
  remove(docNo: number): void
}

/** Of a chunk without a vector. */
export const noPartition = 0xffff

/** Empty inverted lists of one model. `generation` names the model to whoever reads them. */
export function createInvertedLists(generation: number, model: IvfModel): InvertedLists {
  const partitionCount = vectorCount(model.centroids)
  const codes = createQuantizedCodes(model)
  const scanner = new SimdScanner(codes)
  const blockCounts = new Int32Array(partitionCount)
  /** By partition: the first of its slots that hold nothing; each names the next one in `ordinals`. */
  const freeSlots = new Int32Array(partitionCount)
  let ordinals = new Int32Array(0)
  let bits = new Uint8Array(1_024)
  // Slot 0 is none.
  let blockCount = 1
  let size = 0

  /** Blocks for a partition that is full: a quarter more, beside each other, since they are read one after the other. */
  function addBlocks(partition: number): void {
    const count = blockCounts[partition] as number
    const firstBlock = blockCount
    const added = 1 + (count >> 2)
    const slotsEnd = (firstBlock + added) * slotsInBlock
    codes.reserve(slotsEnd)
    if (slotsEnd > ordinals.length) ordinals = growArray(ordinals, lengthFor(ordinals, slotsEnd))
    blockCount += added
    blockCounts[partition] = count + added
    for (let slot = slotsEnd - 1; slot >= firstBlock * slotsInBlock; slot -= 1) releaseSlot(slot, partition)
    codes.addBlocks(partition, firstBlock, added)
  }

  function releaseSlot(slot: number, partition: number): void {
    codes.clear(slot)
    ordinals[slot] = freeSlots[partition] ?? 0
    freeSlots[partition] = slot
  }

  function takeSlot(partition: number): number {
    if (freeSlots[partition] === 0) addBlocks(partition)
    const slot = freeSlots[partition] ?? 0
    freeSlots[partition] = ordinals[slot] ?? 0
    return slot
  }

  function remove(docNo: number): void {
    const { slots, partitions } = codes.slotsOf(docNo)
    codes.setSlots(docNo, [], [])
    for (const [index, slot] of slots.entries()) releaseSlot(slot, partitions[index] as number)
    size -= slots.length
    setBit(bits, docNo, false)
  }

  return {
    generation,
    model,
    residualVariance: residualVarianceOf(model),
    codes,
    scanner,
    get size() {
      return size
    },
    get ordinals() {
      return ordinals
    },
    get bytes() {
      return codes.bytes + scanner.bytes + bits.length + ordinals.byteLength
    },
    bits: () => bits,
    put(docNo, partitions, documentCodes) {
      remove(docNo)
      if (docNo >= 8 * bits.length) bits = growArray(bits, lengthFor(bits, (docNo >> 3) + 1))
      const slots: number[] = []
      const slotPartitions: number[] = []
      try {
        for (const [ordinal, partition] of partitions.entries()) {
          if (partition >= partitionCount) continue
          const slot = takeSlot(partition)
          slots.push(slot)
          slotPartitions.push(partition)
          codes.put(slot, docNo, documentCodes, ordinal)
          ordinals[slot] = ordinal
        }
        codes.setSlots(docNo, slots, slotPartitions)
      } catch (error) {
        // There is no memory: what nobody would know of could not be removed.
        for (const [index, slot] of slots.entries()) releaseSlot(slot, slotPartitions[index] as number)
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
function setBit(bits: Uint8Array, index: number, on = true): void {
  const byte = bits[index >> 3]
  if (byte !== undefined) bits[index >> 3] = on ? byte | (1 << (index & 7)) : byte & ~(1 << (index & 7))
}

/** By a half, in whole blocks and bytes of bits. */
const lengthFor = ({ length }: { readonly length: number }, atLeast: number): number =>
  slotsInBlock * Math.ceil(Math.max(atLeast, 1.5 * length) / slotsInBlock)
