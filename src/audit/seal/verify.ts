import { PagedBits } from '../../kernel/bits.ts'
import { pluralize } from '../../kernel/pluralize.ts'
import type { Database } from '../../store/sql.ts'
import { readRows, type SealedRow } from './canonical.ts'
import { digestOfLeaves, headBefore, headOf, noHead, readSeals, type SealRow } from './head.ts'
import type { ExportedHead } from './heads.ts'
import { isSigned, keyName } from './key.ts'
import { findUnsealed } from './lag.ts'
import { Listing } from './listed.ts'
import { type People, readPeople } from './people.ts'
import { droppedByRetention } from './retention.ts'

/** Something that is not as it was sealed, and where. */
export interface Finding {
  readonly kind:
    | 'changed'
    | 'swapped'
    | 'removed'
    | 'unsealed'
    | 'erased_without_erasure'
    /**
     * Who was given a document by it is listed in another way, or it is listed and there is no such record.
     */
    | 'listed_otherwise'
    | 'seal_changed'
    | 'seal_missing'
    | 'foreign_key'
    | 'head_differs'
    | 'truncated'
  readonly seal?: number
  readonly record?: number
  /** The other one of two that changed places. */
  readonly other?: number
  readonly detail?: string
}

/** What a verification went through, and what it found wrong. */
export interface VerifyResult {
  readonly records: number
  readonly seals: number
  /** Not sealed yet, and younger than a minute. */
  readonly waiting: number
  /** Taken away by retention, with their heads kept. */
  readonly dropped: { readonly seals: number; readonly records: number }
  /** Seal and head of the last one: what to compare with a head that is kept elsewhere. */
  readonly head: { readonly seal: number; readonly head: string } | undefined
  /** At most a hundred; `found` counts them all. */
  readonly findings: readonly Finding[]
  readonly found: number
}

/** The public key, heads that were kept elsewhere, and the seal to begin at (1 by default). */
export interface VerifyOptions {
  /** Whose seals count, beside those of the heads. */
  readonly publicKey: Uint8Array
  /** Heads that were kept elsewhere. */
  readonly heads?: readonly ExportedHead[]
  /**
   * Number of a seal whose head is among them: what was sealed before it is not looked at again. Default: the
   * first.
   */
  readonly from?: number | undefined
  readonly now: number
}

const findingsMax = 100
// Retention takes nothing that is younger, whatever a record says of it.
const keptMs = 30 * 86_400_000

/**
 * Compares the whole record with its seals, from the first on, in bounded memory: a bit for each number
 * beside two batches. Retention and erasures may go on meanwhile. Tells what was edited, removed or
 * swapped, and where; a tail that was cut off shows against a head kept elsewhere.
 */
export const verifyRecord = (database: Database, options: VerifyOptions): Promise<VerifyResult> =>
  new Verification(database, options).run()

/** Some seals and what they are compared with, all as of one moment. */
interface Batch {
  readonly seals: readonly SealRow[]
  /** Of its records those that are there. */
  readonly rows: ReadonlyMap<number, SealedRow>
  readonly numbers: readonly number[]
  readonly people: People
  /** Listed as something else than they say. */
  readonly otherwise: readonly number[]
  /** Those of which something else was found. */
  readonly wrong: Set<number>
}

interface Mismatch {
  readonly row: SealedRow
  readonly seal: number
  /** What stands under the seal. */
  readonly leaf: Uint8Array
}

class Verification {
  readonly #database: Database
  readonly #now: number
  readonly #firstSeal: number
  readonly #headsBySeal: ReadonlyMap<number, ExportedHead>
  readonly #trustedKeys: ReadonlySet<string>
  readonly #foreignKeys = new Set<string>()
  readonly #listing: Listing
  readonly #findings: Finding[] = []
  readonly #mismatches: Mismatch[] = []
  readonly #seenNumbers = new PagedBits()
  readonly #dropped = { seals: 0, records: 0 }
  #droppedTo = 0
  #previousHead = noHead
  #lastSeal: { readonly seal: number; readonly head: string; readonly sealedTo: number } | undefined
  /** What is not above was sealed before. */
  #floor = 0
  #found = 0
  #seals = 0
  #records = 0
  #recordsAbove = 0

