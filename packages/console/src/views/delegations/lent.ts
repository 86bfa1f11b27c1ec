import type { Api } from '../../api.ts'
import { withQuery } from '../../router.tsx'

/** One delegation, as `GET /audit/delegations` gives it. */
export interface Lent {
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
export const isInForce = ({ state, agent_disabled }: Pick<Lent, 'state' | 'agent_disabled'>): boolean =>
  state === 'live' && !agent_disabled

/** In words: `live, agent disabled`. */
export const standingOf = (lent: Pick<Lent, 'state' | 'agent_disabled'>): string =>
  lent.state === 'live' && lent.agent_disabled ? 'live, agent disabled' : lent.state

export interface LentPage {
  readonly delegations: readonly Lent[]
  readonly names: Readonly<Record<string, string>>
  readonly next_cursor?: string
}

export type LentFilter = Readonly<
  Partial<Record<'delegation' | 'subject' | 'agent' | 'state' | 'cursor' | 'limit', string>>
>

export const askLent = (api: Api, filter: LentFilter, signal?: AbortSignal): Promise<LentPage> =>
  api.get(withQuery('/audit/delegations', filter), signal)
