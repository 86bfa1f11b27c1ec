import { randomBytes } from 'node:crypto'
import { SignJWT } from 'jose'
import { record } from '../../audit/record.ts'
import { splitObject } from '../../kernel/ids.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Delegation } from '../lending/delegation.ts'
import type { Delegations } from '../lending/delegations.ts'
import { type Agent, type Agents, agentObject, withinLimits } from '../registry/agents.ts'
import { chainMax } from '../registry/claims.ts'
import type { Client } from '../registry/clients.ts'
import { isOurs, mayTarget, type ResourceEntry, type Resources, scopesAt } from '../registry/resources.ts'
import type { KeyRing } from '../tokens/signing-key.ts'
import type { ExaminedToken, Verifier } from '../tokens/verify.ts'
import type { ReadActorToken } from './actor-token.ts'
import {
  comesFrom,
  type Detail,
  detailsFor,
  grantableScopes,
  isForeign,
  limitsOf,
  mayActNames,
  mayCross,
  mayExchangeSubjectToken,
  scopesCrossing,
} from './exchange-rules.ts'
import { actorClaim } from './token-claims.ts'

type AgentClient = Extract<Client, { readonly kind: 'agent' }>

/** What a client asks for (RFC 8693 §2.1), as it came. The client was authenticated before. */
export interface ExchangeRequest {
  readonly client: Client
  /** Thumbprint of the key that it proved with the request (RFC 9449); undefined where it proved none. */
  readonly provenKey: string | undefined
  readonly subjectToken: string
  readonly subjectTokenType: string
  /** Names the agent that acts, where the client is not that agent's own. */
  readonly actorToken?: string | undefined
  readonly actorTokenType?: string | undefined
  readonly requestedTokenType?: string | undefined
  /** Every `resource` and `audience` of the request: exactly one is allowed. */
  readonly targets: readonly string[]
  /** Space separated. Left out: all that both sides allow. */
  readonly scope?: string | undefined
  /** Left out: those of the subject token. */
  readonly details?: unknown
}

/** The answer of the token endpoint to an exchange (RFC 8693 §2.2.1). */
export interface ExchangedToken {
  readonly accessToken: string
  readonly expiresIn: number
  readonly scope: string
  readonly details: readonly Detail[]
}

/** Error codes of RFC 8693, 8707 and 9396, and the actor profile's own. */
export type ExchangeError =
  | 'invalid_request'
  | 'invalid_target'
  | 'invalid_scope'
  | 'invalid_authorization_details'
  | 'actor_unauthorized'
  | 'unauthorized_client'

/** Answers with a token or with the error of the token endpoint. Refuses whatever it cannot check. */
export type Exchange = (request: ExchangeRequest) => Promise<Result<ExchangedToken, ExchangeError>>

export interface ExchangeDeps extends Pick<Runtime, 'sql' | 'clock' | 'publicUrl' | 'issuer' | 'demo'> {
  readonly readActorToken: ReadActorToken
  readonly verifier: Verifier
  readonly resources: Resources
  readonly agents: Agents
  readonly delegations: Delegations
  readonly keys: KeyRing
}

/** Token type of RFC 8693 §3. */
export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'
const subjectTypes = new Set([accessTokenType, 'urn:ietf:params:oauth:token-type:jwt'])
const secondsMax = 300

/**
 * Gives an agent a token of its own for one API, from one that it was handed or that is its own. The rules
 * are in order, and the first that fails answers. Only narrows: never more scope, collections or time than
 * the token that came, the actor chain only grows, `txn` and `grant_id` stay. Delegation only: every token
 * names its actor.
 */
export function createExchange(deps: ExchangeDeps): Exchange {
  return async (exchangeRequest) => {
    const formed = wellFormed(exchangeRequest)
    if (!formed.ok) return formed
    const client = await speakerOf(exchangeRequest, deps)
    if (!client.ok) return client
    const request = { ...exchangeRequest, client: client.value }
    const subject = await subjectOf(request, deps)
    if (!subject.ok) return subject
    const actor = await actorOf(request.client, subject.value, deps)
    if (!actor.ok) return actor
    const target = await targetOf(request, subject.value, actor.value, deps)
    if (!target.ok) return target
    const scopes = await scopesFor(request, subject.value, { ...actor.value, entry: target.value }, deps)
    if (!scopes.ok) return scopes
    const details = detailsFor(request.details, subject.value.claims.authorization_details, {
      entry: target.value,
      publicUrl: deps.publicUrl,
    })
    if (!details.ok) return details
    // Where what exactly may be done stands in the details, no scope has to say more.
    if (scopes.value.length === 0 && !details.value.some(isForeign))
      return refuse('invalid_scope', 'nothing of what the subject token holds')
    const decided = { request, subject: subject.value, ...actor.value, resource: target.value.resource }
    return mint({ ...decided, scopes: scopes.value, details: details.value }, deps)
  }
}

