import { setBit } from '../../kernel/bits.ts'
import { countOf } from './kmeans.ts'
import { type CellModel, codeLength } from './model.ts'

/** The chunks of one cell, in no order: chunk `at` is `ordinals[at]` of document `docs[at]`. */
export interface Cell {
  readonly size: number
  readonly docs: Int32Array
  readonly ordinals: Int32Array
  /** {@link codeLength} bytes each. */
  readonly codes: Int8Array
}

/** Which chunks lie in which cell of one model, in memory. It only nominates: one too many finds nothing. */
export interface CellSet {
  readonly generation: number
  readonly model: CellModel
  readonly cells: readonly Cell[]
  /** Documents whose chunks are in it, as bits by number; may end before the largest number. */
  bits(): Uint8Array
  /** In place of what was known of the document. `cells` has one number a chunk; {@link noCell}: no vector. */
  put(docNo: number, cells: Uint16Array, codes: Int8Array): void
  remove(docNo: number): void
}

/** Of a chunk without a vector. */
export const noCell = 0xffff

interface Growing {
  size: number
  docs: Int32Array
  ordinals: Int32Array
  codes: Int8Array
}

export function createCellSet(generation: number, model: CellModel): CellSet {
  const cells: Growing[] = Array.from({ length: countOf(model.centroids) }, () => ({
    size: 0,
    docs: new Int32Array(0),
    ordinals: new Int32Array(0),
    codes: new Int8Array(0),
  }))
  const cellsOf = new Map<number, Uint16Array>()
  let bits = new Uint8Array(1024)

  function remove(docNo: number): void {
    for (const cell of cellsOf.get(docNo) ?? []) {
      const own = cells[cell]
      if (own !== undefined) removeFrom(own, docNo)
    }
    if (cellsOf.delete(docNo)) bits[docNo >> 3] = (bits[docNo >> 3] ?? 0) & ~(1 << (docNo & 7))
  }

  return {
    generation,
    model,
    cells,
    bits: () => bits,
    put(docNo, places, codes) {
      remove(docNo)
      for (const [ordinal, place] of places.entries()) {
        const own = cells[place]
        if (own !== undefined)
          addTo(own, docNo, ordinal, codes.subarray(ordinal * codeLength, (ordinal + 1) * codeLength))
      }
      cellsOf.set(docNo, Uint16Array.from(new Set(places)))
      if (docNo >> 3 >= bits.length) bits = grown(bits, Uint8Array, (docNo >> 3) + 1)
      setBit(bits, docNo)
    },
    remove,
  }
}

function addTo(cell: Growing, docNo: number, ordinal: number, code: Int8Array): void {
  const at = cell.size
  if (at === cell.docs.length) {
    cell.docs = grown(cell.docs, Int32Array, at + 1)
    cell.ordinals = grown(cell.ordinals, Int32Array, at + 1)
    cell.codes = grown(cell.codes, Int8Array, cell.docs.length * codeLength, 1)
  }
  cell.docs[at] = docNo
  cell.ordinals[at] = ordinal
  cell.codes.set(code, at * codeLength)
  cell.size = at + 1
}

function removeFrom(cell: Growing, docNo: number): void {
  for (let at = cell.size - 1; at >= 0; at -= 1) {
    if (cell.docs[at] !== docNo) continue
    const last = cell.size - 1
    cell.docs[at] = cell.docs[last] ?? 0
    cell.ordinals[at] = cell.ordinals[last] ?? 0
    cell.codes.copyWithin(at * codeLength, last * codeLength, (last + 1) * codeLength)
    cell.size = last
  }
}

function grown<Numbers extends Uint8Array | Int8Array | Int32Array>(
  old: Numbers,
  Type: new (length: number) => Numbers,
  atLeast: number,
  times = 1.5,
): Numbers {
  const larger = new Type(Math.max(atLeast, Math.ceil(old.length * times)))
  larger.set(old)
  return larger
}
