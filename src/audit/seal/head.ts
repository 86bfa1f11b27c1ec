import { createHash } from 'node:crypto'
import type { Sql } from '../../store/sql.ts'

/** One seal, without its signature. */
export interface SealHead {
  readonly seal: number
  /** ISO 8601. */
  readonly sealed_at: string
  readonly records: number
  readonly first: number
  readonly last: number
  readonly sealed_to: number
  readonly newest_at: string
  /** Hexadecimal, as both below. */
  readonly digest: string
  /** Head of the seal before; zeros for the first. */
  readonly previous: string
}

const schema = 1

/** Before the first seal. */
export const noHead = '0'.repeat(64)

/** SHA-256 of a seal and, with it, of every one before. */
export const headOf = (head: SealHead): Buffer =>
  createHash('sha256')
    .update(
      JSON.stringify([
        schema,
        head.seal,
        head.sealed_at,
        head.records,
        head.first,
        head.last,
        head.sealed_to,
        head.newest_at,
        head.digest,
        head.previous,
      ]),
    )
    .digest()

/** Over the digests of its records, 32 bytes each, in their order. */
export const digestOfLeaves = (digests: Uint8Array): Buffer => createHash('sha256').update(digests).digest()

/** A seal as it is stored, with what is under it. */
export interface SealRow {
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

const recordsAtOnce = 5_000
// Each read begins where the one before ended; most seals of an idle service hold a record or two.
const sealsAtOnce = 1_000

/** The head of the seal before this one. */
export async function headBefore(sql: Sql, seal: number): Promise<string> {
  const [row] = await sql.query<{ head: string }>(
    `select encode(head, 'hex') as head from record_seals where seal_no = $1`,
    [seal - 1],
  )
  return row?.head ?? noHead
}

/** The next seals, with some thousand records. */
export const readSeals = async (sql: Sql, afterSeal: number): Promise<SealRow[]> => {
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
