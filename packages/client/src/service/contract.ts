import type { CollectionList, Document, Passage, Provenance, RetrieveAnswer } from '@remit/contract/retrieval'
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

// Each guard names every member of its type: one that the contract gains, loses or changes is a compile error here.
// Members that are not named are let through, so that a newer service can say more; a member that is missing or of
// another type makes the answer unreadable.

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

/** Whether an answer to `POST /retrieve` can be read. */
export const isRetrieveAnswer: Check<RetrieveAnswer> = shape<RetrieveAnswer>({
  results: listOf(passage),
  complete: isBoolean,
  mode_used: wordOf('hybrid', 'vector', 'keyword'),
  approval: optional(shape<{ offer_id: string }>({ offer_id: isText })),
  freshness: shape<RetrieveAnswer['freshness']>({ index_lag_ms: isNumber, authorization_model_id: isText }),
  scope_key: isText,
  txn: isText,
})

/** Whether an answer to `GET /documents/{id}` can be read. */
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

/** Whether an answer to `GET /collections` can be read. */
export const isCollectionList: Check<CollectionList> = shape<CollectionList>({
  collections: listOf(shape<{ id: string; title: string }>({ id: isText, title: isText })),
  complete: isBoolean,
  txn: isText,
})
