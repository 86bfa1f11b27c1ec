import { createIvfIndex } from '../../src/retrieval/chunk-index/ivf/ivf-index.ts'
import { createPostgresIndex } from '../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import type { StrategyName } from '../../src/retrieval/chunk-index/postgres/strategy.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import type { Subject } from './chunk-index.ts'
import { openDocumentRows } from './document-rows.ts'

export interface PostgresSubject extends Subject {
  /** Strategies that answered a search by vectors. */
  readonly used: ReadonlySet<StrategyName>
}

/** The chunk index in Postgres, made to search by one strategy wherever that may be picked. */
export async function openPostgresSubject(
  kind: Database['kind'],
  strategy: StrategyName,
): Promise<PostgresSubject> {
  const database = await openTestDatabase(kind)
  const ivf = createIvfIndex({
    database,
    log: () => undefined,
    pollMs: 3_600_000,
    everyMs: 3_600_000,
    passagesMin: 60,
    seed: () => 1,
    threads: 0,
  })
  const used = new Set<StrategyName>()
  const index = createPostgresIndex({
    database,
    ...(strategy === 'ivf' && { ivf }),
    onStrategy: ({ strategy: plan }) => used.add(plan),
    costs: { of: (plan) => (plan === strategy ? 0.1 : 50), learn: () => undefined },
  })
  const documents = await openDocumentRows(database)
  return {
    index,
    used,
    dimensions: 384,
    recallMin: strategy === 'exact' ? 1 : 0.98,
    ...documents,
    async settle() {
      if (strategy !== 'ivf') return
      if (ivf.lists().length === 0) await ivf.renew()
      else await ivf.refresh()
    },
    async [Symbol.asyncDispose]() {
      await ivf[Symbol.asyncDispose]()
      await database.close()
    },
  }
}
