import { hasBit, setBit } from '../../kernel/bits.ts'
import type { Documents } from '../corpus/documents.ts'

/**
 * The documents that a search may touch, already narrowed by nomination, collections and filter. Never
 * changes.
 */
export interface AccessFilter {
  /** Ascending. As a parameter of a query it is a Postgres `int[]`. */
  readonly docNos: Int32Array
  /** How many documents: known without their numbers. */
  readonly size: number
  /** Their live chunks together: an exact count, from which the plan is chosen. */
  readonly chunks: number
  /**
   * All live chunks there are. Exact; before the corpus was read it is Postgres' own estimate, which no
   * choice may rest on that costs recall.
   */
  readonly corpusChunks: number
  has(docNo: number): boolean
  /**
   * One bit for each number, the lowest first: what `get_bit(bytea, bigint)` reads. It may end before the
   * largest number that there is: guard with `case when doc_no < 8 * length(bits)`. Not to be written to.
   */
  bits(): Buffer
  /**
   * Publication numbers of those that are in force at the moment of this call, ascending: the filter of an
   * index that knows chunks by their publication, and so keeps an old revision's apart. Numbers are never
   * given again. The same array for as long as these documents have the same. Not to be written to.
   */
  publications(): Int32Array
}

/** The publication in force of a document; 0: none. */
export type PublicationOf = (docNo: number) => number

/** Some documents, in whichever form they came; the other is made when it is asked for. Never changes. */
export interface Content {
  /** Documents, and their chunks. */
  readonly size: number
  readonly chunks: number
  docNos(): Int32Array
  bits(): Buffer
  /** As {@link AccessFilter.publications}. */
  publications(publicationOf: PublicationOf): Int32Array
}

/** From numbers in ascending order. */
export function contentOf(docNos: Int32Array, chunks: number): Content {
  let bits: Buffer | undefined
  return {
    size: docNos.length,
    chunks,
    docNos: () => docNos,
    bits() {
      bits ??= bitsOf(docNos)
      return bits
    },
    ...keepPublications(() => docNos),
  }
}

/** From a bitmap that is not written to any more. */
export function contentIn(bits: Buffer, { size, chunks }: Pick<Content, 'size' | 'chunks'>): Content {
  let made: Int32Array | undefined
  const docNos = () => {
    made ??= docNosIn(bits, size)
    return made
  }
  return { size, chunks, docNos, bits: () => bits, ...keepPublications(docNos) }
}

/**
 * Looks each publication up each time, which costs little, and sorts them only where one of these documents
 * has another: what changes for others takes no time here.
 */
function keepPublications(docNos: () => Int32Array): Pick<Content, 'publications'> {
  let kept: { readonly byDocument: Buffer; readonly ascending: Int32Array } | undefined
  return {
    publications(publicationOf) {
      const numbers = new Int32Array(docNos().length)
      let count = 0
      for (const docNo of docNos()) {
        const number = publicationOf(docNo)
        if (number > 0) numbers[count++] = number
      }
      const byDocument = Buffer.from(numbers.buffer, 0, 4 * count)
      if (kept?.byDocument.equals(byDocument) !== true)
        kept = { byDocument, ascending: numbers.slice(0, count).sort() }
      return kept.ascending
    },
  }
}

/**
 * Those whose bit is set there, too. What is in neither costs nearly nothing: eight documents are a byte. As
 * long as the content is, whatever is set there: how long the next steps take would tell of a document that
 * is not the person's.
 */
export const narrowed = (content: Content, mask: Buffer, documents: Documents): Content =>
  masked(content, mask, documents, 0x00)

/** Those whose bit is not set there. As long as the content is, whatever is set there. */
export const except = (content: Content, mask: Buffer, documents: Documents): Content =>
  masked(content, mask, documents, 0xff)

/** `flipped`: the bits of each byte of the mask that are turned round before it counts. */
function masked(content: Content, mask: Buffer, documents: Documents, flipped: number): Content {
  const contentBits = content.bits()
  const bits = Buffer.alloc(contentBits.length)
  for (let index = 0; index < contentBits.length; index++)
    bits[index] = (contentBits[index] ?? 0) & ((mask[index] ?? 0) ^ flipped)
  return contentIn(bits, documents.countIn(bits))
}

/** With these live documents, too. */
export function including(content: Content, documentIds: readonly string[], documents: Documents): Content {
  const contentBits = content.bits()
  const addedDocNos = documentIds
    .flatMap((id) => documents.numberOf(id) ?? [])
    .filter((docNo) => !hasBit(contentBits, docNo))
  if (addedDocNos.length === 0) return content
  const bits = Buffer.alloc(Math.max(contentBits.length, (Math.max(...addedDocNos) >> 3) + 1))
  bits.set(contentBits)
  for (const docNo of addedDocNos) setBit(bits, docNo)
  return contentIn(bits, documents.countIn(bits))
}

/** How much is drawn, and what decides which of it. */
export interface Drawing {
  readonly chunksMax: number
  readonly by: string
}

/**
 * All of it, or documents that have at most so many chunks together: in their order from a place that `by`
 * names, which nobody can choose where that is a keyed digest. What does not fit in any more is passed over.
 */
export function draw(
  content: Content,
  documents: Pick<Documents, 'chunksOf'>,
  { chunksMax, by }: Drawing,
): Content {
  if (content.chunks <= chunksMax) return content
  const docNos = content.docNos()
  const start = Buffer.from(by).reduce((place, byte) => (256 * place + byte) % docNos.length, 0)
  const drawn: number[] = []
  let chunks = 0
  for (let nth = 0; nth < docNos.length && chunks < chunksMax; nth += 1) {
    const docNo = docNos[(start + nth) % docNos.length] as number
    const more = documents.chunksOf(docNo)
    if (chunks + more > chunksMax) continue
    drawn.push(docNo)
    chunks += more
  }
  return contentOf(Int32Array.from(drawn).sort(), chunks)
}

/** From numbers in ascending order. */
export const visibleOf = (
  docNos: Int32Array,
  chunks: number,
  corpusChunks: number,
  publicationOf: PublicationOf,
): AccessFilter => visibleAs(contentOf(docNos, chunks), corpusChunks, publicationOf)

/** What is visible as the access filter of a search. */
export const visibleAs = (
  content: Content,
  corpusChunks: number,
  publicationOf: PublicationOf,
): AccessFilter => ({
  get docNos() {
    return content.docNos()
  },
  size: content.size,
  chunks: content.chunks,
  corpusChunks,
  has: (docNo) => hasBit(content.bits(), docNo),
  bits: content.bits,
  publications: () => content.publications(publicationOf),
})

function bitsOf(docNos: Int32Array): Buffer {
  const bits = Buffer.alloc(((docNos.at(-1) ?? -1) >> 3) + 1)
  for (const docNo of docNos) setBit(bits, docNo)
  return bits
}

function docNosIn(bits: Buffer, size: number): Int32Array {
  const docNos = new Int32Array(size)
  let written = 0
  for (const [index, byte] of bits.entries()) {
    // The lowest bit that is set, and then without it.
    for (let remaining = byte; remaining !== 0; remaining &= remaining - 1)
      docNos[written++] = 8 * index + 31 - Math.clz32(remaining & -remaining)
  }
  return docNos
}