function wellFormed(request: ExchangeRequest): Result<true, ExchangeError> {
  if (!subjectTypes.has(request.subjectTokenType))
    return refuse('invalid_request', 'subject_token_type is not an access token')
  if ((request.actorToken === undefined) !== (request.actorTokenType === undefined))
    return refuse('invalid_request', 'actor_token and actor_token_type belong together')
  if (request.requestedTokenType !== undefined && request.requestedTokenType !== accessTokenType)
    return refuse('invalid_request', 'only access tokens are given')
  return ok(true)
}

/**
 * The client, as the one agent that it speaks for now: its own, or the one that its actor token names and
 * that is hosted by it. A client that hosts others is never taken for one of them, or for its own agent,
 * without that token.
 */
async function speakerOf(
  { client, actorToken, actorTokenType, provenKey }: ExchangeRequest,
  { agents, readActorToken }: ExchangeDeps,
): Promise<Result<AgentClient, ExchangeError>> {
  if (client.kind !== 'agent') return refuse('unauthorized_client', 'only agents exchange tokens')
  if (actorToken === undefined)
    return (await agents.isHost(client.clientId))
      ? refuse('invalid_request', 'several agents act through this client: an actor_token says which')
      : ok(client)
  const agent = await readActorToken({ token: actorToken, type: actorTokenType, client, provenKey })
  // Not why: whoever holds a stray one would learn what became of its agent.
  if (agent === undefined) return refuse('invalid_request', 'the actor token is not accepted')
  if (agent.id !== client.agent && !agent.hostClients.includes(client.clientId))
    return refuse('actor_unauthorized', 'this agent does not act through this client')
  return ok({ ...client, agent: agent.id })
}

/** The token that came, if this client may pass it on at all. */
async function subjectOf(
  { client, subjectToken, provenKey }: ExchangeRequest,
  deps: ExchangeDeps,
): Promise<Result<ExaminedToken, ExchangeError>> {
  const examined = await deps.verifier.examineSubject(subjectToken)
  // Not why: whoever holds a stray token would learn what became of its agent.
  if (!examined.ok) return refuse('invalid_request', 'the subject token is not accepted')
  const { principal, actorsNamed } = examined.value
  if (principal.kind === 'service') return refuse('invalid_request', 'the subject is not a person')
  // Whoever cannot prove its key may not have it at all, whoever it is addressed to.
  if (principal.boundTo !== undefined && principal.boundTo !== provenKey)
    return refuse('invalid_request', 'the subject token is bound to a key that was not proven')
  if (!(await mayExchangeSubjectToken(client, examined.value, deps)))
    return refuse('invalid_request', 'the subject token is neither the client’s own nor addressed to it')
  // We know whom it means; to write it into a token of ours would put words into the other issuer's mouth.
  if (!actorsNamed) return refuse('invalid_request', 'an actor of the subject token does not name its issuer')
  return examined
}

interface Acting {
  readonly agent: Agent
  readonly delegation: Delegation
}

/** The client's registered agent, if the person lent to it, or let the agent that they lent to pass it on. */
async function actorOf(
  client: AgentClient,
  { claims, principal, issuer }: ExaminedToken,
  { agents, delegations }: ExchangeDeps,
): Promise<Result<Acting, ExchangeError>> {
  const agent = await agents.get(client.agent)
  if (agent === undefined || agent.disabledAt !== undefined) return refuse('actor_unauthorized')
  if (Object.hasOwn(claims, 'may_act') && !mayActNames(claims['may_act'], agent, client, issuer))
    return refuse('invalid_request', 'may_act names somebody else')
  if (principal.actors.length >= chainMax) return refuse('invalid_request', 'the chain of actors is full')
  const delegation =
    principal.delegation === undefined
      ? await delegations.current(principal.subject, agent.id)
      : await delegations.get(principal.delegation)
  const isNamed = delegation?.agent === agent.id || delegation?.subAgents.includes(agent.id) === true
  if (delegation === undefined || !isNamed || delegation.state !== 'live')
    return refuse('actor_unauthorized', 'nothing that is live was lent to this agent')
  return ok({ agent, delegation })
}

