import type { Database } from '../../../store/sql.ts'
import type { IvfIndex } from '../ivf/ivf-index.ts'
import type { ChunkIndex } from '../port.ts'
import type { Costs } from './costs.ts'
import { createNearest } from './nearest.ts'
import { createPublisher } from './publisher.ts'
import type { OnStrategy } from './strategy.ts'
import { searchWords } from './words.ts'

/** The database alone suffices; without an IVF index searches are exact or by HNSW. */
export interface PostgresIndexDeps {
  readonly database: Database
  /** The IVF. Left out: never searched by. */
  readonly ivf?: Pick<IvfIndex, 'lists' | 'scanPool' | 'assign'> | undefined
  /** Told of each search by vectors: its strategy, and what it took. */
  readonly onStrategy?: OnStrategy | undefined
  /** What the strategies take. Defaults to what was measured elsewhere, then to what they take here. */
  readonly costs?: Costs
}

/** The chunk index in Postgres with pgvector: exact, HNSW or IVF, as `chooseStrategy` says for each question. */
export function createPostgresIndex({ database, ivf, onStrategy, costs }: PostgresIndexDeps): ChunkIndex {
  const nearest = createNearest({ database, ivf, onStrategy, ...(costs && { costs }) })
  return {
    ...createPublisher({ database, assign: ivf?.assign ?? (async () => undefined) }),

    // Over nothing, too: how long it takes must not tell that there is nothing.
    nearest: (vector, filter, limit, { like } = {}) =>
      nearest({ visible: filter, embedding: vector, limit, ...(like && { like }) }),

    // Looked up twice only where nobody compares how many statements it took.
    words: (query, filter, limit, { like } = {}) =>
      searchWords(database, query, filter, { limit, rareFirst: like === undefined }),
  }
}
