import { z } from 'zod'
import { invalid } from '../../kernel/errors.ts'
import type { Sql } from '../../store/sql.ts'
import type { SealRow } from './head.ts'

/**
 * A head as it is kept elsewhere: with it, nobody can rewrite what was sealed before, whatever keys they
 * have.
 */
export type ExportedHead = z.output<typeof exportedHead>

const hex = z.string().regex(/^[0-9a-f]{64}$/)
const exportedHead = z.looseObject({
  seal: z.int().min(1),
  sealed_at: z.string(),
  records: z.int(),
  head: hex,
  /** base64url, 32 bytes. */
  public_key: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** base64url, 64 bytes. */
  signature: z.string().regex(/^[A-Za-z0-9_-]{86}$/),
})

/** Heads after a seal, oldest first, at most `limit`. */
export async function readHeads(
  sql: Sql,
  { after: afterSeal, limit }: { readonly after: number; readonly limit: number },
) {
  const rows = await sql.query<Omit<SealRow, 'record_nos' | 'digests'>>(
    `select * from record_seals
     where seal_no > $1 order by seal_no limit $2`,
    [afterSeal, limit],
  )
  return rows.map(
    (row): ExportedHead => ({
      seal: row.seal_no,
      sealed_at: row.sealed_at.toISOString(),
      records: row.records,
      head: Buffer.from(row.head).toString('hex'),
      public_key: Buffer.from(row.public_key).toString('base64url'),
      signature: Buffer.from(row.signature).toString('base64url'),
    }),
  )
}

/** Of lines that were kept elsewhere. Throws `invalid_request` for what is none. */
export const parseHeads = (heads: unknown): readonly ExportedHead[] => {
  const parsed = z.array(exportedHead).safeParse(heads)
  if (parsed.success) return parsed.data
  throw invalid('heads', `Line ${Number(parsed.error.issues[0]?.path[0] ?? 0) + 1} is not an exported head.`)
}
