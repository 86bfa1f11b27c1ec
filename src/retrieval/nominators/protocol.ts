import { hash } from 'node:crypto'
import { z } from 'zod'

/** What an API process asks a nominator, and what that says: docs/decisions/0066-nominators.md. */

/** The one path. */
export const path = '/nominate'

const name = z.string().min(1).max(1_000)
const object = z.templateLiteral([z.string().min(1).max(100), ':', name])
const sha256 = z.string().length(43)

/** About one person, with what they present. */
export const question = z.strictObject({
  /** Of this question alone. */
  nonce: z.string().min(22).max(64),
  /** `2/3`: of whose people the person is, as whoever asks counts. */
  share: name,
  model_id: name,
  user: name.startsWith('user:'),
  contextual: z.array(z.strictObject({ user: name, relation: name, object })).max(1_000),
  /** Which documents they have these relations to; `known`: the digest of what was said before. */
  visible: z.array(z.strictObject({ relation: name, known: sha256.optional() })).max(4),
  /** Whether they have these relations to these objects. */
  allowed: z.array(z.strictObject({ relation: name, object })).max(20_000),
  /** The object of the marks of whoever asks. */
  marks: name,
  /** Whether to read the log and the corpus on before an answer. */
  read_on: z.boolean(),
})

/** A question as it travels. */
export type NominatorQuestion = z.infer<typeof question>

/** Bound to its question by everything but what it is about. */
export const answer = z.strictObject({
  nonce: z.string(),
  share: z.string(),
  model_id: z.string(),
  /** {@link digestOf} the question. */
  asked: sha256,
  /** The newest mark of whoever asks that OpenFGA's log told of; null: none. */
  mark: z.string().max(1_000).nullable(),
  /**
   * One for each relation: a bit for each number of a document, the lowest first; left out where the digest
   * is the one that was known. null: the model has no such relation.
   */
  visible: z.array(z.strictObject({ digest: sha256, bits: z.base64().optional() }).nullable()),
  allowed: z.array(z.boolean()),
})

/** An answer as it travels. */
export type NominatorAnswer = z.infer<typeof answer>

/** Of what is asked, and for whom: no two questions that differ in it have the same. */
export const digestOf = ({ user, contextual, visible, allowed }: NominatorQuestion): string =>
  hash(
    'sha256',
    JSON.stringify([
      user,
      contextual.map((tuple) => [tuple.user, tuple.relation, tuple.object]),
      visible.map(({ relation }) => relation),
      allowed.map(({ relation, object }) => [relation, object]),
    ]),
    'base64url',
  )

/** The same for the same documents, however long the bitmap is. */
export function digestOfBits(bits: Uint8Array): string {
  let end = bits.length
  while (end > 0 && bits[end - 1] === 0) end -= 1
  return hash('sha256', bits.subarray(0, end), 'base64url')
}

/** Of what a nominator does not answer, by the status of its response. */
export const refusals = { share: 421, model: 409, unready: 503 } as const
