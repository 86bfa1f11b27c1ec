import { SignJWT } from 'jose'
import type { Administrators } from '../../src/delegation/administration/administrators.ts'
import type { Delegations } from '../../src/delegation/lending/delegations.ts'
import type { People } from '../../src/delegation/people/people.ts'
import { type Agents, withinLimits } from '../../src/delegation/registry/agents.ts'
import { scopesOfKind } from '../../src/delegation/registry/claims.ts'
import type { Clients } from '../../src/delegation/registry/clients.ts'
import type { Services } from '../../src/delegation/registry/services.ts'
import { ownIssuerName, type Resource } from '../../src/delegation/tokens/issuers.ts'
import type { KeyRing } from '../../src/delegation/tokens/signing-key.ts'
import type { Clock } from '../../src/kernel/clock.ts'
import { invalid } from '../../src/kernel/errors.ts'
import type { Scope } from '../../src/kernel/principal.ts'

export type MintRequest = MintForPerson | MintForService

export interface MintForPerson {
  /** `anne`: a local account. */
  readonly user: string
  /** `research-bot`: the token is the agent's, for the person, under what the person has lent it. */
  readonly agent?: string
  /** Narrows. Left out: all that this kind of client may hold. */
  readonly scopes?: readonly string[]
  readonly resource?: Resource
  /** Narrows to these. */
  readonly collections?: readonly string[]
}

export interface MintForService {
  readonly service: string
  readonly scopes?: readonly string[]
  readonly resource?: Resource
}

export interface TestTokens {
  /**
   * A signed access token of at most 300 s. 422 names what is unknown: user, agent, service, scope,
   * delegation.
   */
  mint(request: MintRequest): Promise<string>
}

export interface TestTokensDeps {
  readonly publicUrl: string
  readonly keys: KeyRing
  readonly people: People
  readonly agents: Agents
  readonly services: Services
  readonly clients: Clients
  readonly administrators: Administrators
  readonly delegations: Delegations
  readonly clock: Clock
  readonly randomBytes: (size: number) => Buffer
  /** Whether they are the demo's. Default true. */
  readonly demo?: boolean
}

const ttlSeconds = 300

/**
 * Signs tokens as the built-in issuer would at the end of its flows, without any of them: for tests of what a
 * token opens. The flows have tests of their own.
 */
export function createTestTokens(deps: TestTokensDeps): TestTokens {
  const { publicUrl, keys, clock } = deps
  const id = (prefix: string) => `${prefix}_${deps.randomBytes(16).toString('base64url')}`

  return {
    async mint(request) {
      const bearer = await bearerOf(request, deps)
      const key = keys.current()
      const iat = Math.floor(clock.now() / 1_000)
      return new SignJWT({
        ...bearer.claims,
        client_id: bearer.client,
        scope: narrowed(bearer.scopes, request.scopes).join(' '),
        grant_id: id('gf'),
        txn: id('t'),
        ...((deps.demo ?? true) && { demo: true }),
        ...('collections' in request && {
          authorization_details: [{ type: 'document_access', collections: request.collections }],
        }),
      })
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
        .setIssuer(ownIssuerName(publicUrl))
        .setAudience(request.resource === 'mcp' ? `${publicUrl}/mcp` : publicUrl)
        .setIssuedAt(iat)
        .setExpirationTime(iat + ttlSeconds)
        .setJti(id('j'))
        .sign(key.privateKey)
    },
  }
}

interface Bearer {
  readonly client: string
  readonly claims: Readonly<Record<string, unknown>>
  readonly scopes: readonly Scope[]
}

async function bearerOf(request: MintRequest, deps: TestTokensDeps): Promise<Bearer> {
  if ('service' in request) return serviceBearer(request.service, deps)
  if (!(await deps.people.has(request.user))) {
    const known = (await deps.people.list()).map(({ key }) => key).join(', ')
    throw invalid(
      'user',
      `There is no account ${request.user}. Known: ${known || 'none yet; npm run remit -- demo fills the sample'}.`,
    )
  }
  const claims = { sub: request.user, auth_time: Math.floor(deps.clock.now() / 1_000) }
  if (request.agent !== undefined) return agentBearer(request.user, request.agent, claims, deps)
  const client = 'demo-person'
  await deps.clients.register({ clientId: client, kind: 'person' })
  const held = await deps.administrators.rolesOf(`user:${request.user}`)
  return {
    client,
    claims,
    scopes: scopesOfKind.person.filter((scope) => scope.startsWith('docs.') || isIn(held, scope)),
  }
}

async function agentBearer(
  user: string,
  agentId: string,
  claims: Bearer['claims'],
  deps: TestTokensDeps,
): Promise<Bearer> {
  const agent = await deps.agents.get(agentId)
  if (agent === undefined) throw invalid('agent', `There is no agent ${agentId}.`)
  if (agent.disabledAt !== undefined) throw invalid('agent', `The agent ${agentId} is disabled.`)
  const delegation = await deps.delegations.current(`user:${user}`, agentId)
  if (delegation === undefined) throw invalid('agent', `${user} has lent nothing to ${agentId} that is live.`)
  const client = `demo-agent-${agentId}`
  await deps.clients.register({ clientId: client, kind: 'agent', agent: agentId })
  return {
    client,
    claims: {
      ...claims,
      act: { iss: agent.issuer, sub: agent.sub, sub_profile: 'ai_agent' },
      delegation: delegation.id,
    },
    scopes: withinLimits(scopesOfKind.agent, [agent.limits]),
  }
}

async function serviceBearer(name: string, deps: TestTokensDeps): Promise<Bearer> {
  if ((await deps.services.get(name)) === undefined) throw invalid('service', `There is no service ${name}.`)
  const client = `demo-service-${name}`
  await deps.clients.register({ clientId: client, kind: 'service', service: name })
  return { client, claims: { sub: client }, scopes: scopesOfKind.service }
}

function narrowed(held: readonly Scope[], wanted: readonly string[] | undefined): readonly string[] {
  const foreign = wanted?.find((scope) => !isIn(held, scope))
  if (foreign !== undefined) throw invalid('scope', `The scope ${foreign} is not among ${held.join(' ')}.`)
  return wanted ?? held
}

const isIn = (list: readonly string[], item: string): boolean => list.includes(item)