async function targetOf(
  { client, targets }: ExchangeRequest,
  subject: ExaminedToken,
  { delegation }: Acting,
  { resources, publicUrl }: ExchangeDeps,
): Promise<Result<ResourceEntry, ExchangeError>> {
  const [resource, ...otherTargets] = targets
  if (resource === undefined || otherTargets.length > 0)
    return refuse('invalid_target', 'name exactly one resource')
  const entry = await resources.get(resource)
  if (entry === undefined || !mayTarget(entry, client, publicUrl)) return refuse('invalid_target')
  if (!mayCross(subject, entry, { client, publicUrl }))
    return refuse('invalid_target', 'a token for the one is not exchanged for one to the other')
  // What was lent for another's API opens that one alone.
  if (delegation.resource !== undefined && delegation.resource !== resource)
    return refuse('invalid_target', 'it was lent for another API')
  return ok(entry)
}

/** May be empty: then the details have to say what may be done. */
async function scopesFor(
  { client, scope }: ExchangeRequest,
  subject: ExaminedToken,
  { agent, entry }: Acting & { readonly entry: ResourceEntry },
  { agents, publicUrl }: ExchangeDeps,
): Promise<Result<readonly string[], ExchangeError>> {
  const limits = await limitsOf(subject.principal, agents)
  // Details say what exactly may be done at an API, not whether these agents may go there at all.
  if (
    !isOurs(entry.resource, publicUrl) &&
    withinLimits(entry.scopes, [agent.limits, ...limits]).length === 0
  )
    return refuse('invalid_scope', 'nothing of that API is within the limits of its agents')
  const ownScopes = withinLimits(grantableScopes(subject), limits)
  const crossing = scopesCrossing(subject, entry, { held: ownScopes, publicUrl })
  const grantable = new Set(withinLimits(crossing, limits))
  const possible = scopesAt(entry, client, { publicUrl, agent }).filter((scopeName) =>
    grantable.has(scopeName),
  )
  const requestedScopes = scope?.split(' ').filter((scopeName) => scopeName !== '') ?? possible
  const lacking = requestedScopes.filter((scopeName) => !possible.includes(scopeName))
  return lacking.length === 0
    ? ok([...new Set(requestedScopes)])
    : refuse('invalid_scope', `more than the subject token and the agent hold: ${lacking.join(' ')}`)
}

interface Decided extends Acting {
  readonly request: ExchangeRequest
  readonly subject: ExaminedToken
  readonly resource: string
  readonly scopes: readonly string[]
  readonly details: readonly Detail[]
}

async function mint(
  { request, subject, agent, delegation, resource, scopes, details }: Decided,
  { sql, keys, clock, issuer, demo }: ExchangeDeps,
): Promise<Result<ExchangedToken, ExchangeError>> {
  const { claims, principal } = subject
  const iat = Math.floor(clock.now() / 1_000)
  const exp = Math.floor(Math.min(iat + secondsMax, claims.exp, delegation.expiresAt.getTime() / 1_000))
  if (exp <= iat) return refuse('invalid_request', 'no time is left')
  const key = keys.current()
  const scope = scopes.join(' ')
  const jti = `j_${randomBytes(16).toString('base64url')}`
  const accessToken = await new SignJWT({
    client_id: request.client.clientId,
    scope,
    sub_profile: 'user',
    // JSON leaves out what the token that came does not say.
    act: { ...actorClaim(agent), act: claims.act },
    delegation: delegation.id,
    txn: principal.txn,
    ...comesFrom(subject),
    auth_time: claims.auth_time,
    amr: claims.amr,
    ...(details.length > 0 && { authorization_details: details }),
    ...(request.provenKey !== undefined && { cnf: { jkt: request.provenKey } }),
    ...(demo && { demo: true }),
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
    .setIssuer(issuer)
    .setSubject(splitObject(principal.subject).id)
    .setAudience(resource)
    .setIssuedAt(iat)
    .setExpirationTime(exp)
    .setJti(jti)
    .sign(key.privateKey)
  // On record before it leaves, like everything that is given out.
  await record(
    sql,
    {
      subject: principal.subject,
      actors: [agentObject(agent.id), ...principal.actors],
      client: request.client.clientId,
      delegation: delegation.id,
      txn: principal.txn,
    },
    { event: 'token_exchanged', resource, scope, jti, from_issuer: claims.iss, from_jti: claims.jti },
  )
  return ok({ accessToken, expiresIn: exp - iat, scope, details })
}
