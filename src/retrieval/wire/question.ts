import { id } from '@remit/contract/id'
import { named, text } from '@remit/contract/text'
import { z } from 'zod'
import { AppError } from '../../kernel/errors.ts'
import type { Question } from '../question.ts'

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

/** A grant that is presented. One that does not count for this principal and this question is as if it were left out. */
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

/** A question as it is asked at every face: words, or a vector of the caller's own. Unknown members are refused. */
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

export function toQuestion(asked: z.output<typeof questionSchema>): Question {
  const {
    query,
    embedding,
    top_k,
    mode,
    collections,
    filter: conditions,
    consistency,
    approval: grant,
  } = asked
  return {
    ...(query !== undefined && { query }),
    ...(embedding !== undefined && { embedding: unit(embedding) }),
    topK: top_k,
    mode: embedding === undefined ? (mode ?? 'hybrid') : 'vector',
    ...(collections !== undefined && { collections }),
    ...(conditions !== undefined && { filter: conditions }),
    consistency,
    ...(grant !== undefined && { approval: grant }),
  }
}

// Stored vectors have length 1: one of another length would only scale the scores, zero has no direction. By index: by
// iterator this took as long as parsing the body.
function unit(values: readonly number[]): Float32Array {
  const { length: count } = values
  let largest = 0
  for (let at = 0; at < count; at += 1) largest = Math.max(largest, Math.abs(values[at] ?? 0))
  // By parts of the largest: no square is past what a number can hold.
  let squares = 0
  for (let at = 0; at < count; at += 1) squares += ((values[at] ?? 0) / largest) ** 2
  const length = largest * Math.sqrt(squares)
  if (!Number.isFinite(length) || largest === 0) {
    throw new AppError('invalid_request', { field: 'embedding', public: 'The vector has no direction.' })
  }
  const found = new Float32Array(count)
  for (let at = 0; at < count; at += 1) found[at] = (values[at] ?? 0) / length
  return found
}
