/** The documents that a search may touch, already narrowed by nomination, collections and filter. Never changes. */
export interface Visible {
  /** Ascending. As a parameter of a query it is a Postgres `int[]`. */
  readonly docNos: Int32Array
  /** Their live chunks together: an exact count, from which the plan is chosen. */
  readonly chunks: number
  /**
   * All live chunks there are. Exact; before the corpus was read it is Postgres' own estimate, which no choice may
   * rest on that costs recall.
   */
  readonly corpusChunks: number
  has(docNo: number): boolean
  /**
   * One bit for each number, the lowest first: what `get_bit(bytea, bigint)` reads. It may end before the largest
   * number that there is: guard with `case when doc_no < 8 * length(bits)`. Not to be written to.
   */
  bits(): Buffer
}

/** From numbers in ascending order. */
export function visibleOf(docNos: Int32Array, chunks: number, corpusChunks: number): Visible {
  let bits: Buffer | undefined
  const toBits = (): Buffer => (bits ??= bitsOf(docNos))
  return {
    docNos,
    chunks,
    corpusChunks,
    has: (docNo) => hasBit(toBits(), docNo),
    bits: toBits,
  }
}

function bitsOf(docNos: Int32Array): Buffer {
  const bits = Buffer.alloc(((docNos.at(-1) ?? -1) >> 3) + 1)
  for (const docNo of docNos) setBit(bits, docNo)
  return bits
}

export const hasBit = (bits: Uint8Array, at: number): boolean =>
  (((bits[at >> 3] ?? 0) >> (at & 7)) & 1) === 1

export function setBit(bits: Uint8Array, at: number): void {
  bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7))
}
