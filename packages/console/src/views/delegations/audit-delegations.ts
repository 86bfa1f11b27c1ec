import type { Api } from '../../api.ts'
import { withQuery } from '../../router.tsx'

/** One delegation, as `GET /audit/delegations` gives it. */
export interface AuditDelegation {
  readonly delegation: string
  readonly subject: string
  /** `agent:research-bot` */
  readonly agent: string
  readonly sub_agents: readonly string[]
  readonly scope: readonly string[]
  readonly resource?: string
  readonly purpose: string
  readonly standing: boolean
  readonly created_at: string
  readonly expires_at: string
  readonly revoked_at?: string
  readonly state: 'live' | 'over' | 'revoked'
  readonly agent_disabled: boolean
}

/** What is live opens nothing to an agent that is disabled. */
export const isInForce = ({
  state,
  agent_disabled,
}: Pick<AuditDelegation, 'state' | 'agent_disabled'>): boolean => state === 'live' && !agent_disabled

/** In words: `live, agent disabled`. */
export const standingOf = (delegation: Pick<AuditDelegation, 'state' | 'agent_disabled'>): string =>
  delegation.state === 'live' && delegation.agent_disabled ? 'live, agent disabled' : delegation.state

/** One page of `GET /audit/delegations`; `names` are titles by id. */
export interface AuditDelegationPage {
  readonly delegations: readonly AuditDelegation[]
  readonly names: Readonly<Record<string, string>>
  readonly next_cursor?: string
}

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
