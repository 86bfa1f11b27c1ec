import type { Sql } from '../../src/store/sql.ts'
import { native } from './native.ts'

/** Settings with which a service finds passages in the OpenSearch of the tests. */
export const opensearchSettings = (): Readonly<Record<string, string>> => ({
  SEARCH_ENGINE_URLS: native.opensearch ?? '',
  SEARCH_ENGINE_SHARDS: '1',
  SEARCH_ENGINE_REFRESH_MS: '5',
})

/** Drops the indices that a database of a test has there. */
export async function dropIndices(sql: Sql): Promise<void> {
  const rows = await sql.query<{ id: string }>('select id from search_generations')
  for (const { id } of rows) await fetch(`${native.opensearch}/remit-${id}`, { method: 'DELETE' })
}
