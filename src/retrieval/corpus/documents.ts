import { growArray } from '../../kernel/grow-array.ts'

/** All live documents, by the number that stands beside their chunks and never changes. A document is live when it has a chunk. */
export interface Documents {
  /** How many are live. */
  readonly size: number
  /** Live chunks together, exactly. */
  readonly chunks: number
  /** One more than the largest number seen. */
  readonly end: number
  /** undefined: not live. */
  numberOf(documentId: string): number | undefined
  idOf(docNo: number): string | undefined
  collectionOf(docNo: number): string | undefined
  /** Whether a live document is filed in one of these, now. */
  filedIn(collections: readonly string[]): (docNo: number) => boolean
  /** 0: not live. */
  chunksOf(docNo: number): number
  /** How many bits are set, and the live chunks of those documents together. */
  countIn(bits: Uint8Array): { readonly size: number; readonly chunks: number }
  /** Numbers of those that are live, ascending. */
  live(): Generator<number>
}

/** A live document as the corpus knows it. */
export interface DocumentRow {
  readonly docNo: number
  readonly id: string
  readonly collection: string
  /** 0: not live. */
  readonly chunks: number
}

/** With the side that writes. */
export interface DocumentTable extends Documents {
  /** Whether anything is different now. */
  put(row: DocumentRow): boolean
  /** Takes out what is not among these numbers, and gives what it took. */
  keepOnly(docNos: ReadonlySet<number>): number[]
}

/** Makes an empty table of live documents by their numbers. */
export function createDocumentTable(): DocumentTable {
  const numbers = new Map<string, number>()
  const ids: (string | undefined)[] = []
  // Collections are few: their names stand once.
  const names: string[] = []
  const numberByCollection = new Map<string, number>()
  let collections = new Int32Array(1024)
  let counts = new Int32Array(1024)
  let chunks = 0

  function placeOf(collection: string): number {
    const knownNumber = numberByCollection.get(collection)
    if (knownNumber !== undefined) return knownNumber
    numberByCollection.set(collection, names.length)
    return names.push(collection) - 1
  }

  function makeRoom(docNo: number): void {
    if (docNo < counts.length) return
    const length = Math.max(docNo + 1, 2 * counts.length)
    counts = growArray(counts, length)
    collections = growArray(collections, length)
  }

  function remove(docNo: number): boolean {
    const id = ids[docNo]
    if (id === undefined) return false
    // A copy of the database may have given the number to another.
    if (numbers.get(id) === docNo) numbers.delete(id)
    ids[docNo] = undefined
    chunks -= counts[docNo] ?? 0
    counts[docNo] = 0
    return true
  }

  function putDocument({ docNo, id, collection, chunks: count }: DocumentRow): boolean {
    if (count === 0) return remove(docNo)
    const collectionNumber = placeOf(collection)
    if (ids[docNo] === id && counts[docNo] === count && collections[docNo] === collectionNumber) return false
    remove(docNo)
    makeRoom(docNo)
    // No holes: an array with them is a dictionary to the engine.
    while (ids.length < docNo) ids.push(undefined)
    ids[docNo] = id
    numbers.set(id, docNo)
    counts[docNo] = count
    collections[docNo] = collectionNumber
    chunks += count
    return true
  }

  return {
    get size() {
      return numbers.size
    },
    get chunks() {
      return chunks
    },
    get end() {
      return ids.length
    },
    numberOf: (id) => numbers.get(id),
    idOf: (docNo) => ids[docNo],
    collectionOf: (docNo) => (ids[docNo] === undefined ? undefined : names[collections[docNo] ?? -1]),
    filedIn(collectionNames) {
      const isWanted = new Uint8Array(names.length)
      for (const name of collectionNames) {
        const collectionNumber = numberByCollection.get(name)
        if (collectionNumber !== undefined) isWanted[collectionNumber] = 1
      }
      return (docNo) => ids[docNo] !== undefined && isWanted[collections[docNo] ?? -1] === 1
    },
    chunksOf: (docNo) => counts[docNo] ?? 0,
    countIn(bits) {
      let size = 0
      let chunkCount = 0
      for (let index = 0; index < bits.length; index++) {
        for (let remaining = bits[index] ?? 0; remaining !== 0; remaining &= remaining - 1) {
          size += 1
          chunkCount += counts[8 * index + 31 - Math.clz32(remaining & -remaining)] ?? 0
        }
      }
      return { size, chunks: chunkCount }
    },
    *live() {
      for (let docNo = 0; docNo < ids.length; docNo++) if (ids[docNo] !== undefined) yield docNo
    },
    put: putDocument,
    keepOnly(docNos) {
      const removedDocNos: number[] = []
      for (let docNo = 0; docNo < ids.length; docNo++) {
        if (!docNos.has(docNo) && remove(docNo)) removedDocNos.push(docNo)
      }
      return removedDocNos
    },
  }
}
