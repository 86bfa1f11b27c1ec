import { type IvfModel, residualVarianceOf } from './model.ts'
import { QuantizedCodes, slotsInBlock } from './quantized-codes.ts'
import { SimdScanner } from './simd.ts'

/**
 * Which chunks lie in which partition of one model, in memory. It only nominates: a chunk too many finds
 * nothing.
 *
 * A chunk has a slot, which it keeps. Its code lies there in memory that other threads read, too, and what
 * else is known of it at the same index of the arrays here. Sixteen slots beside each other are a block, and
 * belong to one partition, so that what is scanned together lies together.
 */
export class InvertedLists {
  readonly generation: number
  readonly model: IvfModel
  /** See {@link residualVarianceOf}. */
  readonly residualVariance: number
  readonly codes: QuantizedCodes
  /** What this thread scans them with. */
  readonly scanner: SimdScanner
  readonly #blockCounts: Int32Array
  /** By partition: the first of its slots that hold nothing; each names the next one in `ordinals`. */
  readonly #freeSlots: Int32Array
  #ordinals = new Int32Array(0)
  #bits = new Uint8Array(1_024)
  // Slot 0 is none.
  #blockCount = 1
  #size = 0

  /** Empty. `generation` names the model to whoever reads them. */
  constructor(generation: number, model: IvfModel) {
    this.generation = generation
    this.model = model
    this.residualVariance = residualVarianceOf(model)
    this.codes = new QuantizedCodes(model)
    this.scanner = new SimdScanner(this.codes)
    this.#blockCounts = new Int32Array(this.codes.partitions)
    this.#freeSlots = new Int32Array(this.codes.partitions)
  }

  /** Chunks in it. */
  get size(): number {
    return this.#size
  }

  /** By slot: which chunk of its document it is, from 0. */
  get ordinals(): Int32Array {
    return this.#ordinals
  }

  /** Bytes of all this, about. */
  get bytes(): number {
    return this.codes.bytes + this.scanner.bytes + this.#bits.length + this.#ordinals.byteLength
  }

  /** Documents whose chunks are in it, as bits by number; may end before the largest number. */
  bits(): Uint8Array {
    return this.#bits
  }

  /**
   * In place of what was known of the document. `partitions` has one number a chunk; {@link noPartition}: no
   * vector.
   */
  put(docNo: number, partitions: Uint16Array, codes: Uint8Array): void {
    this.remove(docNo)
    if (docNo >= 8 * this.#bits.length)
      this.#bits = growArray(this.#bits, lengthFor(this.#bits, (docNo >> 3) + 1))
    const slots: number[] = []
    const slotPartitions: number[] = []
    try {
      for (const [ordinal, partition] of partitions.entries()) {
        if (partition >= this.codes.partitions) continue
        const slot = this.#takeSlot(partition)
        slots.push(slot)
        slotPartitions.push(partition)
        this.codes.put(slot, docNo, codes, ordinal)
        this.#ordinals[slot] = ordinal
      }
      this.codes.setSlots(docNo, slots, slotPartitions)
    } catch (error) {
      // There is no memory: what nobody would know of could not be removed.
      for (const [index, slot] of slots.entries()) this.#releaseSlot(slot, slotPartitions[index] as number)
      throw error
    }
    this.#size += slots.length
    setBit(this.#bits, docNo)
  }

  remove(docNo: number): void {
    const { slots, partitions } = this.codes.slotsOf(docNo)
    this.codes.setSlots(docNo, [], [])
    for (const [index, slot] of slots.entries()) this.#releaseSlot(slot, partitions[index] as number)
    this.#size -= slots.length
    setBit(this.#bits, docNo, false)
  }

  /**
   * Blocks for a partition that is full: a quarter more, beside each other, since they are read one after the
   * other.
   */
  #addBlocks(partition: number): void {
    const count = this.#blockCounts[partition] as number
    const firstBlock = this.#blockCount
    const added = 1 + (count >> 2)
    const slotsEnd = (firstBlock + added) * slotsInBlock
    this.codes.reserve(slotsEnd)
    if (slotsEnd > this.#ordinals.length)
      this.#ordinals = growArray(this.#ordinals, lengthFor(this.#ordinals, slotsEnd))
    this.#blockCount += added
    this.#blockCounts[partition] = count + added
    for (let slot = slotsEnd - 1; slot >= firstBlock * slotsInBlock; slot -= 1)
      this.#releaseSlot(slot, partition)
    this.codes.addBlocks(partition, firstBlock, added)
  }

  #releaseSlot(slot: number, partition: number): void {
    this.codes.clear(slot)
    this.#ordinals[slot] = this.#freeSlots[partition] ?? 0
    this.#freeSlots[partition] = slot
  }

  #takeSlot(partition: number): number {
    if (this.#freeSlots[partition] === 0) this.#addBlocks(partition)
    const slot = this.#freeSlots[partition] ?? 0
    this.#freeSlots[partition] = this.#ordinals[slot] ?? 0
    return slot
  }
}

/** Of a chunk without a vector. */
export const noPartition = 0xffff

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
