import { createRoute, z } from '@hono/zod-openapi'
import { AppError } from '../../kernel/errors.ts'
import { text } from '../../kernel/text.ts'
import type { Passage } from '../../retrieval/read.ts'
import type { Answer, Question, Retriever } from '../../retrieval/retrieve.ts'
import { type App, createRouter } from '../env.ts'
import type { RequireBearer } from '../middleware/bearer.ts'
import { endInTime } from '../middleware/frame.ts'
import { jsonBody } from '../middleware/json.ts'
import { bearer, id, problems } from '../schemas.ts'

const bodyBytesMax = 256 * 1024

const scalar = z.union([text(0, 1_000), z.number(), z.boolean()])
const range = z.strictObject({
  gte: scalar.optional(),
  gt: scalar.optional(),
  lte: scalar.optional(),
  lt: scalar.optional(),
})
const filter = z
  .record(text(1, 100), z.union([scalar, z.strictObject({ in: z.array(scalar).min(1).max(100) }), range]))
  .refine((fields) => Object.keys(fields).length <= 20, 'at most 20 fields')

const body = z
  .strictObject({
    query: text(1, 8_192).optional().openapi({ example: 'What did the March recall cost?' }),
    embedding: z.array(z.number()).min(1).max(4_096).optional(),
    top_k: z.int().min(1).max(100).default(10),
    mode: z.enum(['hybrid', 'vector', 'keyword']).optional(),
    collections: z.array(id).max(100).optional(),
    filter: filter.optional(),
    consistency: z.enum(['fast', 'strict']).default('fast'),
    approval: z
      .string()
      .regex(/^g_[A-Za-z0-9_-]{1,100}$/, 'must be g_…')
      .optional(),
  })
  .superRefine(({ query, embedding, mode }, context) => {
    if ((query === undefined) === (embedding === undefined)) {
      context.addIssue({
        code: 'custom',
        path: ['query'],
        message: 'exactly one of query and embedding is needed',
      })
    }
    if (embedding !== undefined && mode !== undefined && mode !== 'vector') {
      context.addIssue({
        code: 'custom',
        path: ['mode'],
        message: 'an embedding is searched in mode vector only',
      })
    }
  })
  .openapi('RetrieveRequest')

const provenance = z.strictObject({
  owner: z.string().optional(),
  source: z.string(),
  updated_at: z.string().nullable(),
})

const answer = z
  .strictObject({
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
    freshness: z.strictObject({ index_lag_ms: z.number(), authorization_model_id: z.string() }),
    scope_key: z.string(),
    txn: z.string(),
  })
  .openapi('RetrieveAnswer')

export interface RetrieveRouteDeps {
  readonly retrieve: Retriever
  readonly requireBearer: RequireBearer
  /** Milliseconds that the permission index is behind at most. */
  readonly indexLagMs: () => number
}

/** `POST /retrieve`: passages that the person may read, within what was lent to the agent. */
export function retrieveRoutes({ retrieve, requireBearer, indexLagMs }: RetrieveRouteDeps): App {
  const route = createRoute({
    method: 'post',
    path: '/retrieve',
    summary: 'Passages that answer a question and that the person may read',
    security: bearer,
    middleware: [
      endInTime,
      requireBearer({ kinds: ['person', 'agent'], scopes: ['docs.search'] }),
      ...jsonBody(bodyBytesMax),
    ] as const,
    request: { body: { required: true, content: { 'application/json': { schema: body } } } },
    responses: {
      200: { description: 'The passages, best first', content: { 'application/json': { schema: answer } } },
      ...problems(),
    },
  })
  return createRouter().openapi(route, async (c) => {
    const asked = c.req.valid('json')
    // A grant that cannot be presented yet must not be ignored: the caller would take a smaller answer for all.
    if (asked.approval !== undefined)
      throw new AppError('not_found', { public: 'This approval is not known.' })
    const found = await retrieve(c.get('principal'), toQuestion(asked), c.get('deadline'))
    return c.json(toAnswer(found, indexLagMs(), c.get('txn')), 200)
  })
}

function toQuestion(asked: z.output<typeof body>): Question {
  const { query, embedding, top_k, mode, collections, filter: conditions, consistency } = asked
  return {
    ...(query !== undefined && { query }),
    ...(embedding !== undefined && { embedding: unit(embedding) }),
    topK: top_k,
    mode: embedding === undefined ? (mode ?? 'hybrid') : 'vector',
    ...(collections !== undefined && { collections }),
    ...(conditions !== undefined && { filter: conditions }),
    consistency,
  }
}

// Stored vectors have length 1: one of another length would only scale the scores, zero has no direction.
function unit(values: readonly number[]): Float32Array {
  const length = Math.hypot(...values)
  if (!Number.isFinite(length) || length === 0) {
    throw new AppError('invalid_request', { field: 'embedding', public: 'The vector has no direction.' })
  }
  return Float32Array.from(values, (value) => value / length)
}

function toAnswer(
  { passages, complete, modeUsed, modelId, scopeKey }: Answer,
  indexLagMs: number,
  txn: string,
): z.output<typeof answer> {
  return {
    results: passages.map((passage, index) => toResult(passage, index + 1)),
    complete,
    mode_used: modeUsed,
    freshness: { index_lag_ms: indexLagMs, authorization_model_id: modelId },
    scope_key: scopeKey,
    txn,
  }
}

function toResult(passage: Passage, rank: number): z.output<typeof answer>['results'][number] {
  const { chunkId, documentId, collection, title, uri, ordinal, text: words, locator } = passage
  const { owner, source, updatedAt } = passage.provenance
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
    provenance: { ...(owner !== undefined && { owner }), source, updated_at: updatedAt },
  }
}
