import type { answerSchema, collectionListSchema, documentSchema } from '@remit/contract/retrieval-schemas'
import type { z } from 'zod'
import type { CollectionList } from '../collections.ts'
import type { Answer } from '../question.ts'
import type { Passage, Provenance, WholeDocument } from '../read.ts'

/** The answer as JSON. */
export function toAnswer(
  { passages, complete: isComplete, modeUsed, modelId, scopeKey, offer }: Answer,
  /** Milliseconds that the permission index is behind at most. */
  indexLagMs: number,
  txn: string,
): z.output<typeof answerSchema> {
  return {
    results: passages.map((passage, index) => toResult(passage, index + 1)),
    complete: isComplete,
    mode_used: modeUsed,
    ...(offer !== undefined && { approval: { offer_id: offer } }),
    freshness: { index_lag_ms: indexLagMs, authorization_model_id: modelId },
    scope_key: scopeKey,
    txn,
  }
}

// Each member by its name: what a statement reads one day beside them does not leave with them.
function toResult(passage: Passage, rank: number): z.output<typeof answerSchema>['results'][number] {
  const { chunkId, documentId, collection, title, uri, ordinal, text: passageText, locator } = passage
  return {
    chunk_id: chunkId,
    document_id: documentId,
    collection,
    title,
    uri,
    ordinal,
    text: passageText,
    rank,
    locator: { ...locator, headings: [...locator.headings] },
    provenance: toProvenance(passage.provenance),
  }
}

/** The document as JSON. */
export const toDocument = (found: WholeDocument, txn: string): z.output<typeof documentSchema> => ({
  ...found,
  provenance: toProvenance(found.provenance),
  txn,
})

/** The list of collections as JSON. */
export const toCollectionList = (
  { collections, complete: isComplete }: CollectionList,
  txn: string,
): z.output<typeof collectionListSchema> => ({
  collections: collections.map(({ id, title }) => ({ id, title })),
  complete: isComplete,
  txn,
})

const toProvenance = ({
  owner,
  source,
  updatedAt,
}: Provenance): z.output<typeof documentSchema>['provenance'] => ({
  ...(owner !== undefined && { owner }),
  source,
  updated_at: updatedAt,
})
