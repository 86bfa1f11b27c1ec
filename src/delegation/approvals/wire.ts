import type { approvalBody } from '@remit/contract/approval-schemas'
import type { z } from 'zod'
import type { Approval } from './approval.ts'

/** The JSON that an agent gets of its own approval. Documents stay unnamed. */
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
