import { createHash } from 'node:crypto'
import type { Sql } from '../../store/sql.ts'

/** One seal, without its head and signature. */
export interface Seal {
  readonly seal_no: number
  readonly sealed_at: Date
  readonly records: number
  readonly first_no: number
  readonly last_no: number
  readonly sealed_to: number
  readonly newest_at: Date
  readonly digest: Uint8Array
}

/** A seal as it is stored, with what is under it. */
export interface SealRow extends Seal {
  readonly head: Uint8Array
  readonly public_key: Uint8Array
  readonly signature: Uint8Array
  /** null: dropped. */
  readonly record_nos: readonly number[] | null
  readonly digests: Uint8Array | null
}

const schema = 1

/** Before the first seal. */
export const noHead = '0'.repeat(64)

/**
 * SHA-256 of a seal and, with it, of every one before. `previous`: head of the one before; zeros for the
 * first.
 */
export const headOf = (seal: Seal, previous: string): Buffer =>
  createHash('sha256')
    .update(
      JSON.stringify([
        schema,
        seal.seal_no,
        seal.sealed_at.toISOString(),
        seal.records,
        seal.first_no,
        seal.last_no,
        seal.sealed_to,
        seal.newest_at.toISOString(),
        Buffer.from(seal.digest).toString('hex'),
        previous,
      ]),
    )
    .digest()

/** Over the digests of its records, 32 bytes each, in their order. */
export const digestOfLeaves = (digests: Uint8Array): Buffer => createHash('sha256').update(digests).digest()

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
