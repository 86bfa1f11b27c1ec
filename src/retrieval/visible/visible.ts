import { hasBit, setBit } from '../../kernel/bits.ts'

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

/** Some documents, in whichever form they came; the other is made when it is asked for. Never changes. */
export interface Content {
  readonly chunks: number
  docNos(): Int32Array
  bits(): Buffer
}

/** From numbers in ascending order. */
export function contentOf(docNos: Int32Array, chunks: number): Content {
  let bits: Buffer | undefined
  return {
    chunks,
    docNos: () => docNos,
    bits() {
      bits ??= bitsOf(docNos)
      return bits
    },
  }
}

/** From a bitmap that is not written to any more. */
export function contentIn(bits: Buffer, chunks: number): Content {
  let docNos: Int32Array | undefined
  return {
    chunks,
    docNos() {
      docNos ??= docNosIn(bits)
      return docNos
    },
    bits: () => bits,
  }
}

/** From numbers in ascending order. */
export const visibleOf = (docNos: Int32Array, chunks: number, corpusChunks: number): Visible =>
  visibleAs(contentOf(docNos, chunks), corpusChunks)

export const visibleAs = (content: Content, corpusChunks: number): Visible => ({
  get docNos() {
    return content.docNos()
  },
  chunks: content.chunks,
  corpusChunks,
  has: (docNo) => hasBit(content.bits(), docNo),
  bits: content.bits,
})

function bitsOf(docNos: Int32Array): Buffer {
  const bits = Buffer.alloc(((docNos.at(-1) ?? -1) >> 3) + 1)
  for (const docNo of docNos) setBit(bits, docNo)
  return bits
}

function docNosIn(bits: Buffer): Int32Array {
  let size = 0
  for (const byte of bits) for (let rest = byte; rest !== 0; rest &= rest - 1) size += 1
  const docNos = new Int32Array(size)
  let at = 0
  for (const [index, byte] of bits.entries()) {
    // The lowest bit that is set, and then without it.
    for (let rest = byte; rest !== 0; rest &= rest - 1)
      docNos[at++] = 8 * index + 31 - Math.clz32(rest & -rest)
  }
  return docNos
}