  constructor(database: Database, { publicKey, heads = [], from: firstSeal = 1, now }: VerifyOptions) {
    this.#database = database
    this.#now = now
    this.#firstSeal = firstSeal
    this.#headsBySeal = new Map(heads.map((head) => [head.seal, head]))
    const keys = [publicKey, ...heads.map((head) => Buffer.from(head.public_key, 'base64url'))]
    this.#trustedKeys = new Set(keys.map(keyName))
    this.#listing = new Listing(firstSeal > 1 ? undefined : Number.MIN_SAFE_INTEGER)
  }

  async run(): Promise<VerifyResult> {
    const database = this.#database
    if (this.#firstSeal > 1) this.#previousHead = await headBefore(database, this.#firstSeal)
    this.#droppedTo = await droppedByRetention(database)
    // The chain begins at 1: nothing else would look at these, and retention takes the lowest first.
    for (const { seal_no } of await database.query<{ seal_no: number }>(
      `select seal_no from record_seals where seal_no < 1 order by seal_no limit ${findingsMax}`,
    ))
      this.#find({ kind: 'seal_changed', seal: seal_no, detail: 'no seal has such a number' })
    await this.#checkChain()
    for (const record of await this.#listing.rest(database)) this.#find({ kind: 'listed_otherwise', record })
    const mismatched = this.#mismatches.map(({ row }) => row)
    for (const finding of explained(this.#mismatches, await readPeople(database, mismatched)))
      this.#find(finding)
    const { seal: lastNumber = 0, sealedTo = 0 } = this.#lastSeal ?? {}
    const waiting = await findUnsealed(
      database,
      {
        floor: this.#floor,
        sealedTo,
        isSealed: (number) => this.#seenNumbers.has(number),
        records: this.#recordsAbove,
        now: this.#now,
      },
      (unsealed) => this.#find({ kind: 'unsealed', ...unsealed }),
    )
    const newest = Math.max(0, ...this.#headsBySeal.keys())
    if (newest > lastNumber)
      this.#find({
        kind: 'truncated',
        seal: newest,
        detail: `a head of seal ${newest} was kept; the last here is ${lastNumber}`,
      })
    return {
      records: this.#records,
      seals: this.#seals,
      waiting,
      dropped: this.#dropped,
      head: this.#lastSeal && { seal: this.#lastSeal.seal, head: this.#lastSeal.head },
      findings: this.#findings,
      found: this.#found,
    }
  }

  #find(finding: Finding): void {
    this.#found += 1
    if (this.#findings.length < findingsMax) this.#findings.push(finding)
  }

  async #checkChain(): Promise<void> {
    let expected = this.#firstSeal
    // The next is read while one is compared.
    for (let nextBatch = this.#read(expected - 1); ; ) {
      const batch = await nextBatch
      if (batch === undefined) return
      nextBatch = this.#read(batch.seals.at(-1)?.seal_no ?? 0)
      // Where the comparing throws, nobody waits for it.
      nextBatch.catch(() => undefined)
      for (const seal of batch.seals) {
        this.#checkSeal(seal, expected, batch)
        expected = seal.seal_no + 1
      }
      this.#checkListed(batch)
    }
  }

  /**
   * As of one moment: what retention takes away between two statements would look removed, and what names
   * somebody whose key an erasure destroys there would look changed.
   */
  #read(afterSeal: number): Promise<Batch | undefined> {
    return this.#database.transaction(async (sql) => {
      await sql.query('set transaction isolation level repeatable read, read only')
      const seals = await readSeals(sql, afterSeal)
      if (seals.length === 0) return undefined
      // Retention went on. Not read for each batch: it left a record for each seal that it took.
      if (seals.some(({ seal_no, record_nos }) => record_nos === null && seal_no > this.#droppedTo))
        this.#droppedTo = await droppedByRetention(sql)
      const numbers = seals.flatMap(({ record_nos }) => record_nos ?? [])
      const found = await readRows(sql, numbers)
      return {
        seals,
        rows: new Map(found.map((row) => [row.record_no, row])),
        numbers,
        people: await readPeople(sql, found),
        otherwise: await this.#listing.differing(sql, numbers),
        wrong: new Set(),
      }
    })
  }

  #checkListed({ numbers, otherwise, rows, wrong }: Batch): void {
    const sealedNumbers = new Set(numbers)
    // What was edited or removed is told as that.
    for (const record of otherwise)
      if (!wrong.has(record) && (rows.has(record) || !sealedNumbers.has(record)))
        this.#find({ kind: 'listed_otherwise', record })
  }

