import { id } from '@remit/contract/id'
import { plain, text } from '@remit/contract/text'
import { z } from 'zod'
import { shownBodyMax } from '../vault/call.ts'
import type { Approval } from './approval.ts'

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

export function approvalToWire(approval: Approval): z.output<typeof approvalBody> {
  const { state, rounds, grant, reason, expiresAt } = approval
  const question = state === 'info_requested' ? rounds.at(-1)?.question : undefined
  const details = state === 'approved' ? detailsOf(approval) : undefined
  return {
    id: approval.id,
    state,
    ...(question !== undefined && { question }),
    ...(grant !== undefined && { grant_id: grant }),
    ...(details !== undefined && { authorization_details: details }),
    ...(reason !== undefined && { reason }),
    expires_at: expiresAt.toISOString(),
  }
}

/** Documents stay unnamed: what they are is on the person's page, and in the answers that they open. */
function detailsOf({ answer, grant }: Approval) {
  if (answer === undefined) return undefined
  if (answer.kind === 'access') return answer.details.map((detail) => ({ ...detail }))
  return [{ type: answer.kind === 'documents' ? 'document_access' : 'vault_call', grant }]
}
