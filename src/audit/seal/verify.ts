import { pluralize } from '../../kernel/pluralize.ts'
import type { Sql } from '../../store/sql.ts'
import {
  digestOf,
  type KeyedPerson,
  KeyMissing,
  peopleIn,
  type SealedRow,
  sealedColumns,
} from './canonical.ts'
import { digestOfLeaves, headOf, noHead } from './head.ts'
import type { ExportedHead } from './heads.ts'
import { isSigned, keyName } from './key.ts'
import { createListing } from './listed.ts'
import { keysOf } from './people.ts'

/** Something that is not as it was sealed, and where. */
export interface Finding {
  readonly kind:
    | 'changed'
    | 'swapped'
    | 'removed'
    | 'unsealed'
    | 'erased_without_erasure'
    /** Who was given a document by it is listed in another way, or it is listed and there is no such record. */
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
  /** Number of a seal whose head is among them: what was sealed before it is not looked at again. Default: the first. */
  readonly from?: number | undefined
  readonly now: number
}

interface SealRow {
  readonly seal_no: number
  readonly sealed_at: Date
  readonly records: number
  readonly first_no: number
  readonly last_no: number
  readonly sealed_to: number
  readonly newest_at: Date
  readonly digest: Uint8Array
  readonly head: Uint8Array
  readonly public_key: Uint8Array
  readonly signature: Uint8Array
  /** null: dropped. */
  readonly record_nos: readonly number[] | null
  readonly digests: Uint8Array | null
}

const findingsMax = 100
const recordsAtOnce = 5_000
// Each read begins where the one before ended; most seals of an idle service hold a record or two.
const sealsAtOnce = 1_000
const peopleMax = 50_000
// The job runs each second: what is older was left out.
const lateMs = 60_000
// Retention takes nothing that is younger, whatever a record says of it.
const keptMs = 30 * 86_400_000

/**
 * Compares the whole record with its seals, from the first on, in bounded memory: a bit for each number beside two batches.
 * Tells what was edited, removed or swapped, and where; a tail that was cut off shows against a head kept elsewhere.
 */
