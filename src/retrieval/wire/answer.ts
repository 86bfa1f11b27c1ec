import { z } from 'zod'
import type { CollectionList } from '../collections.ts'
import type { Answer } from '../question.ts'
import type { Passage, Provenance, WholeDocument } from '../read.ts'

const provenance = z.strictObject({
  owner: z.string().optional(),
  source: z.string(),
  updated_at: z.string().nullable(),
})

/** Passages that answer a question, best first, as every face gives them. */
export const answerSchema = z.strictObject({
  results: z.array(
    z.strictObject({
      chunk_id: z.string(),
      document_id: z.string(),
      collection: z.string(),
      title: z.string(),
      uri: z.string().nullable(),
      ordinal: z.int(),
      text: z.string(),
      rank: z.int().min(1),
      locator: z.strictObject({
        headings: z.array(z.string()),
        page: z.int().optional(),
        start: z.int(),
        end: z.int(),
      }),
      provenance,
    }),
  ),
  complete: z.boolean(),
  mode_used: z.enum(['hybrid', 'vector', 'keyword']),
  approval: z
    .strictObject({ offer_id: z.string() })
    .optional()
    .describe(
      'The person could be asked for more: a request for approval takes it as `offer` for 5 minutes.',
    ),
  freshness: z.strictObject({ index_lag_ms: z.number(), authorization_model_id: z.string() }),
  scope_key: z.string(),
  txn: z.string(),
})

/** One whole document, as every face gives it. */
export const documentSchema = z.strictObject({
  id: z.string(),
  collection: z.string(),
  title: z.string(),
  uri: z.string().nullable(),
  text: z.string(),
  metadata: z.record(z.string(), z.unknown()),
  provenance,
  txn: z.string(),
})

/** Collections with something to read, as every face lists them. */
export const collectionListSchema = z.strictObject({
  collections: z.array(z.strictObject({ id: z.string(), title: z.string() })),
  complete: z.boolean(),
  txn: z.string(),
})

export function toAnswer(
  { passages, complete, modeUsed, modelId, scopeKey, offer }: Answer,
  /** Milliseconds that the permission index is behind at most. */
  indexLagMs: number,
  txn: string,
): z.output<typeof answerSchema> {
  return {
    results: passages.map((passage, index) => toResult(passage, index + 1)),
    complete,
    mode_used: modeUsed,
    ...(offer !== undefined && { approval: { offer_id: offer } }),
    freshness: { index_lag_ms: indexLagMs, authorization_model_id: modelId },
    scope_key: scopeKey,
    txn,
  }
}

function toResult(passage: Passage, rank: number): z.output<typeof answerSchema>['results'][number] {
  const { chunkId, documentId, collection, title, uri, ordinal, text: words, locator } = passage
  return {
    chunk_id: chunkId,
    document_id: documentId,
    collection,
    title,
    uri,
    ordinal,
    text: words,
    rank,
    locator: { ...locator, headings: [...locator.headings] },
    provenance: toProvenance(passage.provenance),
  }
}

export const toDocument = (found: WholeDocument, txn: string): z.output<typeof documentSchema> => ({
  ...found,
  provenance: toProvenance(found.provenance),
  txn,
})

export const toCollectionList = (
  { collections, complete }: CollectionList,
  txn: string,
): z.output<typeof collectionListSchema> => ({
  collections: collections.map(({ id, title }) => ({ id, title })),
  complete,
  txn,
})

const toProvenance = ({ owner, source, updatedAt }: Provenance): z.output<typeof provenance> => ({
  ...(owner !== undefined && { owner }),
  source,
  updated_at: updatedAt,
})
