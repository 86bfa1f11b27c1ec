import { pluralize } from '../../kernel/pluralize.ts'
import type { Sql } from '../../store/sql.ts'

/** How much of the record is committed and not sealed. */
export interface Unsealed {
  /** Counted to 100,000. */
  readonly rows: number
  /** Age of the oldest of them; 0 where there are none. */
  readonly seconds: number
}

const rowsMax = 100_000

/**
 * How far the job that seals is behind. What lies in gaps is not counted: a second later it is sealed with
 * the rest.
 */
export async function readUnsealed(sql: Sql): Promise<Unsealed> {
  const [row] = await sql.query<{ rows: number; seconds: number | null }>(
    `with late as materialized (
       select record_no from decision_records
       where record_no > coalesce((select sealed_to from record_seals order by seal_no desc limit 1), 0)
       order by record_no limit ${rowsMax})
     select (select count(*) from late) as rows,
       (select extract(epoch from now() - at)::float8 from decision_records
        where record_no = (select min(record_no) from late)) as seconds`,
  )
  return { rows: row?.rows ?? 0, seconds: Math.max(0, row?.seconds ?? 0) }
}

/** What is known of the seals, for {@link findUnsealed}. */
interface Seals {
  /** Only what is above is looked for. */
  readonly floor: number
  readonly sealedTo: number
  readonly isSealed: (recordNo: number) => boolean
  readonly records: number
  readonly now: number
}

// The job runs each second: what is older was left out.
const lateMs = 60_000

/** Looks for records that were left out of the seals. Gives how many are not sealed yet and need not be. */
export async function findUnsealed(
  sql: Sql,
  { floor, sealedTo, isSealed, records, now }: Seals,
  find: (unsealed: { readonly record: number; readonly detail?: string }) => void,
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
      if (!isSealed(record_no) && recordedAt < lateBefore) find({ record: record_no })
    const lastNumber = numbers.at(-1)
    if (lastNumber === undefined) return young
    afterSeal = lastNumber.record_no
  }
}
