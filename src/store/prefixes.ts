import type { Sql } from './sql.ts'

/**
 * Whoever gives away a beginning of ids, or a collection for one writer alone, does it behind this, until the
 * end of the transaction: two at once would not see each other's. Sources, services and directories do.
 * Before all rows that the transaction locks, everywhere: else two of them wait for each other.
 */
export const lockPrefixes = async (sql: Sql): Promise<void> => {
  await sql.query('lock table directories in share row exclusive mode')
}
