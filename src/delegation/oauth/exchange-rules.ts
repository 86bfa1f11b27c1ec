import { splitObject } from '../../kernel/ids.ts'
import type { CollectionNarrowing, Principal } from '../../kernel/principal.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Agent, AgentLimits, Agents } from '../registry/agents.ts'
import { scopesOf } from '../registry/claims.ts'
import type { Client } from '../registry/clients.ts'
import {
  coveredDetails,
  type Details,
  detailsOf,
  type ForeignDetail,
  isDetailFor,
  isOwnType,
  type PresentedGrant,
} from '../registry/details.ts'
import { agentResource, isOurs, owns, type ResourceEntry, type Resources } from '../registry/resources.ts'
import type { ExternalIssuer } from '../tokens/issuers.ts'
import type { ExaminedToken } from '../tokens/verify.ts'

/** One entry of `authorization_details`, ours or another API's. */
export type Detail = CollectionNarrowing | PresentedGrant | ForeignDetail

/**
 * What of the token's details goes along: our own narrow by set inclusion, others' only as they were granted.
 */
export function detailsFor(
  requestedDetails: unknown,
  claimed: unknown,
  { entry, publicUrl }: { readonly entry: ResourceEntry; readonly publicUrl: string },
): Result<readonly Detail[], 'invalid_authorization_details'> {
  const tokenDetails = detailsOf(claimed)
  const requested = requestedDetails === undefined ? tokenDetails : detailsOf(requestedDetails)
  if (!tokenDetails.ok || !requested.ok || (requestedDetails !== undefined && isEmpty(requested.value)))
    return refuse('invalid_authorization_details', 'these are no details that are known')
  const documents = narrowedDocuments(requested.value.documents, tokenDetails.value)
  const grants = heldGrants(requested.value.grants, tokenDetails.value.grants)
  const foreignDetails = coveredDetails(requested.value.others, tokenDetails.value.others)
  if (documents === undefined || grants === undefined || foreignDetails === undefined)
    return refuse('invalid_authorization_details', 'more than the subject token holds')
  const isOwn = isOurs(entry.resource, publicUrl)
  // An agent as an addressee carries what is for others; our API and MCP know of none.
  const fits = (detail: ForeignDetail): boolean =>
    isOwn ? entry.authorizationDetailsTypes.includes(detail.type) : isDetailFor(detail, entry)
  const fitting = foreignDetails.filter(fits)
  if (requestedDetails !== undefined && fitting.length < foreignDetails.length)
    return refuse('invalid_authorization_details', 'that API does not know this')
  const knowsOthers = entry.authorizationDetailsTypes.some((type) => !isOwnType(type))
  // Without its details a token could mean anything there, or one step further.
  if (tokenDetails.value.others.length > 0 && fitting.length === 0 && (!isOwn || knowsOthers))
    return refuse('invalid_authorization_details', 'nothing of it is for that API')
  return ok(isOwn ? [...documents, ...grants, ...fitting] : fitting)
}

const isEmpty = ({ documents, grants, others: foreignDetails }: Details): boolean =>
  documents.length + grants.length + foreignDetails.length === 0
/** Whether a detail is another API's. */
export const isForeign = (detail: Detail): boolean => !isOwnType(detail.type)

function narrowedDocuments(
  requested: readonly CollectionNarrowing[],
  { documents: tokenDetails }: Details,
): readonly CollectionNarrowing[] | undefined {
  // Asking for details of others alone does not lift the token's own limit.
  if (requested.length === 0) return tokenDetails
  const isNarrower = requested.every(({ collections }) =>
    tokenDetails.every((tokenDetail) => collections.every((id) => tokenDetail.collections.includes(id))),
  )
  return isNarrower ? requested : undefined
}

/**
 * What the person said yes to goes along as it is named, or not at all; whose it is, its row says on every
 * use.
 */
function heldGrants(
  requested: readonly PresentedGrant[],
  tokenDetails: readonly PresentedGrant[],
): readonly PresentedGrant[] | undefined {
  const isHeld = ({ type, grant }: PresentedGrant): boolean =>
    tokenDetails.some((tokenDetail) => tokenDetail.type === type && tokenDetail.grant === grant)
  return requested.every(isHeld) ? requested : undefined
}

/** The API that a token is for, before it is exchanged. */
interface TokenOrigin {
  readonly resource: string
  readonly isOurs: boolean
}

/** What another issuer's token is shown with here, it was issued for us or for an agent of ours. */
const originOf = (
  { audience, issuer }: Pick<ExaminedToken, 'audience' | 'issuer'>,
  publicUrl: string,
): TokenOrigin => ({ resource: audience, isOurs: issuer.kind === 'external' || isOurs(audience, publicUrl) })

/**
 * Whether a token for one API may be exchanged by this client for one to another. Scopes and details mean
 * what their API says, so that between two of them nothing passes by default: into another's API only where
 * its row names the client in `allowed_clients`; out of another's API never into ours. NOT asked here: who
 * may show the token at all (`owns`), and what of it passes.
 */
