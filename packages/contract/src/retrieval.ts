// Types alone, so that whoever reads them needs no zod. `retrieval-schemas.ts` has the schemas; a type test
// holds both together.

/** A value of a metadata field. */
export type Scalar = string | number | boolean
/** What a metadata field must be: this value, one of these, or within these bounds. */
export type Condition =
  | Scalar
  | { readonly in: readonly Scalar[] }
  | { readonly gte?: Scalar; readonly gt?: Scalar; readonly lte?: Scalar; readonly lt?: Scalar }

/** What `POST /retrieve` takes. */
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

/** One passage of an answer. */
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

/** Where a document comes from. */
export interface Provenance {
  readonly owner?: string
  readonly source: string
  readonly updated_at: string | null
}

/** What `POST /retrieve` answers: passages, best first. */
export interface RetrieveAnswer {
  readonly results: readonly Passage[]
  /** false: the search was stopped before its end, so that there may be more. */
  readonly complete: boolean
  readonly mode_used: 'hybrid' | 'vector' | 'keyword'
  /**
   * There is more that this person could let the agent read for this question: ask them, by
   * `approvals.request`.
   */
  readonly approval?: { readonly offer_id: string }
  readonly freshness: { readonly index_lag_ms: number; readonly authorization_model_id: string }
  /** Keeps apart, in a cache of yours, what different people and agents may see. */
  readonly scope_key: string
  readonly txn: string
}

/** What `GET /documents/{id}` answers: one whole document. */
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

/** What `GET /collections` answers: collections with something to read for this principal. */
export interface CollectionList {
  readonly collections: readonly { readonly id: string; readonly title: string }[]
  readonly complete: boolean
  readonly txn: string
}
