import { AppError } from '../../src/kernel/errors.ts'
import type { Database, Sql } from '../../src/store/sql.ts'

export interface FaultyDatabase {
  /** Give it to `openWorld`. */
  readonly wrap: (real: Database) => Database
  /**
   * Statements that match find no database; undefined: all is well again. `first` is run instead, where the
   * real one is to be taken away: then the statement is sent and fails by itself.
   */
  set(statement: RegExp | undefined, first?: (real: Database) => Promise<void>): void
  /** How many statements matched since it was set. */
  hits(): number
}

/**
 * A database that goes away at one statement. Without `first` it throws what `src/store/pg.ts` throws then.
 */
export function faultyDatabase(): FaultyDatabase {
  let statement: RegExp | undefined
  let first: ((real: Database) => Promise<void>) | undefined
  let hits = 0
  const meet = async (text: string, real: Database): Promise<void> => {
    // The queue and what follows the corpus work in the background; they are not what is asked here.
    if (!statement?.test(text) || /pgboss|changed_in|ivf_models|document_codes/.test(text)) return
    hits += 1
    if (first === undefined) throw new AppError('storage_unavailable', { internal: 'connection terminated' })
    await first(real)
  }
  const guard = (sql: Sql, real: Database): Sql => ({
    async query(text, values) {
      await meet(text, real)
      return sql.query(text, values)
    },
  })
  return {
    wrap: (real) => ({
      ...real,
      ...guard(real, real),
      queryFixedPlan: async (forced, values) => {
        await meet(forced.text, real)
        return real.queryFixedPlan(forced, values)
      },
      transaction: (work, options) => real.transaction((sql) => work(guard(sql, real)), options),
    }),
    set(next, before) {
      statement = next
      first = before
      hits = 0
    },
    hits: () => hits,
  }
}
