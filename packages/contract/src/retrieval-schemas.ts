import { z } from 'zod'
import { id } from './id.ts'
import { named, text } from './text.ts'

const scalar = z.union([text(0, 1_000), z.number(), z.boolean()], 'must be a string, a number or a boolean')
const range = z.strictObject({
  gte: scalar.optional(),
  gt: scalar.optional(),
  lte: scalar.optional(),
  lt: scalar.optional(),
})
const filter = named(
  z.union(
    [scalar, z.strictObject({ in: z.array(scalar).min(1).max(100) }), range],
    'must be a value, {in: [1 to 100 values]} or {gte, gt, lte, lt}',
  ),
  20,
)

/**
 * A grant that is presented. One that does not count for this principal and this question is as if it were
 * left out.
 */
export const approval = z
  .string()
  .regex(/^g_[A-Za-z0-9_-]{1,100}$/, 'must be g_…')
  .describe('What the person agreed to: `grant_id` of an approval.')

/** What every face takes as a question, beside what only one of them knows. */
export const questionMembers = {
  query: text(1, 8_192)
    .optional()
    .meta({ description: 'The question, in words.', examples: ['What did the March recall cost?'] }),
  embedding: z
    .array(z.number())
    .min(1)
    .max(4_096)
    .optional()
    .describe('A vector of your own in place of words, from the model that this service embeds with.'),
  top_k: z.int().min(1).max(100).default(10).describe('Passages at most.'),
  mode: z.enum(['hybrid', 'vector', 'keyword']).optional(),
  collections: z
    .array(id)
    .max(100)
    .optional()
    .describe('Only documents that are filed in one of these; [] is none.'),
  filter: filter
    .optional()
    .describe('Conditions on declared metadata fields, all of which must hold (docs/filters.md).'),
  consistency: z
    .enum(['fast', 'strict'])
    .default('fast')
    .describe('strict: every permission is asked anew, past all caches.'),
  approval: approval.optional(),
}

/**
 * A question as it is asked at every face: words, or a vector of the caller's own. Unknown members are
 * refused.
 */
export const questionSchema = z
  .strictObject(questionMembers)
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
