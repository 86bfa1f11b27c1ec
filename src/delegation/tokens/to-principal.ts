import type { FgaObject } from '../../kernel/ids.ts'
import type { CollectionNarrowing, Principal, Scope } from '../../kernel/principal.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { ExternalAccount } from '../people/links.ts'
import { agentObject, withinLimits } from '../registry/agents.ts'
import {
  type ActorClaim,
  actorChain,
  type Claims,
  neverForActors,
  scopesOf,
  scopesOfKind,
} from '../registry/claims.ts'
import { detailsOf } from '../registry/details.ts'
import { serviceObject } from '../registry/services.ts'
import { accountKey, ownUser } from '../registry/subject.ts'
import type { RevocationTarget } from '../revocation/revocations.ts'
import type { IssuerSource } from './issuers.ts'
import type { VerifyReason } from './reasons.ts'
import type { RegistryLookup } from './registry-lookup.ts'
import type { RegisteredAgent, RegistryEntries } from './registry-query.ts'

export interface ToPrincipalDeps extends Pick<Runtime, 'clock' | 'newTxn'> {
  readonly lookUp: RegistryLookup
  /** Trusted issuer → its namespace. */
  readonly namespaces: ReadonlyMap<string, string>
  /** Whether details of other APIs may stand in it: only where nobody reads by this token. */
  readonly foreignDetails: boolean
}

/** Who a token stands for, and what that rests on: it may be said again while all of it stands. */
export interface Judgement {
  readonly principal: Principal
  /** Number of the last change of authority when it was judged. */
  readonly version: number
  /** Milliseconds since the epoch: the end of the token or of its delegation, whichever comes first. */
  readonly until: number
  /** Keys that must not be on the deny-list. */
  readonly deniable: readonly string[]
  /** The token names no txn: each request under it has one of its own. */
  readonly hasOwnTxn: boolean
}

/**
 * Says who a sound token stands for. What is absent never decides: a token without an actor is a person's own
 * only where the client is registered as a person's and no claim says otherwise; with an actor it is an
 * agent's whatever the client is, and then it needs a live delegation of this person to this agent.
 */
export async function toPrincipal(
  claims: Claims,
  issuer: IssuerSource,
  use: TokenUse,
  deps: ToPrincipalDeps,
): Promise<Result<Judgement, VerifyReason>> {
  const read = readToken(claims, issuer, use, deps)
  if (!read.ok) return read
  const { client, chain, user, details, elsewhere } = read.value
  const now = deps.clock.now()
  const registered = await deps.lookUp({
    ownClient: issuer.kind === 'own' ? client : undefined,
    service: issuer.kind === 'external' ? issuer.serviceClients.get(client) : undefined,
    chain,
    delegation: claims.delegation,
    account: elsewhere && { issuer: elsewhere.issuer, sub: elsewhere.sub },
    standingOf: issuer.kind === 'external' && issuer.standing ? user : undefined,
    revocable: revocable(read.value),
    now,
  })
  if (registered.revoked || claims.iat * 1_000 < registered.tokensFrom) return refuse('revoked')
  const token = resolved(read.value, registered)
  if (!token.ok) return token
  const party = partyOf(token.value, registered, now)
  if (!party.ok) return party
  const agents = registered.agents.filter((agent) => agent !== undefined)
  const hasOwnTxn = isTxn(claims.txn)
  const { clientKeys: keys } = registered
  const principal: Principal = {
    ...party.value,
    client,
    scopes: scopesFor(party.value.kind, claims, issuer, agents),
    authorizationDetails: withinCollections(details, agents),
    ...(read.value.grant !== undefined && { grant: read.value.grant }),
    ...(issuer.kind === 'own' && claims.grant_id !== undefined ? { grantId: claims.grant_id } : {}),
    ...(claims.cnf !== undefined && { boundTo: claims.cnf.jkt }),
    ...(party.value.kind === 'service' && keys !== undefined && { clientKeys: keys }),
    txn: isTxn(claims.txn) ? claims.txn : deps.newTxn(),
    ...(claims.auth_time === undefined ? {} : { authTime: claims.auth_time }),
    expiresAt: claims.exp,
  }
  const { version, deniable, delegation } = registered
  const validUntil = Math.min(claims.exp * 1_000, delegation?.expiresAt ?? Number.POSITIVE_INFINITY)
  return ok({ principal, version, until: validUntil, deniable, hasOwnTxn })
}

/**
 * `exchange`: a program shows a token that it was issued elsewhere, to get one of its own that names its
 * actor.
 */
export type TokenUse = 'request' | 'exchange'

