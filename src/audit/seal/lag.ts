import type { Sql } from '../../store/sql.ts'

/** How much of the record is committed and not sealed. */
export interface Unsealed {
  /** Counted to 100,000. */
  readonly rows: number
  /** Age of the oldest of them; 0 where there are none. */
  readonly seconds: number
}

const rowsMax = 100_000

/** How far the job that seals is behind. What lies in gaps is not counted: a second later it is sealed with the rest. */
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
