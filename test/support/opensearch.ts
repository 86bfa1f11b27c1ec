import type { Log } from '../../src/kernel/log.ts'
import { createEngine, type Engine } from '../../src/retrieval/chunk-index/opensearch/engine.ts'
import {
  openSearchEngine,
  type SearchEngine,
} from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import type { Database, Sql } from '../../src/store/sql.ts'
import { native } from './native.ts'

/** Settings with which a service finds passages in the OpenSearch of the tests. */
export const opensearchSettings = (): Readonly<Record<string, string>> => ({
  SEARCH_ENGINE_URLS: native.opensearch ?? '',
  SEARCH_ENGINE_SHARDS: '1',
  SEARCH_ENGINE_REFRESH_MS: '5',
})

/** The OpenSearch of the tests, through what may stand between. */
export const testEngine = (between: typeof fetch = fetch): Engine =>
  createEngine({ urls: [native.opensearch ?? ''], fetch: between })

/** Keeps the OpenSearch of the tests as the database says. Its indices go with it. */
export async function openTestEngine(database: Database, log: Log = () => undefined): Promise<SearchEngine> {
  const form = async () => ({ dimensions: 384, perWord: 0.02, shards: 1, refreshMs: 5, width: 1_000_000 })
  const opened = await openSearchEngine({ database, engine: testEngine(), log, form })
  return {
    ...opened,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]()
      await dropIndices(database)
    },
  }
}

/** Drops the indices that a database of a test has there. */
export const dropIndices = async (sql: Sql): Promise<void> => dropNamed(await indicesOf(sql))

/** Names of the indices that a database has there. */
export async function indicesOf(sql: Sql): Promise<readonly string[]> {
  const rows = await sql.query<{ name: string }>(
    `select 'remit-' || generation || '-' || range as name from search_ranges`,
  )
  return rows.map(({ name }) => name)
}

export async function dropNamed(indices: readonly string[]): Promise<void> {
  for (const name of indices) await fetch(`${native.opensearch}/${name}`, { method: 'DELETE' })
}
