import { AppError } from '../kernel/errors.ts'
import type { Database, Sql } from '../store/sql.ts'
import { readSource, type SourceRow } from './rows.ts'

/**
 * Changes a source: `work` decides under the row's lock, says what changes and puts it on record. Gives what
 * it is then. Throws `not_found` where there is no such source. `first` runs before that row is locked.
 */
export const changeSource = (
  database: Database,
  id: string,
  work: (sql: Sql, row: SourceRow) => Promise<void>,
  first?: (sql: Sql) => Promise<void>,
): Promise<SourceRow> =>
  database.transaction(async (sql) => {
    await first?.(sql)
    await sql.query('select from sources where id = $1 for update', [id])
    await work(sql, await findSource(sql, id))
    return findSource(sql, id)
  })

/** Throws `not_found` where there is none. */
export async function findSource(sql: Sql, id: string): Promise<SourceRow> {
  const row = await readSource(sql, id)
  if (row === undefined) throw new AppError('not_found', { public: 'There is no such source.' })
  return row
}
