import type { AuditDelegation, AuditDelegationPage } from '@remit/contract/audit'
import type { Api } from '../../api.ts'
import { withQuery } from '../../router.tsx'

/** What is live opens nothing to an agent that is disabled. */
export const isInForce = ({
  state,
  agent_disabled,
}: Pick<AuditDelegation, 'state' | 'agent_disabled'>): boolean => state === 'live' && !agent_disabled

/** In words: `live, agent disabled`. */
export const standingOf = (delegation: Pick<AuditDelegation, 'state' | 'agent_disabled'>): string =>
  delegation.state === 'live' && delegation.agent_disabled ? 'live, agent disabled' : delegation.state

/** Query of `GET /audit/delegations`. */
export type DelegationFilter = Readonly<
  Partial<Record<'delegation' | 'subject' | 'agent' | 'state' | 'cursor' | 'limit', string>>
>

/** One page of delegations, newest first. Throws `Problem`. */
export const fetchDelegations = (
  api: Api,
  filter: DelegationFilter,
  signal?: AbortSignal,
): Promise<AuditDelegationPage> => api.get(withQuery('/audit/delegations', filter), signal)
