import type { Database } from '../../src/store/sql.ts'

/**
 * A database whose place another server takes: from then on each row that says which server it is of names
 * that one.
 */
export function moving(database: Database): { readonly database: Database; moveTo(server: string): void } {
  let server = ''
  return {
    database: {
      ...database,
      query: async <Row extends object>(text: string, values?: readonly never[]) => {
        const rows = await database.query<Row>(text, values)
        return server === '' ? rows : rows.map((row) => ('server' in row ? { ...row, server } : row))
      },
    },
    moveTo(other) {
      server = other
    },
  }
}