export async function verifyRecord(
  sql: Sql,
  { publicKey, heads = [], from: firstSeal = 1, now }: VerifyOptions,
): Promise<VerifyResult> {
  const findings: Finding[] = []
  let found = 0
  const find = (finding: Finding): void => {
    found += 1
    if (findings.length < findingsMax) findings.push(finding)
  }
  const headsBySeal = new Map(heads.map((head) => [head.seal, head]))
  const trusted = new Set(
    [publicKey, ...heads.map((head) => Buffer.from(head.public_key, 'base64url'))].map(keyName),
  )
  const foreign = new Set<string>()
  const people = createPeopleCache(sql)
  const listing = createListing(sql, firstSeal > 1 ? undefined : Number.MIN_SAFE_INTEGER)
  const mismatches: { row: SealedRow; seal: number }[] = []
  const leaves = new Map<number, Buffer>()
  const seenNumbers = createBits()
  const dropped = { seals: 0, records: 0 }
  let previous = firstSeal > 1 ? await headBefore(sql, firstSeal) : noHead
  let floor = 0
  let lastSeal: { seal: number; head: string; sealedTo: number } | undefined
  let seals = 0
  let records = 0
  let above = 0
  const droppedTo = await droppedByRetention(sql)
  // The chain begins at 1: nothing else would look at these, and retention takes the lowest first.
  for (const { seal_no } of await sql.query<{ seal_no: number }>(
    `select seal_no from record_seals where seal_no < 1 order by seal_no limit ${findingsMax}`,
  ))
    find({ kind: 'seal_changed', seal: seal_no, detail: 'no seal has such a number' })

  const read = async (afterSeal: number): Promise<Batch | undefined> => {
    const batch = await readSeals(sql, afterSeal)
    if (batch.length === 0) return undefined
    const numbers = batch.flatMap(({ record_nos }) => record_nos ?? [])
    const found = await readRows(sql, numbers)
    await people.load(found)
    const rows = new Map(found.map((row) => [row.record_no, row]))
    return { seals: batch, rows, numbers, otherwise: await listing.differing(numbers, rows) }
  }

  let afterSeal = firstSeal - 1
  // The next is read while one is compared.
  for (let nextBatch = read(afterSeal); ; ) {
    const batch = await nextBatch
    if (batch === undefined) break
    const { seals: sealed, rows, numbers, otherwise } = batch
    nextBatch = read(sealed.at(-1)?.seal_no ?? 0)
    // Where the comparing throws, nobody waits for it.
    nextBatch.catch(() => undefined)
    const wrong = new Set<number>()
    for (const seal of sealed) {
      checkSeal(seal, afterSeal + 1)
      afterSeal = seal.seal_no
    }
    checkListed()
    function checkListed(): void {
      const sealNumbers = new Set(numbers)
      // What was edited or removed is told as that.
      for (const record_no of otherwise)
        if (!wrong.has(record_no) && (rows.has(record_no) || !sealNumbers.has(record_no)))
          find({ kind: 'listed_otherwise', record: record_no })
    }
    function checkSeal(sealRow: SealRow, expected: number): void {
      const seal = sealRow.seal_no
      if (seal !== expected)
        find({ kind: 'seal_missing', seal: expected, detail: `seals ${expected} to ${seal - 1}` })
      const head = headOf({
        seal,
        sealed_at: sealRow.sealed_at.toISOString(),
        records: sealRow.records,
        first: sealRow.first_no,
        last: sealRow.last_no,
        sealed_to: sealRow.sealed_to,
        newest_at: sealRow.newest_at.toISOString(),
        digest: Buffer.from(sealRow.digest).toString('hex'),
        previous,
      })
      const ownHead = Buffer.from(sealRow.head).toString('hex')
      if (head.toString('hex') !== ownHead || !isSigned(sealRow.head, sealRow.signature, sealRow.public_key))
        find({ kind: 'seal_changed', seal, detail: 'its head, its signature or the one before does not fit' })
      const name = keyName(sealRow.public_key)
      if (!trusted.has(name) && !foreign.has(name)) {
        foreign.add(name)
        find({ kind: 'foreign_key', seal, detail: `signed by ${name}, which is not this service’s key` })
      }
      const elsewhere = headsBySeal.get(seal)
      if (elsewhere !== undefined && elsewhere.head !== ownHead)
        find({ kind: 'head_differs', seal, detail: 'another head was kept elsewhere' })
      previous = ownHead
      lastSeal = { seal, head: ownHead, sealedTo: sealRow.sealed_to }
      seals += 1
      if (seal === firstSeal && firstSeal > 1) floor = sealRow.sealed_to
      if (sealRow.record_nos === null || sealRow.digests === null) {
        if (seal <= droppedTo && sealRow.newest_at.getTime() < now - keptMs) {
          dropped.seals += 1
          dropped.records += sealRow.records
        } else
          find({ kind: 'removed', seal, detail: `all of the seal: ${pluralize(sealRow.records, 'record')}` })
        return
      }
      if (
        !digestOfLeaves(sealRow.digests).equals(sealRow.digest) ||
        sealRow.record_nos.length !== sealRow.records
      )
        find({ kind: 'seal_changed', seal, detail: 'the digests of its records do not fit' })
      checkRecords(seal, sealRow.record_nos, Buffer.from(sealRow.digests))
    }
    function checkRecords(seal: number, numbers: readonly number[], digests: Buffer): void {
      for (const [index, number] of numbers.entries()) {
        seenNumbers.add(number)
        const leaf = digests.subarray(index * 32, index * 32 + 32)
        const row = rows.get(number)
        if (row === undefined) {
          find({ kind: 'removed', seal, record: number })
          continue
        }
        records += 1
        if (number > floor) above += 1
        const fits = people.digestOf(row)?.equals(leaf) === true
        if (!fits) wrong.add(number)
        if (!fits && mismatches.length < findingsMax) {
          mismatches.push({ row, seal })
          leaves.set(number, Buffer.from(leaf))
        } else if (!fits) find({ kind: 'changed', seal, record: number })
        else if (people.isHidden(row)) {
          wrong.add(number)
          find({ kind: 'erased_without_erasure', seal, record: number, detail: 'its person was not erased' })
        }
      }
    }
  }
  for (const record of await listing.rest()) find({ kind: 'listed_otherwise', record })
  for (const finding of explained(mismatches, leaves, people.digestOf)) find(finding)
  const waiting = await findUnsealed(
    sql,
    { floor, sealedTo: lastSeal?.sealedTo ?? 0, seen: seenNumbers, records: above, now },
    find,
  )
  const newest = Math.max(0, ...heads.map(({ seal }) => seal))
  if (newest > (lastSeal?.seal ?? 0))
    find({
      kind: 'truncated',
      seal: newest,
      detail: `a head of seal ${newest} was kept; the last here is ${lastSeal?.seal ?? 0}`,
    })
  return {
    records,
    seals,
    waiting,
    dropped,
    head: lastSeal && { seal: lastSeal.seal, head: lastSeal.head },
    findings,
    found,
  }
}

