/** One way to answer a question for a person: ours, a peer's, or the search that asks nobody. */
export interface Way<Name extends string = string> {
  readonly name: Name
  /**
   * `release`: only what the person may read. `nominate`: what is worth asking OpenFGA about, all of which it
   * may refuse. `raw`: whatever is nearest.
   */
  readonly kind: 'release' | 'nominate' | 'raw'
  ask(asked: Asked): Promise<Answered>
  /** Not timed: what this way has at hand when the question comes. */
  readonly prepare?: (asked: Asked) => Promise<unknown>
  /** One line for the report: what it is, and what was set. */
  readonly is?: string
  /** Where its permissions are kept. Left out: in OpenFGA. */
  readonly change?: (change: Change) => Promise<void>
}

/** A document given to a person, or taken away from them. */
export interface Change {
  readonly person: `user:${string}`
  /** Its place in the corpus. */
  readonly document: number
  readonly isGiven: boolean
}

export interface Asked {
  readonly person: `user:${string}`
  readonly vector: Float32Array
  /** The same as the database takes it. */
  readonly sent: string | Uint8Array
  /** A field of documents and the value wanted. */
  readonly filter?: readonly [name: 'tenth' | 'hundredth', value: number]
}

export interface Answered {
  /** Passages by number, best first; at most `topK` where they are released. */
  readonly passages: readonly number[]
  /** Documents that OpenFGA was asked about. */
  readonly checks: number
  /** Checks that were sent for it, where one document takes several smaller ones. */
  readonly parts?: number
  /** What the answer says of itself; left out where it says nothing of that. */
  readonly complete?: boolean
  /** Milliseconds that its parts took. */
  readonly steps?: Readonly<Record<string, number>>
}

export const topK = 10

/** What others do: everything that is asked beside the raw search and ours. */
export const peers = [
  'FGAFilter, fetch 50',
  'over-fetch ×3, refill',
  'ListObjects, id = any',
  'row-level security, iterative',
  'row-level security, one scan',
  'labels &&, planner',
  'OpenSearch, unfiltered',
  'OpenSearch, terms',
  'OpenSearch, terms, k 100',
  'wardowl',
  'wardowl, tuned',
  'SpiceDB, LookupResources',
  'SpiceDB, fully consistent',
] as const
export type Peer = (typeof peers)[number]
