import { z } from 'zod'
import { id } from './id.ts'
import { plain, text } from './text.ts'
import { shownBodyMax } from './vault-schemas.ts'

/** Characters of the agent's reason for asking. */
export const purposeMax = 500
/** Characters of the agent's answer to what the person asks back. */
export const answerMax = 1_000
/** Seconds that the person has to answer, at least. */
export const secondsLeast = 30
/** Seconds that the person has to answer, at most. */
export const secondsMost = 86_400

/** What may be asked for, as RFC 9396 details. Every member is known: there is nothing to overlook. */
export const approvalDetail = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('document_access'),
    offer: z
      .string()
      .regex(/^o_[\w-]{1,100}$/)
      .meta({ description: 'Of `approval.offer_id`', examples: ['o_Yb3mDk0cTQ6rVx1eLw8sPA'] }),
  }),
  z.strictObject({
    type: z.literal('vault_call'),
    connection: id,
    method: z.string().regex(/^[A-Z]{1,20}$/),
    path: plain(2_048),
    content_type: plain(200).optional(),
    body_digest: z
      .string()
      .regex(/^[\w-]{43}$/)
      .optional()
      .describe('sha256 of the body, base64url'),
    body: text(1, shownBodyMax)
      .optional()
      .describe(
        'The body itself, where it is text: shown to the person, who sees a digest otherwise. Has to be what `body_digest` says',
      ),
  }),
])

/** How a question to the person stands, as the agent is told. */
export const approvalBody = z.strictObject({
  id: z.string(),
  state: z.enum(['pending', 'info_requested', 'approved', 'denied', 'expired']),
  question: z.string().optional().describe('The person’s, that is open'),
  grant_id: z.string().optional().describe('To be named as `approval` where it is used'),
  authorization_details: z
    .array(z.looseObject({ type: z.string() }))
    .optional()
    .describe('What was approved, for use in a token'),
  reason: z.string().optional().describe('The person’s, for a no'),
  expires_at: z.iso.datetime().describe('Of the question, not of the grant'),
})

/** What an agent asks its person for, and why. */
export const approvalInput = z.strictObject({
  authorization_details: z.array(approvalDetail).length(1),
  resource: z.string().max(2_048).optional().describe('This API, where given.'),
  purpose: plain(purposeMax).describe('The agent’s own words, shown to the person as such.'),
  requested_expiry: z.int().min(secondsLeast).max(secondsMost).default(300),
})

/** That the person was asked. */
export const approvalAsked = z.strictObject({
  id: z.string(),
  state: z.enum(['pending', 'info_requested', 'denied']),
  expires_at: z.iso.datetime(),
  interval: z.int().describe('Seconds between two looks.'),
})

/** What the agent answers to what the person asked back. */
export const approvalAnswerInput = z.strictObject({ text: plain(answerMax) })
