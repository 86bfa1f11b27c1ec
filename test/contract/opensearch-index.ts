import { createEngine, type Engine } from '../../src/retrieval/chunk-index/opensearch/engine.ts'
import { createOpensearchIndex } from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import { removeEnded } from '../../src/retrieval/chunk-index/opensearch/reconcile.ts'
import { keepEngine, type UpkeepDeps } from '../../src/retrieval/chunk-index/opensearch/upkeep.ts'
import type { ChunkIndex } from '../../src/retrieval/chunk-index/port.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import { native } from '../support/native.ts'
import { dropIndices } from '../support/opensearch.ts'
import type { Subject } from './chunk-index.ts'
import { openDocumentRows } from './document-rows.ts'

export interface OpensearchSubject extends Subject {
  readonly database: Database
  readonly engine: Engine
  /** Events of the upkeep. */
  readonly logged: readonly string[]
  readonly upkeep: UpkeepDeps
  /** One turn of the upkeep, by the engine itself if none is given. */
  keep(engine?: Engine): Promise<void>
  /** Another process of the service, on the same database and engine. */
  another(): ChunkIndex
}

export interface OpensearchSubjectOptions {
  /** What stands between the service and the engine. */
  readonly fetch?: typeof fetch
  /** As `OpensearchIndexDeps.exactMax`. Default 0: the engine answers, or nobody. */
  readonly exactMax?: number
  readonly database?: (real: Database) => Database
  /** How length dampens repetition in a new index. Default as in the questions of the contract. */
  readonly perWord?: () => number
  /** How many publications an index takes. Default: all. */
  readonly width?: number
}

/** The chunk index on a real OpenSearch: an index of its own, which goes with it. */
export async function openOpensearchSubject(
  options: OpensearchSubjectOptions = {},
): Promise<OpensearchSubject> {
  const opened = await openTestDatabase('pglite')
  const database = options.database?.(opened) ?? opened
  const url = native.opensearch ?? ''
  const engine = createEngine({ urls: [url, url], fetch: options.fetch ?? fetch })
  const logged: string[] = []
  const upkeep: UpkeepDeps = {
    database,
    engine,
    log: (event) => logged.push(event),
    form: async () => ({
      dimensions: 384,
      perWord: options.perWord?.() ?? 0.02,
      shards: 2,
      refreshMs: 5,
      width: options.width ?? 1_000_000,
    }),
    graceSeconds: 0,
    countSeconds: 0,
  }
  const keep = (asked: Engine = engine) =>
    keepEngine({ ...upkeep, engine: asked }, new AbortController().signal)
  const { exactMax = 0 } = options
  const another = () => createOpensearchIndex({ database, engine, exactMax })
  await keep()
  const documents = await openDocumentRows(database)
  return {
    index: another(),
    database,
    engine,
    logged,
    upkeep,
    keep,
    another,
    dimensions: 384,
    recallMin: 0.99,
    ...documents,
    settle: async () => {
      await removeEnded({ database, engine }, 0)
    },
    async [Symbol.asyncDispose]() {
      await dropIndices(opened)
      await opened.close()
    },
  }
}
