import { AppError } from '../../kernel/errors.ts'
import type { Database } from '../../store/sql.ts'
import type { ExportedHead } from './heads.ts'
import { verifyRecord } from './verify.ts'

interface Compared {
  readonly publicKey: Uint8Array
  readonly heads: readonly ExportedHead[]
  readonly copiedAt: Date
  readonly now: number
}

/**
 * Compares a restored record with heads that were kept elsewhere. What was not sealed when the copy was made
 * is under the first seal after it, so it is not missing. Undefined: no head is as new as the copy, and
 * nothing is known. Throws `conflict` where the copy is not a beginning of what the heads are of.
 */
export async function countMissing(
  database: Database,
  { publicKey, heads, copiedAt, now }: Compared,
): Promise<number | undefined> {
  const [last] = await database.query<{ seal: number; waiting: number }>(
    `with newest as (select coalesce(max(seal_no), 0) as seal, coalesce(max(sealed_to), 0) as sealed_to from record_seals)
     select seal, (select count(*) from decision_records where record_no > sealed_to and at <= $1) as waiting
     from newest`,
    [copiedAt],
  )
  if (last === undefined) throw new Error('The record cannot be counted.')
  const { findings } = await verifyRecord(database, {
    publicKey,
    heads: heads.filter(({ seal }) => seal <= last.seal),
    now,
  })
  const [wrong] = findings.filter(({ kind }) => kind !== 'unsealed')
  if (wrong !== undefined)
    throw new AppError('conflict', {
      public: `The restored record is not the one of these heads: ${wrong.kind.replaceAll('_', ' ')}${wrong.seal === undefined ? '' : `, seal ${wrong.seal}`}${wrong.record === undefined ? '' : `, record ${wrong.record}`}.`,
    })
  if (Math.max(0, ...heads.map(({ seal }) => seal)) < last.seal) return undefined
  const since = new Map(
    heads.filter(({ seal }) => seal > last.seal).map(({ seal, records }) => [seal, records]),
  )
  const missing = [...since.values()].reduce((sum, records) => sum + records, 0) - last.waiting
  return missing < 0 ? undefined : missing
}