  #checkSeal(sealRow: SealRow, expected: number, batch: Batch): void {
    const { seal_no: seal, record_nos: numbers, digests } = sealRow
    if (seal !== expected)
      this.#find({ kind: 'seal_missing', seal: expected, detail: `seals ${expected} to ${seal - 1}` })
    this.#checkHead(sealRow)
    this.#seals += 1
    if (seal === this.#firstSeal && seal > 1) this.#floor = sealRow.sealed_to
    if (numbers === null || digests === null) {
      if (seal <= this.#droppedTo && sealRow.newest_at.getTime() < this.#now - keptMs) {
        this.#dropped.seals += 1
        this.#dropped.records += sealRow.records
      } else {
        const detail = `all of the seal: ${pluralize(sealRow.records, 'record')}`
        this.#find({ kind: 'removed', seal, detail })
      }
      return
    }
    if (!digestOfLeaves(digests).equals(sealRow.digest) || numbers.length !== sealRow.records)
      this.#find({ kind: 'seal_changed', seal, detail: 'the digests of its records do not fit' })
    for (const [index, number] of numbers.entries())
      this.#checkRecord(seal, number, digests.subarray(index * 32, index * 32 + 32), batch)
  }

  #checkHead(sealRow: SealRow): void {
    const seal = sealRow.seal_no
    const head = headOf(sealRow, this.#previousHead)
    const ownHead = Buffer.from(sealRow.head).toString('hex')
    if (head.toString('hex') !== ownHead || !isSigned(sealRow.head, sealRow.signature, sealRow.public_key))
      this.#find({
        kind: 'seal_changed',
        seal,
        detail: 'its head, its signature or the one before does not fit',
      })
    const name = keyName(sealRow.public_key)
    if (!this.#trustedKeys.has(name) && !this.#foreignKeys.has(name)) {
      this.#foreignKeys.add(name)
      const detail = `signed by ${name}, which is not this service’s key`
      this.#find({ kind: 'foreign_key', seal, detail })
    }
    const elsewhere = this.#headsBySeal.get(seal)
    if (elsewhere !== undefined && elsewhere.head !== ownHead)
      this.#find({ kind: 'head_differs', seal, detail: 'another head was kept elsewhere' })
    this.#previousHead = ownHead
    this.#lastSeal = { seal, head: ownHead, sealedTo: sealRow.sealed_to }
  }

  #checkRecord(seal: number, record: number, leaf: Uint8Array, { rows, people, wrong }: Batch): void {
    this.#seenNumbers.add(record)
    const row = rows.get(record)
    if (row === undefined) {
      this.#find({ kind: 'removed', seal, record })
      return
    }
    this.#records += 1
    if (record > this.#floor) this.#recordsAbove += 1
    const fits = people.digestOf(row)?.equals(leaf) === true
    if (fits && !people.isHidden(row)) return
    wrong.add(record)
    if (fits)
      this.#find({ kind: 'erased_without_erasure', seal, record, detail: 'somebody in it was not erased' })
    else if (this.#mismatches.length < findingsMax)
      this.#mismatches.push({ row, seal, leaf: Uint8Array.from(leaf) })
    else this.#find({ kind: 'changed', seal, record })
  }
}

/** Of two rows that changed places each has what the other was sealed with. */
function* explained(mismatches: readonly Mismatch[], people: People): Generator<Finding> {
  const reportedNumbers = new Set<number>()
  for (const { row, seal } of mismatches) {
    if (reportedNumbers.has(row.record_no)) continue
    const other = mismatches.find(
      ({ row: { record_no: number }, row: otherRow, leaf }) =>
        otherRow !== row && !reportedNumbers.has(number) && people.digestOf(row, number)?.equals(leaf),
    )?.row.record_no
    reportedNumbers.add(row.record_no)
    if (other === undefined) {
      yield { kind: 'changed', seal, record: row.record_no }
      continue
    }
    reportedNumbers.add(other)
    yield { kind: 'swapped', seal, record: row.record_no, other }
  }
}
