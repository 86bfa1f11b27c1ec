import { z } from 'zod'
import type { Engine } from '../../src/retrieval/chunk-index/opensearch/engine.ts'
import type { Sql } from '../../src/store/sql.ts'

const stored = z.object({
  _all: z.object({ total: z.object({ store: z.object({ size_in_bytes: z.number() }) }) }),
  indices: z.record(z.string(), z.unknown()),
})

/** What passages take, in bytes: on the nodes, all copies together, and the whole database. */
export interface Bytes {
  readonly nodes: number
  readonly postgres: number
  /** How many indices of ours the nodes hold. */
  readonly indices: number
}

/** Asks both. Counts whatever else the nodes and the database hold. */
export async function bytesOf(engine: Engine, sql: Sql): Promise<Bytes> {
  const [size] = await sql.query<{ bytes: number }>(
    'select pg_database_size(current_database())::float8 as bytes',
  )
  const { _all, indices } = await engine.ask({ method: 'GET', path: '/_stats/store,docs' }, (answer) =>
    stored.parse(answer),
  )
  return {
    nodes: _all.total.store.size_in_bytes,
    postgres: size?.bytes ?? 0,
    indices: Object.keys(indices).filter((name) => name.startsWith('remit-')).length,
  }
}

/** In words, for each of so many passages. */
export const bytesInWords = ({ nodes, postgres }: Bytes, passages: number): string =>
  `the nodes store ${(nodes / passages).toFixed(0)} bytes a passage, all copies, Postgres ${(postgres / passages).toFixed(0)}`
