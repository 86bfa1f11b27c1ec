import type { Guarded } from '../../authz/gate.ts'
import { growArray } from '../../kernel/grow-array.ts'

/** A live document as the corpus knows it. */
export interface DocumentRow {
  readonly docNo: number
  readonly id: string
  readonly collection: string
  /** 0: not live. */
  readonly chunks: number
  /** The number of what is in force, never given again; 0: not live. */
  readonly publication: number
}

/** How long what came into force counts as new, in milliseconds, and milliseconds that never jump. */
export interface DocumentTableOptions {
  readonly newForMs: number
  readonly elapsed: () => number
}

/** The table without the side that writes. */
export type Documents = Omit<DocumentTable, 'put' | 'keepOnly' | 'allRead'>

/**
 * All live documents, by the number that stands beside their chunks and never changes. A document is live
 * when it has a chunk.
 */
export class DocumentTable {
  readonly #numbers = new Map<string, number>()
  readonly #ids: (string | undefined)[] = []
  // Collections are few: their names stand once.
  readonly #names: string[] = []
  readonly #numberByCollection = new Map<string, number>()
  #collections = new Int32Array(1024)
  #counts = new Int32Array(1024)
  #publications = new Int32Array(1024)
  #chunks = 0
  readonly #options: DocumentTableOptions
  // Until then all of it is new, without an entry for each.
  #allReadAt: number | undefined
  #isAllOld = false
  // When this process heard of what came into force since, the latest last.
  readonly #heardAt = new Map<number, number>()

  constructor(options: DocumentTableOptions) {
    this.#options = options
  }

  /** How many are live. */
  get size(): number {
    return this.#numbers.size
  }

  /** Live chunks together, exactly. */
  get chunks(): number {
    return this.#chunks
  }

  /** One more than the largest number seen. */
  get end(): number {
    return this.#ids.length
  }

  /** undefined: not live. */
  numberOf(documentId: string): number | undefined {
    return this.#numbers.get(documentId)
  }

  idOf(docNo: number): string | undefined {
    return this.#ids[docNo]
  }

  collectionOf(docNo: number): string | undefined {
    return this.#ids[docNo] === undefined ? undefined : this.#names[this.#collections[docNo] ?? -1]
  }

  /** Whether a live document is filed in one of these, now. */
  filedIn(collections: readonly string[]): (docNo: number) => boolean {
    const isWanted = new Uint8Array(this.#names.length)
    for (const name of collections) {
      const number = this.#numberByCollection.get(name)
      if (number !== undefined) isWanted[number] = 1
    }
    return (docNo) => this.#ids[docNo] !== undefined && isWanted[this.#collections[docNo] ?? -1] === 1
  }

  /** 0: not live. */
  chunksOf(docNo: number): number {
    return this.#counts[docNo] ?? 0
  }

  /** 0: not live. */
  publicationOf(docNo: number): number {
    return this.#publications[docNo] ?? 0
  }

  /** Under which name a chunk of it is found, and in what; undefined: not live. */
  foundAs(docNo: number): Required<Guarded> | undefined {
    const documentId = this.#ids[docNo]
    if (documentId === undefined) return undefined
    return { documentId, publication: this.publicationOf(docNo), isNew: this.#isNew(docNo) }
  }

  /** How many bits are set, and the live chunks of those documents together. */
  countIn(bits: Uint8Array): { readonly size: number; readonly chunks: number } {
    const counts = this.#counts
    let size = 0
    let chunks = 0
    for (let index = 0; index < bits.length; index++) {
      for (let remaining = bits[index] ?? 0; remaining !== 0; remaining &= remaining - 1) {
        size += 1
        chunks += counts[8 * index + 31 - Math.clz32(remaining & -remaining)] ?? 0
      }
    }
    return { size, chunks }
  }

  /** Numbers of those that are live, ascending. */
  *live(): Generator<number> {
    for (let docNo = 0; docNo < this.#ids.length; docNo++) if (this.#ids[docNo] !== undefined) yield docNo
  }

  /** Whether anything is different now that a filter by documents rests on. */
  put({ docNo, id, collection, chunks, publication }: DocumentRow): boolean {
    if (chunks === 0) return this.#remove(docNo)
    const collectionNumber = this.#numberOfCollection(collection)
    if (this.#ids[docNo] !== id || this.#publications[docNo] !== publication) this.#hear(docNo)
    const isSameChunks = this.#ids[docNo] === id && this.#counts[docNo] === chunks
    if (isSameChunks && this.#collections[docNo] === collectionNumber) {
      this.#publications[docNo] = publication
      return false
    }
    this.#remove(docNo)
    this.#makeRoom(docNo)
    // No holes: an array with them is a dictionary to the engine.
    while (this.#ids.length < docNo) this.#ids.push(undefined)
    this.#ids[docNo] = id
    this.#numbers.set(id, docNo)
    this.#counts[docNo] = chunks
    this.#publications[docNo] = publication
    this.#collections[docNo] = collectionNumber
    this.#chunks += chunks
    return true
  }

  /** Everything that is live was put in once. */
  allRead(): void {
    this.#allReadAt ??= this.#options.elapsed()
  }

  /** Takes out what is not among these numbers, and gives what it took. */
  keepOnly(docNos: ReadonlySet<number>): number[] {
    const removed = [...this.live()].filter((docNo) => !docNos.has(docNo))
    for (const docNo of removed) this.#remove(docNo)
    return removed
  }

  #numberOfCollection(collection: string): number {
    const knownNumber = this.#numberByCollection.get(collection)
    if (knownNumber !== undefined) return knownNumber
    this.#numberByCollection.set(collection, this.#names.length)
    return this.#names.push(collection) - 1
  }

  #isNew(docNo: number): boolean {
    const { newForMs, elapsed } = this.#options
    const heardAt = this.#heardAt.get(docNo)
    if (heardAt !== undefined) return elapsed() - heardAt < newForMs
    // Nearly always: what a search finds has been there for long.
    if (this.#isAllOld) return false
    this.#isAllOld = this.#allReadAt !== undefined && elapsed() - this.#allReadAt >= newForMs
    return !this.#isAllOld
  }

  #hear(docNo: number): void {
    if (this.#allReadAt === undefined) return
    const { newForMs, elapsed } = this.#options
    const time = elapsed()
    for (const [other, heardAt] of this.#heardAt) {
      if (time - heardAt < newForMs) break
      this.#heardAt.delete(other)
    }
    this.#heardAt.delete(docNo)
    this.#heardAt.set(docNo, time)
  }

  #makeRoom(docNo: number): void {
    if (docNo < this.#counts.length) return
    const length = Math.max(docNo + 1, 2 * this.#counts.length)
    this.#counts = growArray(this.#counts, length)
    this.#collections = growArray(this.#collections, length)
    this.#publications = growArray(this.#publications, length)
  }

  #remove(docNo: number): boolean {
    const id = this.#ids[docNo]
    if (id === undefined) return false
    // A copy of the database may have given the number to another.
    if (this.#numbers.get(id) === docNo) this.#numbers.delete(id)
    this.#ids[docNo] = undefined
    this.#chunks -= this.#counts[docNo] ?? 0
    this.#counts[docNo] = 0
    this.#publications[docNo] = 0
    return true
  }
}
