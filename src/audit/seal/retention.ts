import type { Database, Sql } from '../../store/sql.ts'
import { operator, record } from '../record.ts'

/** `days` is how long records are kept; undefined: for ever. */
export interface RetentionDeps {
  readonly database: Database
  readonly newTxn: () => string
  /** How long records are kept; undefined: for ever. */
  readonly days: number | undefined
}

/**
 * Takes whole seals off the beginning once all of their records are old enough. Their heads stay: the chain
 * still verifies. The database's clock says how old, since nothing brings a record back: where that clock is
 * ahead, too much goes, and nothing looks for it.
 */
export function createRetention({ database, newTxn, days }: RetentionDeps) {
  return async (): Promise<number> => {
    if (days === undefined) return 0
    let total = 0
    for (;;) {
      const dropped = await database.transaction(async (sql) => {
        const [row] = await sql.query<{ seal_no: number; records: number; before: Date }>(
          `select dropped.seal_no, dropped.records, expiry.before
          from (select now() - make_interval(days => $1) as before) expiry, record_drop_oldest(expiry.before) dropped`,
          [days],
        )
        // With it: nobody takes away what happened without a word.
        if (row !== undefined)
          await record(sql, operator(newTxn()), {
            event: 'records_dropped',
            to_seal: row.seal_no,
            records: row.records,
            before: row.before.toISOString(),
          })
        return row?.records
      })
      if (dropped === undefined) return total
      total += dropped
    }
  }
}

/** Seals up to here were taken away, as the record itself says. */
export async function droppedByRetention(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ to: number | null }>(
    `select max((detail ->> 'to_seal')::bigint) as to from decision_records where event = 'records_dropped'`,
  )
  return row?.to ?? 0
}
