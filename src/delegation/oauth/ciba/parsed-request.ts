import { text } from '@remit/contract/text'
import { shownBodyMax } from '@remit/contract/vault-schemas'
import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import { z } from 'zod'
import { AppError } from '../../../kernel/errors.ts'
import type { Principal, Scope } from '../../../kernel/principal.ts'
import type { Requester } from '../../approvals/approval.ts'
import { type RequestedAccess, scopeOfApproved } from '../../approvals/requested-access.ts'
import type { ResolveDetail } from '../../approvals/resolve.ts'
import { agentObject } from '../../registry/agents.ts'
import { detailsOf } from '../../registry/details.ts'
import { agentIdOf, isOurs } from '../../registry/resources.ts'
import { onlyAsks } from '../requested-details.ts'

/** What a request is about, before it is known for whom. */
export interface ParsedRequest {
  readonly resource: string
  /** Those of the API that are asked for and that this agent may hold there. */
  readonly scopes: readonly string[]
  /** The one detail of ours that only asks. */
  readonly asking: object | undefined
  readonly collections: readonly string[] | undefined
  readonly details: Extract<RequestedAccess, { readonly kind: 'access' }>['details']
}

/** Seconds that a person has: 30 to a day, 300 where nothing is said. */
export function secondsOf(requested: unknown): number {
  const seconds = requested === undefined ? secondsDefault : Number(requested)
  return Math.min(Math.max(seconds, secondsLeast), secondsMost)
}

/** How long a request is kept: the answer to a person's question gives them as long again. */
export const retentionSeconds = (seconds: number): number => 2 * seconds

const secondsDefault = 300
/** Seconds that a person has at least. */
export const secondsLeast = 30
/** Seconds that a person has at most: a day. */
export const secondsMost = 86_400

/**
 * Reads what a request asks for, once the library has validated each detail for the API. One API, since a
 * token is for one; not an agent as an addressee, which gets what it needs by exchange.
 */
export function parseRequest(ctx: KoaContextWithOIDC, publicUrl: string): ParsedRequest {
  const { params, resourceServers = {} } = ctx.oidc
  const [resource, ...extra] = Object.keys(resourceServers)
  if (resource === undefined || extra.length > 0 || agentIdOf(resource, publicUrl) !== undefined)
    throw new errors.InvalidTarget('a person is asked for one API at a time')
  const scopes = [...ctx.oidc.requestParamScopes].filter((scope) =>
    resourceServers[resource]?.scopes.has(scope),
  )
  const rawDetails: unknown = JSON.parse(String(params?.['authorization_details'] ?? '[]'))
  const detailList = Array.isArray(rawDetails) ? rawDetails : []
  const asking = detailList.filter(onlyAsks)
  if (asking.length > 0 && detailList.length > 1)
    throw new errors.InvalidAuthorizationDetails('an offer or a call is asked for by itself')
  if (asking[0] !== undefined) assertNoMore(asking[0], ctx.oidc.requestParamScopes, scopes)
  const details = detailsOf(detailList.filter((detail) => !onlyAsks(detail)))
  if (!details.ok) throw new errors.InvalidAuthorizationDetails('these are no details that are known')
  const { documents, others: foreignDetails } = details.value
  if (scopes.length === 0 && foreignDetails.length === 0)
    throw new errors.InvalidScope('nothing of that API is asked for', '')
  return {
    resource,
    scopes,
    asking: asking[0],
    collections: documents[0]?.collections,
    details: isOurs(resource, publicUrl) ? [] : foreignDetails,
  }
}

/** The only scope with which `authorization_details` as they came may be asked for; undefined: any. */
export function soleScopeOf(details: unknown): string | undefined {
  try {
    const detailList: unknown = JSON.parse(String(details ?? '[]'))
    const asking = Array.isArray(detailList) ? detailList.find(onlyAsks) : undefined
    return asking && scopeOf(asking)
  } catch {
    // Refused where it is read.
    return undefined
  }
}

const scopeOf = (asking: object): string =>
  'type' in asking && asking.type === 'vault_call' ? scopeOfApproved.vault_call : scopeOfApproved.documents

/**
 * Else a yes to one thing would give a token for others: they are asked for as such, by a page that says so.
 */
function assertNoMore(asking: object, requested: ReadonlySet<string>, grantable: readonly string[]): void {
  const only = scopeOf(asking)
  const extra = [...requested].filter((detail) => ![only, 'openid', 'offline_access'].includes(detail))
  if (extra.length > 0 || !grantable.includes(only))
    throw new errors.InvalidScope(`this is asked for with the scope ${only} alone`, extra.join(' '))
}

/** In a request for approval only: what is asked for by itself, an offer or one call. Never in a token. */
export const asks = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('document_access'), offer: z.string().min(1).max(100) }),
  z.strictObject({
    type: z.literal('vault_call'),
    connection: z.string().min(1).max(100),
    method: z.string().regex(/^[A-Z]{1,20}$/),
    path: z.string().min(1).max(2_048),
    content_type: z.string().min(1).max(200).optional(),
    body_digest: z
      .string()
      .regex(/^[\w-]{43}$/)
      .optional(),
    body: text(1, shownBodyMax).optional(),
  }),
])

/** What exactly is asked of the person, every id our own. */
export async function resolveRequest(
  asker: Requester,
  { asking, resource, scopes, details, collections }: ParsedRequest,
  resolve: ResolveDetail,
): Promise<RequestedAccess> {
  if (asking === undefined)
    return { kind: 'access', resource, scopes, details, ...(collections !== undefined && { collections }) }
  const parsedAsking = asks.safeParse(asking)
  if (!parsedAsking.success)
    throw new errors.InvalidAuthorizationDetails('document_access is {type, offer} or {type, collections}')
  try {
    return { ...(await resolve(principalOf(asker, scopes), parsedAsking.data)), scopes, resource }
  } catch (error) {
    if (!(error instanceof AppError) || error.status >= 500) throw error
    // One answer for what never was, is over, or is somebody else's.
    throw new errors.InvalidAuthorizationDetails('nothing of that was offered to this agent')
  }
}

/** Who would ask with a token: the client has just proven itself, and the person lent to its agent. */
function principalOf(
  { subject, agent, client, delegation, txn }: Requester,
  scopes: readonly string[],
): Principal {
  const grantable: readonly Scope[] = ['docs.search', 'docs.read', 'approvals.request', 'vault.use']
  return {
    kind: 'agent',
    subject,
    actors: [agentObject(agent)],
    client,
    scopes: new Set(grantable.filter((scope) => scopes.includes(scope))),
    authorizationDetails: [],
    delegation,
    txn,
    expiresAt: 0,
  }
}
