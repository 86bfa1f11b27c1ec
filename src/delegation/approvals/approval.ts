import type { approvalBody } from '@remit/contract/approval-schemas'
import type { z } from 'zod'
import { AppError } from '../../kernel/errors.ts'
import { agentOf, type Principal } from '../../kernel/principal.ts'
import type { GrantHolder } from '../lending/approval-grant.ts'
import type { ExternalAccount } from '../people/links.ts'
import type { RequestedAccess } from './requested-access.ts'

/** `info_requested`: the person asked back. The last three are final. */
export type ApprovalState = 'pending' | 'info_requested' | 'approved' | 'denied' | 'expired'

/** One question of the person, and the agent's answer: untrusted text. */
export interface QuestionRound {
  readonly question: string
  readonly askedAt: Date
  readonly answer?: string
  readonly answeredAt?: Date
}

/** Who asks: an agent with a token. */
export interface Requester extends GrantHolder {
  readonly client: string
  /** Thread of the request that asked, through every record of what came of it. */
  readonly txn: string
}

/** One question of one agent to the one person it works for. */
export interface Approval extends Requester {
  /** `ap_…` */
  readonly id: string
  readonly asked: RequestedAccess
  readonly front: 'rest' | 'ciba'
  /** The agent's own words, as is `bindingMessage`: shown, never believed. */
  readonly purpose?: string
  readonly bindingMessage?: string
  /**
   * By the clock: also `expired` where its time or its delegation is over and nobody has written it down yet.
   */
  readonly state: ApprovalState
  readonly rounds: readonly QuestionRound[]
  readonly createdAt: Date
  readonly expiresAt: Date
  /** The person's words to the agent. */
  readonly reason?: string
  /** `g_…`, of a yes to documents or to a call. */
  readonly grant?: string
  readonly decidedAt?: Date
  /** Of a yes: the sign-in in which it was said, on which whatever comes of it rests. */
  readonly decidedIn?: DecidedIn
  /** As narrowed. */
  readonly answer?: RequestedAccess
  /** One more with every change. */
  readonly version: number
}

/** How the person had proven who they are when they decided. */
export interface DecidedIn {
  readonly signedInAt: Date
  readonly amr: readonly string[]
  /** Who they are at the trusted issuer through which they came. */
  readonly upstream?: ExternalAccount
}

/** Whether the person can still decide. */
export const isOpen = ({ state }: Pick<Approval, 'state'>): boolean =>
  state === 'pending' || state === 'info_requested'

/**
 * Undefined without an agent or without a delegation: nothing is ever offered or presented for a person
 * alone.
 */
export function holderOf(principal: Principal): GrantHolder | undefined {
  const { subject, delegation } = principal
  const agent = agentOf(principal)
  if (agent === undefined || delegation === undefined) return undefined
  return { subject, agent, delegation }
}

/** Who asks, from a verified token: what is absent never decides. */
export function requesterOf(principal: Principal): Requester {
  const holder = holderOf(principal)
  if (holder === undefined) throw new AppError('actor_unauthorized', { internal: 'nobody asks for themself' })
  return { ...holder, client: principal.client, txn: principal.txn }
}

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
