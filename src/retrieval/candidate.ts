import type { Guarded } from '../authz/gate.ts'
import type { ChunkId } from '../kernel/ids.ts'

/** What search nominates: ids, a place and a score. It has no text, no title, nothing worth leaking. */
export interface Candidate extends Required<Guarded> {
  readonly chunkId: ChunkId
  readonly ordinal: number
  /** Comparable within one search only; never leaves the service. */
  readonly score: number
}

/** How a question is searched; part of the API. */
export type Mode = 'hybrid' | 'vector' | 'keyword'