/** What the token alone says. */
interface Token {
  readonly use: TokenUse
  readonly claims: Claims
  readonly issuer: IssuerSource
  readonly client: string
  readonly chain: readonly ActorClaim[]
  readonly details: readonly CollectionNarrowing[]
  /** What it presents, `g_…`. */
  readonly grant: string | undefined
  /** Undefined where `sub` is no person's key. Of an external issuer: unless the account is linked. */
  readonly user: FgaObject | undefined
  /** Who the subject is at a trusted issuer. */
  readonly elsewhere: Elsewhere | undefined
}

interface Elsewhere extends ExternalAccount {
  readonly namespace: string
  /** `jti` of the token there by which we know. */
  readonly jti: string | undefined
}

function readToken(
  claims: Claims,
  issuer: IssuerSource,
  use: TokenUse,
  { namespaces, foreignDetails }: ToPrincipalDeps,
): Result<Token, VerifyReason> {
  const client = claims.client_id
  if (client === undefined) return refuse('missing_claim', 'client_id')
  if (claims.azp !== undefined && claims.azp !== client) return refuse('bad_claim', 'azp')
  const chain = actorChain(claims)
  if (!chain.ok) return chain
  const details = detailsOf(claims.authorization_details)
  if (!details.ok) return details
  // What we do not know may narrow: at our own APIs nothing passes that we would ignore.
  if (!foreignDetails && details.value.others.length > 0) return refuse('bad_details')
  const elsewhere = elsewhereOf(claims, issuer, namespaces)
  if (!elsewhere.ok) return elsewhere
  const user =
    issuer.kind === 'own'
      ? ownUser(claims.sub, new Set(namespaces.values()))
      : userOf(elsewhere.value, undefined)
  return ok({
    use,
    claims,
    issuer,
    client,
    chain: chain.value,
    details: details.value.documents,
    grant: details.value.grants[0]?.grant,
    user,
    elsewhere: elsewhere.value,
  })
}

function elsewhereOf(
  { sub, upstream }: Claims,
  issuer: IssuerSource,
  namespaces: ReadonlyMap<string, string>,
): Result<Elsewhere | undefined, VerifyReason> {
  if (issuer.kind === 'external')
    return ok({ issuer: issuer.issuer, namespace: issuer.namespace, sub, jti: undefined })
  if (upstream === undefined) return ok(undefined)
  const namespace = namespaces.get(upstream.iss)
  // Trusted no longer: who they were there is nobody's word any more.
  if (namespace === undefined) return refuse('account_changed')
  return ok({ issuer: upstream.iss, namespace, sub: upstream.sub, jti: upstream.jti })
}

function userOf(elsewhere: Elsewhere | undefined, linked: string | undefined): FgaObject | undefined {
  const key = elsewhere && accountKey(elsewhere.namespace, elsewhere.sub, linked)
  return key === undefined ? undefined : `user:${key}`
}

/**
 * The token with the user that its account is now. A token of ours that says another one dates from before a
 * link or its end.
 */
function resolved(token: Token, { linked }: RegistryEntries): Result<Token, VerifyReason> {
  if (token.elsewhere === undefined) return ok(token)
  const user = userOf(token.elsewhere, linked)
  if (token.issuer.kind === 'own' && user !== token.user) return refuse('account_changed')
  return ok({ ...token, user })
}

/**
 * The person is revoked by every name that they have; a token also with the one elsewhere that it was made
 * from.
 */
function revocable({ claims: { iss: issuer, jti, grant_id }, user, elsewhere }: Token): RevocationTarget[] {
  const users = new Set([user, userOf(elsewhere, undefined)])
  return [
    { kind: 'jti', issuer, id: jti },
    ...(elsewhere?.jti === undefined
      ? []
      : [{ kind: 'jti', issuer: elsewhere.issuer, id: elsewhere.jti } as const]),
    ...(grant_id === undefined ? [] : [{ kind: 'grant', issuer, id: grant_id } as const]),
    ...[...users].flatMap((id) => (id === undefined ? [] : [{ kind: 'subject', id } as const])),
  ]
}

type Party = Pick<Principal, 'kind' | 'subject' | 'actors' | 'delegation'>

function partyOf(token: Token, registered: RegistryEntries, now: number): Result<Party, VerifyReason> {
  switch (clientKind(token, registered)) {
    case 'service':
      return serviceParty(token, registered)
    case 'person':
      // A person client's token that carries `act` is an agent's.
      return token.chain.length === 0 ? personParty(token) : agentParty(token, registered, now)
    case 'agent':
      return agentParty(token, registered, now)
  }
}

/** The registry's word about the client; one that it does not know is an agent's. */
function clientKind({ issuer, client, use }: Token, registered: RegistryEntries): Principal['kind'] {
  if (issuer.kind === 'own') return registered.client?.kind ?? 'agent'
  // What comes of it names the actor; as a request of its own it would need one already.
  if (use === 'exchange' && issuer.exchangeClients.has(client)) return 'person'
  if (issuer.serviceClients.has(client)) return 'service'
  return issuer.personClients.has(client) ? 'person' : 'agent'
}

