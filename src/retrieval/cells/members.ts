import { setBit } from '../../kernel/bits.ts'
import { grown } from '../../kernel/grown.ts'
import { createKernel, type Kernel, slotsInBlock } from './kernel.ts'
import { countOf } from './kmeans.ts'
import { type CellModel, untoldOf } from './model.ts'

/**
 * Which chunks lie in which cell of one model, in memory. It only nominates: one too many finds nothing.
 *
 * A chunk has a slot, which it keeps: its code lies there in the kernel's memory, and what else is known of it at the same
 * place of the arrays here. Sixteen slots beside each other are a block, and belong to one cell, so that what is looked at
 * together lies together.
 */
export interface CellSet {
  readonly generation: number
  readonly model: CellModel
  /** See {@link untoldOf}. */
  readonly untold: number
  /** Chunks in it. */
  readonly size: number
  /** By slot: place of the chunk in its document. */
  readonly ordinals: Int32Array
  /** By slot: the next one of the same document; 0, which is no slot, after the last. */
  readonly next: Int32Array
  /** By number of a document: its first slot; 0 or nothing where there is none. */
  readonly firsts: Int32Array
  /** By block: its cell. */
  readonly cellOf: Uint16Array
  /** By cell: its blocks. */
  readonly blocks: readonly (readonly number[])[]
  readonly kernel: Kernel
  /** Bytes of all this, about. */
  readonly bytes: number
  /** Documents whose chunks are in it, as bits by number; may end before the largest number. */
  bits(): Uint8Array
  /** In place of what was known of the document. `cells` has one number a chunk; {@link noCell}: no vector. */
  put(docNo: number, cells: Uint16Array, codes: Uint8Array): void
  remove(docNo: number): void
}

/** Of a chunk without a vector. */
export const noCell = 0xffff

export function createCellSet(generation: number, model: CellModel): CellSet {
  const count = countOf(model.centroids)
  const kernel = createKernel(model)
  const blocks: number[][] = Array.from({ length: count }, () => [])
  /** By cell: the first of its slots that hold nothing; the others by `next`. */
  const holes = new Int32Array(count)
  let ordinals = new Int32Array(0)
  let next = new Int32Array(0)
  let cellOf = new Uint16Array(0)
  let firsts = new Int32Array(8_192)
  let bits = new Uint8Array(1_024)
  // Slot 0 is none.
  let blockCount = 1
  let size = 0

  /** Blocks for a cell that is full: a quarter more, beside each other, since they are read one after the other. */
  function addBlocks(cell: number): void {
    const own = blocks[cell] as number[]
    const first = blockCount
    const last = first + (own.length >> 2)
    const end = (last + 1) * slotsInBlock
    kernel.reserve(end)
    blockCount = last + 1
    if (end > next.length) {
      ordinals = grown(ordinals, lengthFor(ordinals, end))
      next = grown(next, lengthFor(next, end))
      cellOf = grown(cellOf, lengthFor(cellOf, next.length / slotsInBlock))
    }
    for (let block = first; block <= last; block += 1) {
      cellOf[block] = cell
      own.push(block)
    }
    for (let slot = end - 1; slot >= first * slotsInBlock; slot -= 1) leave(slot, cell)
  }

  function leave(slot: number, cell: number): void {
    kernel.clear(slot)
    next[slot] = holes[cell] ?? 0
    holes[cell] = slot
  }

  function take(cell: number): number {
    if (holes[cell] === 0) addBlocks(cell)
    const slot = holes[cell] ?? 0
    holes[cell] = next[slot] ?? 0
    return slot
  }

  function remove(docNo: number): void {
    for (let slot = firsts[docNo] ?? 0; slot !== 0; ) {
      const after = next[slot] ?? 0
      leave(slot, cellOf[Math.floor(slot / slotsInBlock)] ?? 0)
      size -= 1
      slot = after
    }
    if (docNo < firsts.length) firsts[docNo] = 0
    setBit(bits, docNo, false)
  }

  return {
    generation,
    model,
    untold: untoldOf(model),
    blocks,
    kernel,
    get size() {
      return size
    },
    get ordinals() {
      return ordinals
    },
    get next() {
      return next
    },
    get firsts() {
      return firsts
    },
    get cellOf() {
      return cellOf
    },
    get bytes() {
      return kernel.bytes + bits.length + cellOf.byteLength + 2 * next.byteLength + firsts.byteLength
    },
    bits: () => bits,
    put(docNo, cells, codes) {
      remove(docNo)
      if (docNo >= firsts.length) {
        firsts = grown(firsts, lengthFor(firsts, docNo + 1))
        bits = grown(bits, lengthFor(bits, firsts.length >> 3))
      }
      for (const [ordinal, cell] of cells.entries()) {
        if (cell >= count) continue
        const slot = take(cell)
        kernel.put(slot, docNo, codes, ordinal)
        ordinals[slot] = ordinal
        next[slot] = firsts[docNo] ?? 0
        firsts[docNo] = slot
        size += 1
      }
      setBit(bits, docNo)
    },
    remove,
  }
}

/** By a half, in whole blocks and bytes of bits. */
const lengthFor = ({ length }: { readonly length: number }, atLeast: number): number =>
  slotsInBlock * Math.ceil(Math.max(atLeast, 1.5 * length) / slotsInBlock)
