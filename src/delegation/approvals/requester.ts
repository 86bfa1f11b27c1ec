import { AppError } from '../../kernel/errors.ts'
import { agentOf, type Principal } from '../../kernel/principal.ts'
import type { GrantHolder } from '../lending/grant-row.ts'
import type { Requester } from './approval.ts'

/** Undefined without an agent or without a delegation: nothing is ever offered or presented for a person alone. */
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