/** Of two rows that changed places each has what the other was sealed with. */
function* explained(
  mismatches: readonly { readonly row: SealedRow; readonly seal: number }[],
  leaves: ReadonlyMap<number, Buffer>,
  digest: (row: SealedRow, recordNo?: number) => Buffer | undefined,
): Generator<Finding> {
  const reportedSeals = new Set<number>()
  for (const { row, seal } of mismatches) {
    if (reportedSeals.has(row.record_no)) continue
    const otherMismatch = mismatches.find(
      ({ row: its }) =>
        its !== row &&
        !reportedSeals.has(its.record_no) &&
        digest(row, its.record_no)?.equals(leaves.get(its.record_no) ?? row0),
    )
    reportedSeals.add(row.record_no)
    if (otherMismatch === undefined) {
      yield { kind: 'changed', seal, record: row.record_no }
      continue
    }
    reportedSeals.add(otherMismatch.row.record_no)
    yield { kind: 'swapped', seal, record: row.record_no, other: otherMismatch.row.record_no }
  }
}

const row0 = Buffer.alloc(0)

interface Batch {
  readonly seals: readonly SealRow[]
  /** Of its records those that are there. */
  readonly rows: ReadonlyMap<number, SealedRow>
  readonly numbers: readonly number[]
  /** Listed as something else than they say. */
  readonly otherwise: readonly number[]
}

async function headBefore(sql: Sql, seal: number): Promise<string> {
  const [row] = await sql.query<{ head: string }>(
    `select encode(head, 'hex') as head from record_seals where seal_no = $1`,
    [seal - 1],
  )
  return row?.head ?? noHead
}

const readSeals = async (sql: Sql, afterSeal: number): Promise<SealRow[]> => {
  const rows = await sql.query<SealRow>(
    `with next as (
       select s.*, sum(s.records) over (order by s.seal_no) - s.records as before from (
         select * from record_seals where seal_no > $1 order by seal_no limit ${sealsAtOnce}) s)
     select next.*, l.record_nos, l.digests from next left join record_leaves l using (seal_no)
     where before < ${recordsAtOnce} order by seal_no`,
    [afterSeal],
  )
  return rows.map((row) => ({ ...row, record_nos: row.record_nos?.map(Number) ?? null }))
}

const readRows = (sql: Sql, numbers: readonly number[]): Promise<SealedRow[]> =>
  numbers.length === 0
    ? Promise.resolve([])
    : sql.query<SealedRow>(
        `select ${sealedColumns} from decision_records where record_no = any($1::bigint[])`,
        [numbers],
      )

/** Seals up to here were taken away, as the record itself says. */
async function droppedByRetention(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ to: number | null }>(
    `select max((detail ->> 'to_seal')::bigint) as to from decision_records where event = 'records_dropped'`,
  )
  return row?.to ?? 0
}

interface Unsealed {
  /** Only what is above is looked for. */
  readonly floor: number
  readonly sealedTo: number
  readonly seen: Bits
  readonly records: number
  readonly now: number
}

