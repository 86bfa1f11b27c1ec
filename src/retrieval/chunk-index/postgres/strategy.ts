import type { AccessFilter } from '../../access-filter/visible.ts'

/**
 * Ways to find the nearest of what is visible: `exact` compares all of it, `hnsw` walks the HNSW graph past
 * what is not visible, `ivf` compares what is visible near the question.
 */
export type StrategyName = 'exact' | 'hnsw' | 'ivf'

/** One search by a vector. */
export interface VectorQuery {
  readonly visible: AccessFilter
  /** A unit vector. */
  readonly embedding: Float32Array
  readonly limit: number
  /**
   * Searched by the strategy that would be chosen for this, in as many statements: what is visible then tells
   * nothing by how it is searched. Fewer may be found than there are. Default: by itself.
   */
  readonly like?: AccessFilter
}

/** What one search took. Tells neither who asked nor what. */
export interface StrategyEvent {
  readonly strategy: StrategyName
  /** Milliseconds that the model of costs said. */
  readonly predictedMs: number
  readonly actualMs: number
  /** Chunks that were visible, and all. */
  readonly visible: number
  readonly corpus: number
  readonly returned: number
  /** A cheaper strategy was tried first and found too little; its time is part of `actualMs`. */
  readonly fellBack: boolean
}

/** Told after each search; must not throw. */
export type OnStrategy = (event: StrategyEvent) => void

/** What a statement gives of a chunk: a {@link FoundChunk}. */
export const foundColumns = 'chunk_id as "chunkId", doc_no as "docNo", ordinal, -distance as score'
