import { AsyncLocalStorage } from 'node:async_hooks'
import type { FgaApi } from '../../src/authz/fga-api.ts'
import type { Database, Sql } from '../../src/store/sql.ts'

const asking = new AsyncLocalStorage<string[]>()
/** For what else a test wants to know of. */
export const note = (text: string): void => void asking.getStore()?.push(text)

export const isNoting = (): boolean => asking.getStore() !== undefined

/**
 * What is sent to the database, and to OpenFGA, on the way of one question: statements, and how transactions
 * begin and end.
 */
export async function sentBy(ask: () => Promise<unknown>): Promise<string[]> {
  const sent: string[] = []
  await asking.run(sent, ask)
  return sent
}

export function noting(database: Database): Database {
  const noted = (sql: Sql): Sql['query'] => {
    return (text, values) => {
      note(text)
      return sql.query(text, values)
    }
  }
  return {
    ...database,
    query: noted(database),
    queryFixedPlan(statement, values) {
      note(statement.text)
      return database.queryFixedPlan(statement, values)
    },
    async transaction(work) {
      note('begin')
      const result = await database.transaction((sql) => work({ query: noted(sql) }))
      note('commit')
      return result
    },
  }
}

/** Calls of BatchCheck by how many checks they hold. */
export const notingChecks = (api: FgaApi): FgaApi =>
  Object.assign(Object.create(api) as FgaApi, {
    batchCheck: (...given: Parameters<FgaApi['batchCheck']>) => {
      note(`BatchCheck of ${given[1].checks.length}`)
      return api.batchCheck(...given)
    },
  })
