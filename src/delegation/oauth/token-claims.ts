import type { Runtime } from '../../store/runtime.ts'
import type { Delegations } from '../lending/delegations.ts'
import type { Agent, Agents } from '../registry/agents.ts'
import type { Clients } from '../registry/clients.ts'
import type { Consent, Consents } from './consents.ts'

/** What the library hands over about a token that it is about to sign. */
interface UnissuedToken {
  readonly clientId: string
  /** Left out for a token of a program of its own. */
  readonly grantId?: string | undefined
}

export interface TokenClaimsDeps extends Pick<Runtime, 'demo' | 'newTxn'> {
  readonly clients: Clients
  readonly agents: Agents
  readonly delegations: Delegations
  readonly grants: Consents
}

/**
 * The claims that make a token say who acts for whom. An agent client's token names its actor and its
 * delegation whatever the grant type; where either cannot be said there is no token: undefined.
 */
export async function tokenClaims(
  token: UnissuedToken,
  { clients, agents, delegations, grants, demo, newTxn }: TokenClaimsDeps,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const client = await clients.registered(token.clientId)
  if (client === undefined) return undefined
  const common = { txn: newTxn(), ...(demo && { demo: true }) }
  if (client.kind === 'service') return { ...common, sub_profile: 'service' }
  const link = token.grantId === undefined ? undefined : await grants.get(token.grantId)
  if (link === undefined || link.clientId !== client.clientId) return undefined
  const person = { ...common, ...personClaims(link) }
  if (client.kind === 'person') return person
  const agent = await agents.get(client.agent)
  if (agent === undefined || agent.disabledAt !== undefined || link.delegation === undefined) return undefined
  if (!(await delegations.isLive(link.delegation))) return undefined
  return { ...person, act: actorClaim(agent), delegation: link.delegation }
}

const personClaims = ({ grantId, signedInAt, amr, upstream, txn }: Consent) => ({
  sub_profile: 'user',
  ...(txn !== undefined && { txn }),
  grant_id: grantId,
  auth_time: Math.floor(signedInAt.getTime() / 1_000),
  ...(amr.length > 0 && { amr }),
  ...(upstream && { upstream: { iss: upstream.issuer, sub: upstream.sub } }),
})

/** An agent as the outermost link of an `act` claim. */
export const actorClaim = ({ issuer, sub }: Pick<Agent, 'issuer' | 'sub'>) => ({
  iss: issuer,
  sub,
  sub_profile: 'ai_agent',
})