function serviceParty({ chain, details }: Token, registered: RegistryEntries): Result<Party, VerifyReason> {
  if (chain.length > 0) return refuse('actor_on_service')
  if (details.length > 0) return refuse('bad_details')
  if (registered.service === undefined) return refuse('unknown_service')
  return ok({ kind: 'service', subject: serviceObject(registered.service), actors: [] })
}

function personParty(token: Token): Result<Party, VerifyReason> {
  const subject = personOf(token)
  return subject.ok ? ok({ kind: 'person', subject: subject.value, actors: [] }) : subject
}

function personOf({ claims, client, user }: Token): Result<FgaObject, VerifyReason> {
  // RFC 9068 §2.2: where no person took part, `sub` is the client. Okta and the actor profile say it
  // outright.
  if (claims.sub === client || (claims.sub_profile ?? 'user') !== 'user') return refuse('not_a_person')
  return user === undefined ? refuse('bad_subject') : ok(user)
}

function agentParty(token: Token, registered: RegistryEntries, now: number): Result<Party, VerifyReason> {
  const agents = agentsOf(token, registered)
  if (!agents.ok) return agents
  const subject = personOf(token)
  if (!subject.ok) return subject
  if (scopesOf(token.claims).some((scope) => neverForActors.has(scope))) return refuse('scope_for_actor')
  const delegation = delegationOf(token, registered, { subject: subject.value, agent: agents.value[0], now })
  if (!delegation.ok) return delegation
  return ok({
    kind: 'agent',
    subject: subject.value,
    actors: agents.value.map(agentObject),
    delegation: delegation.value,
  })
}

function agentsOf(
  { chain }: Token,
  { agents, client }: RegistryEntries,
): Result<readonly [string, ...string[]], VerifyReason> {
  if (chain.length === 0) return refuse('actor_missing')
  const ids: string[] = []
  for (const agent of agents) {
    if (agent === undefined) return refuse('unknown_actor')
    if (agent.disabled) return refuse('agent_disabled')
    ids.push(agent.id)
  }
  const [outermost, ...inner] = ids
  if (outermost === undefined) return refuse('actor_missing')
  if (client?.kind === 'agent' && client.agent !== outermost && agents[0]?.hosted !== true)
    return refuse('actor_mismatch')
  return ok([outermost, ...inner])
}

function delegationOf(
  { claims }: Token,
  { delegation }: RegistryEntries,
  { subject, agent, now }: { readonly subject: FgaObject; readonly agent: string; readonly now: number },
): Result<string, VerifyReason> {
  // Where the issuer may leave it out, this is the standing one, or there is none.
  if (claims.delegation === undefined && delegation === undefined) return refuse('delegation_missing')
  if (delegation === undefined) return refuse('delegation_unknown')
  const fits =
    delegation.subject === subject && (delegation.agent === agent || delegation.subAgents.includes(agent))
  if (!fits) return refuse('delegation_mismatch')
  return delegation.isLive && delegation.expiresAt > now ? ok(delegation.id) : refuse('delegation_not_live')
}

/**
 * What the token lets be read, within what each agent of its chain may reach at most: from here on the limit
 * of an agent looks like a narrowing of its token, whichever door the token came through.
 */
function withinCollections(
  details: readonly CollectionNarrowing[],
  chain: readonly RegisteredAgent[],
): readonly CollectionNarrowing[] {
  const limits = chain.flatMap(({ collections }) => (collections === null ? [] : [collections]))
  const [narrowest, ...otherLimits] = [...details.map(({ collections }) => collections), ...limits]
  if (narrowest === undefined) return []
  const collections = narrowest.filter((id) => otherLimits.every((limit) => limit.includes(id)))
  return [{ type: 'document_access', collections }]
}

/** Claimed, within what the kind may hold, what the issuer may hand out, and what each agent may hold. */
function scopesFor(
  kind: Principal['kind'],
  claims: Claims,
  issuer: IssuerSource,
  chain: readonly RegisteredAgent[],
): ReadonlySet<Scope> {
  const claimed = new Set(
    withinLimits(
      scopesOf(claims),
      chain.map(({ scopes }) => ({ scopes: scopes ?? undefined })),
    ),
  )
  return new Set(
    scopesOfKind[kind].filter(
      (scope) => claimed.has(scope) && (issuer.kind === 'own' || issuer.scopesAllowed.has(scope)),
    ),
  )
}

const isTxn = (txn: string | undefined): txn is string =>
  txn !== undefined && /^[A-Za-z0-9._~-]{1,64}$/.test(txn)