export function mayCross(
  token: ExaminedToken,
  target: ResourceEntry,
  { client, publicUrl }: { readonly client: Client; readonly publicUrl: string },
): boolean {
  const origin = originOf(token, publicUrl)
  if (origin.resource === target.resource) return true
  if (!isOurs(target.resource, publicUrl)) return target.allowedClients?.includes(client.clientId) ?? false
  return origin.isOurs
}

/**
 * Those scopes of a token for one API that count at another. Ours mean the same at ours; any other is a word
 * of its API, so that it passes only where the other's row says as what.
 */
export function scopesCrossing(
  token: ExaminedToken,
  target: ResourceEntry,
  { held: tokenScopes, publicUrl }: { readonly held: readonly string[]; readonly publicUrl: string },
): readonly string[] {
  const origin = originOf(token, publicUrl)
  if (origin.resource === target.resource || (origin.isOurs && isOurs(target.resource, publicUrl)))
    return tokenScopes
  const as = new Map(Object.entries(new Map(Object.entries(target.accepts)).get(origin.resource) ?? {}))
  return tokenScopes.flatMap((scope) => as.get(scope) ?? [])
}

interface SubjectTokenPolicyDeps {
  readonly resources: Resources
  readonly publicUrl: string
}

/**
 * Whether a client may have a token of its own for this one: the confused deputy is refused here. A token
 * that was sent to somebody else, or got lost, is worth nothing. Ours has to be addressed to the client, or
 * issued to it.
 */
export async function mayExchangeSubjectToken(
  client: Client,
  examined: ExaminedToken,
  { resources, publicUrl }: SubjectTokenPolicyDeps,
): Promise<boolean> {
  const { claims, audience, issuer } = examined
  if (issuer.kind === 'external') return mayExchangeForeignToken(client, examined, issuer, publicUrl)
  if (claims.client_id === client.clientId) return true
  const entry = await resources.get(audience)
  return entry !== undefined && owns(entry, client)
}

/**
 * Another issuer's client ids are names of its own: one that is written like ours is not ours, and only the
 * settings (`exchange_clients`) say which two are one program. Such a program passes on what it was issued
 * for our API, or for its own agent, and nobody else does: the token that comes of it would not name that
 * program. What a person's client, or an agent, was issued has to be addressed to the requester's agent; that
 * the token is for our API is an address that every requester could claim.
 */
function mayExchangeForeignToken(
  client: Client,
  { claims, audience }: ExaminedToken,
  { exchangeClients, audiences }: ExternalIssuer,
  publicUrl: string,
): boolean {
  const isAddressee = client.kind === 'agent' && audience === agentResource(publicUrl, client.agent)
  const pairedClient = claims.client_id === undefined ? undefined : exchangeClients.get(claims.client_id)
  if (pairedClient === undefined) return isAddressee
  return pairedClient === client.clientId && (isAddressee || Object.values(audiences).includes(audience))
}

/**
 * What a token made from this one says of where it comes from, through every exchange. `upstream`: who the
 * person is elsewhere, and by which token of theirs we know; ending that one ends all that came of it.
 * `grant_id`: families are their issuer's: another's would be taken for one of ours.
 */
export function comesFrom({ claims, issuer }: ExaminedToken): {
  readonly upstream?: object
  readonly grant_id?: string
} {
  if (issuer.kind === 'external') return { upstream: { iss: claims.iss, sub: claims.sub, jti: claims.jti } }
  const { upstream, grant_id } = claims
  return { ...(upstream !== undefined && { upstream }), ...(grant_id !== undefined && { grant_id }) }
}

/** Scopes that a token made from this one may have: another issuer's count within what its settings allow. */
export const grantableScopes = ({ claims, issuer }: ExaminedToken): readonly string[] =>
  issuer.kind === 'own'
    ? scopesOf(claims)
    : [...issuer.scopesAllowed].filter((scope) => scopesOf(claims).includes(scope))

/** Whether `may_act` (RFC 8693 §4.4) names this agent, as this client. */
export function mayActNames(
  mayAct: unknown,
  agent: Agent,
  client: Client,
  { kind }: ExaminedToken['issuer'],
): boolean {
  if (typeof mayAct !== 'object' || mayAct === null) return false
  const { iss, sub, client_id } = mayAct as Readonly<Record<string, unknown>>
  return (
    sub === agent.sub &&
    (iss === undefined || iss === agent.issuer) &&
    // Another issuer's client of that name is not ours.
    (client_id === undefined || (kind === 'own' && client_id === client.clientId))
  )
}

/** What the agents that acted before allow; one that is gone allows nothing. */
export async function limitsOf({ actors }: Principal, agents: Agents): Promise<readonly AgentLimits[]> {
  const found = await Promise.all(actors.map((actor) => agents.get(splitObject(actor).id)))
  return found.map((agent) => agent?.limits ?? { scopes: [], collections: [] })
}