/** Gives how many are not sealed yet and need not be. */
async function findUnsealed(
  sql: Sql,
  { floor, sealedTo, seen: seenNumbers, records, now }: Unsealed,
  find: (finding: Finding) => void,
): Promise<number> {
  const lateBefore = new Date(now - lateMs)
  const lowest = floor > 0 ? floor : Number.MIN_SAFE_INTEGER
  const [counts] = await sql.query<{ young: number; old: number; all: number }>(
    `select count(*) filter (where record_no > $1 and at >= $2) as young,
       count(*) filter (where record_no > $1 and at < $2) as old, count(*) filter (where record_no <= $1) as all
     from decision_records where record_no > $3`,
    [sealedTo, lateBefore, lowest],
  )
  const { young = 0, old = 0, all: allCount = 0 } = counts ?? {}
  if (old > 0)
    find({
      kind: 'unsealed',
      record: sealedTo + 1,
      detail: `${pluralize(old, 'record was', 'records were')} never sealed`,
    })
  if (allCount === records) return young
  // One that came into a place that was passed by: late, or put there.
  for (let afterSeal = lowest; ; ) {
    const numbers = await sql.query<{ record_no: number; at: Date }>(
      'select record_no, at from decision_records where record_no > $1 and record_no <= $2 order by record_no limit 50000',
      [afterSeal, sealedTo],
    )
    for (const { record_no, at: recordedAt } of numbers)
      if (!seenNumbers.has(record_no) && recordedAt < lateBefore)
        find({ kind: 'unsealed', record: record_no })
    const lastNumber = numbers.at(-1)
    if (lastNumber === undefined) return young
    afterSeal = lastNumber.record_no
  }
}

/** Keys of the people in the rows at hand, and whether an alias is really that of somebody who was erased. */
function createPeopleCache(sql: Sql) {
  let keys = new Map<string, KeyedPerson>()
  // Those of the batch that is compared while another is read.
  let older: ReadonlyMap<string, KeyedPerson> = new Map()
  const liveByPerson = new Map<string, boolean>()
  const personOf = (subject: string): KeyedPerson | undefined => keys.get(subject) ?? older.get(subject)
  return {
    async load(rows: readonly SealedRow[]): Promise<void> {
      if (keys.size > peopleMax) {
        older = keys
        keys = new Map()
      }
      const missingPeople = [...new Set(rows.flatMap(peopleIn))].filter((person) => !keys.has(person))
      for (const [subject, personKey] of await keysOf(sql, missingPeople)) keys.set(subject, personKey)
      const aliases = [...new Set(rows.map(({ subject }) => subject))].filter(
        (subject) => subject.startsWith('erased:') && !liveByPerson.has(subject),
      )
      if (aliases.length === 0) return
      const erased = await sql.query<{ alias: string }>(
        // The record itself has to say so, where whoever may write the table of people cannot take it back.
        `select alias from record_people p where alias = any($1) and erasing_since is not null and exists (
           select 1 from decision_records where event = 'person_erased' and detail ->> 'alias' = p.alias)`,
        [aliases],
      )
      const knownAliases = new Set(erased.map(({ alias }) => alias))
      for (const alias of aliases) liveByPerson.set(alias, !knownAliases.has(alias))
    },
    digestOf(row: SealedRow, recordNo?: number): Buffer | undefined {
      try {
        return digestOf(row, personOf, recordNo)
      } catch (error) {
        if (error instanceof KeyMissing) return undefined
        throw error
      }
    },
    isHidden: ({ subject }: SealedRow): boolean => liveByPerson.get(subject) === true,
  }
}

interface Bits {
  add(number: number): void
  has(number: number): boolean
}

/** A bit for each number, in pages that are there only where there is one. */
function createBits(): Bits {
  const pages = new Map<number, Uint8Array>()
  const pageBits = 65_536
  return {
    add(number) {
      const index = Math.floor(number / pageBits)
      const page = pages.get(index) ?? new Uint8Array(pageBits / 8)
      pages.set(index, page)
      const bit = number % pageBits
      page[bit >> 3] = (page[bit >> 3] ?? 0) | (1 << (bit & 7))
    },
    has(number) {
      const bit = number % pageBits
      return (((pages.get(Math.floor(number / pageBits))?.[bit >> 3] ?? 0) >> (bit & 7)) & 1) === 1
    },
  }
}
