import {
  type Check,
  isBoolean,
  isNumber,
  isRecord,
  isText,
  listOf,
  optional,
  orNull,
  shape,
  wordOf,
} from '../shared/shape.ts'

// What goes over the wire, by its names there (docs/openapi.json). Members that are not named here are let through, so
// that a newer service can say more; a member that is missing or of another type makes the answer unreadable.

export type Scalar = string | number | boolean
export type Condition =
  | Scalar
  | { readonly in: readonly Scalar[] }
  | { readonly gte?: Scalar; readonly gt?: Scalar; readonly lte?: Scalar; readonly lt?: Scalar }

export interface Question {
  /** Exactly one of `query` and `embedding`. */
  readonly query?: string
  readonly embedding?: readonly number[]
  /** 1 to 100. Default 10. */
  readonly top_k?: number
  /** Default `hybrid`; with an embedding `vector`. */
  readonly mode?: 'hybrid' | 'vector' | 'keyword'
  readonly collections?: readonly string[]
  readonly filter?: Readonly<Record<string, Condition>>
  /** Default `fast`. */
  readonly consistency?: 'fast' | 'strict'
  /** A grant that the person gave for this question, `g_…`. */
  readonly approval?: string
}

export interface Passage {
  readonly chunk_id: string
  readonly document_id: string
  readonly collection: string
  readonly title: string
  readonly uri: string | null
  readonly ordinal: number
  readonly text: string
  /** From 1. */
  readonly rank: number
  readonly locator: {
    readonly headings: readonly string[]
    readonly page?: number
    readonly start: number
    readonly end: number
  }
  readonly provenance: Provenance
}

export interface Provenance {
  readonly owner?: string
  readonly source: string
  readonly updated_at: string | null
}

export interface RetrieveAnswer {
  readonly results: readonly Passage[]
  /** false: the search was stopped before its end, so that there may be more. */
  readonly complete: boolean
  readonly mode_used: 'hybrid' | 'vector' | 'keyword'
  /** There is more that this person could let the agent read for this question: ask them, by `approvals.request`. */
  readonly approval?: { readonly offer_id: string }
  readonly freshness: { readonly index_lag_ms: number; readonly authorization_model_id: string }
  /** Keeps apart, in a cache of yours, what different people and agents may see. */
  readonly scope_key: string
  readonly txn: string
}

export interface Document {
  readonly id: string
  readonly collection: string
  readonly title: string
  readonly uri: string | null
  readonly text: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly provenance: Provenance
  readonly txn: string
}

export interface CollectionList {
  readonly collections: readonly { readonly id: string; readonly title: string }[]
  readonly complete: boolean
  readonly txn: string
}

const provenance = shape<Provenance>({
  owner: optional(isText),
  source: isText,
  updated_at: orNull(isText),
})

const passage = shape<Passage>({
  chunk_id: isText,
  document_id: isText,
  collection: isText,
  title: isText,
  uri: orNull(isText),
  ordinal: isNumber,
  text: isText,
  rank: isNumber,
  locator: shape<Passage['locator']>({
    headings: listOf(isText),
    page: optional(isNumber),
    start: isNumber,
    end: isNumber,
  }),
  provenance,
})

export const isRetrieveAnswer: Check<RetrieveAnswer> = shape<RetrieveAnswer>({
  results: listOf(passage),
  complete: isBoolean,
  mode_used: wordOf('hybrid', 'vector', 'keyword'),
  approval: optional(shape<{ offer_id: string }>({ offer_id: isText })),
  freshness: shape<RetrieveAnswer['freshness']>({ index_lag_ms: isNumber, authorization_model_id: isText }),
  scope_key: isText,
  txn: isText,
})

export const isDocument: Check<Document> = shape<Document>({
  id: isText,
  collection: isText,
  title: isText,
  uri: orNull(isText),
  text: isText,
  metadata: isRecord,
  provenance,
  txn: isText,
})

export const isCollectionList: Check<CollectionList> = shape<CollectionList>({
  collections: listOf(shape<{ id: string; title: string }>({ id: isText, title: isText })),
  complete: isBoolean,
  txn: isText,
})
