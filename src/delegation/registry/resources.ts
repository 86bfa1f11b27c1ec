import { isId } from '@remit/contract/id'
import { invalid } from '../../kernel/errors.ts'
import type { Scope } from '../../kernel/principal.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, readRows, type Sql } from '../../store/sql.ts'
import { type Agent, type Agents, isScope, withinLimits } from './agents.ts'
import { scopesOfKind } from './claims.ts'
import type { Client } from './clients.ts'
import { isDetailType, isOwnType, ownDetailType, ownDetailTypes } from './details.ts'

/** One API that a token can be for (RFC 8707): the token's only audience. */
export interface ResourceEntry {
  /** Compared as an exact string. */
  readonly resource: string
  readonly scopes: readonly string[]
  readonly authorizationDetailsTypes: readonly string[]
  /** undefined: every registered client of a person or an agent. */
  readonly allowedClients: readonly string[] | undefined
  /**
   * API → its scope → the one of these that it counts as here. A word that is not in it passes from nowhere.
   */
  readonly accepts: Accepts
  /**
   * Whether what somebody agrees to for it takes them in front of their device, as a sensitive document does.
   */
  readonly takesVerification: boolean
  /** Who may pass on tokens that are addressed to it. */
  readonly owner: { readonly client: string } | { readonly agent: string } | undefined
}

/** Scopes of other APIs that count here: API → its scope → ours. */
export type Accepts = Readonly<Record<string, Readonly<Record<string, string>>>>

/** The registry of APIs for which tokens are issued, Remit's own included. */
export interface Resources {
  /**
   * Remit's own two, a registered agent as an addressee, or a row that is usable; undefined for whatever
   * else.
   */
  get(resource: string): Promise<ResourceEntry | undefined>
  /**
   * Registers another's API, or gives its row exactly these properties. NOT checked: whether anything answers
   * there.
   */
  save(entry: NewResource): Promise<void>
  /** False: there is no such row. Tokens that were made for it live on until they end: 300 s. */
  remove(resource: string): Promise<boolean>
  /** Remit's two, then every row, the unusable ones too. */
  list(): Promise<readonly ResourceEntry[]>
  /** Rows that have scopes of ours for theirs: no token is made for them. */
  unusable(): Promise<readonly ResourceEntry[]>
  /** Grows with every change that this process makes. */
  version(): number
  /** Every type of details that some other API knows, sorted. */
  detailTypes(): Promise<readonly string[]>
}

/** An API to register. What is left out is unset. */
export interface NewResource {
  readonly resource: string
  readonly scopes: readonly string[]
  readonly authorizationDetailsTypes?: readonly string[]
  readonly allowedClients?: readonly string[]
  readonly accepts?: Accepts
  /** Default true. */
  readonly takesVerification?: boolean
  readonly ownerClient?: string
}

export interface ResourcesDeps extends Pick<Runtime, 'sql' | 'publicUrl'> {
  readonly agents: Agents
}

/** What the tools of `/mcp` take, all together. */
export const mcpScopes = ['docs.search', 'docs.read', 'approvals.request', 'vault.use'] satisfies Scope[]
const apiScopes = [...new Set(Object.values(scopesOfKind).flat())]
// OpenID's own mean the same at every API.
const ownScopes: ReadonlySet<string> = new Set([...apiScopes, 'openid', 'offline_access'])

/** Tokens addressed to an agent itself, which only that agent can exchange for one to an API. */
export const agentResource = (publicUrl: string, agent: string): string =>
  `${publicUrl}/agents/${encodeURIComponent(agent)}`

/** Our own APIs are there without a row. Does NOT check who asks. */
export function createResources({ sql, agents, publicUrl }: ResourcesDeps): Resources {
  const builtIn = (resource: string, scopes: readonly string[]): ResourceEntry => ({
    resource,
    scopes,
    authorizationDetailsTypes: ownDetailTypes,
    allowedClients: undefined,
    accepts: {},
    takesVerification: false,
    owner: undefined,
  })
  const ownResources = new Map([
    [publicUrl, builtIn(publicUrl, apiScopes)],
    [`${publicUrl}/mcp`, builtIn(`${publicUrl}/mcp`, mcpScopes)],
  ])

  let version = 0

  async function addressee(resource: string): Promise<ResourceEntry | undefined> {
    const id = agentIdOf(resource, publicUrl)
    const agent = id === undefined ? undefined : await agents.get(id)
    if (agent === undefined || agent.disabledAt !== undefined) return undefined
    return {
      ...builtIn(resource, scopesOfKind.agent),
      // It carries what the agent may ask on with: scopes of ours, and details that name the API that they
      // are for.
      authorizationDetailsTypes: [ownDetailType, ...(await detailTypes())],
      owner: { agent: agent.id },
    }
  }

  const rows = () => readRows<ResourceEntry>(sql, `${select} order by resource`)

  const detailTypes: Resources['detailTypes'] = async () => {
    const rows = await sql.query<{ type: string }>(
      'select distinct unnest(authorization_details_types) as type from resources order by 1',
    )
    return rows.map(({ type }) => type)
  }

  return {
    async get(resource) {
      const builtin = ownResources.get(resource) ?? (await addressee(resource))
      if (builtin !== undefined) return builtin
      const [found] = await readRows<ResourceEntry>(sql, `${select} where resource = $1`, [resource])
      // A token for us, which somebody agreed to on a page of ours, would count there as well.
      return found?.scopes.some(isOwnScope) === true ? undefined : found
    },
    list: async () => [...ownResources.values(), ...(await rows())],
    unusable: async () => (await rows()).filter(({ scopes }) => scopes.some(isOwnScope)),
    async remove(resource) {
      const text = 'delete from resources where resource = $1 returning resource'
      const removed = await countRows(sql, text, [resource])
      version += 1
      return removed > 0
    },
    version: () => version,
    detailTypes,
    async save(entry) {
      assertUsable(entry, publicUrl)
      await assertClients(sql, 'owner_client', entry.ownerClient === undefined ? [] : [entry.ownerClient])
      await assertClients(sql, 'allowed_clients', entry.allowedClients ?? [])
      await sql.query(
        `insert into resources (resource, scopes, authorization_details_types, allowed_clients, owner_client, accepts,
           takes_verification)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (resource) do update set scopes = excluded.scopes,
           authorization_details_types = excluded.authorization_details_types,
           allowed_clients = excluded.allowed_clients, owner_client = excluded.owner_client,
           accepts = excluded.accepts, takes_verification = excluded.takes_verification`,
        [
          entry.resource,
          entry.scopes,
          entry.authorizationDetailsTypes ?? [],
          entry.allowedClients ?? null,
          entry.ownerClient ?? null,
          entry.accepts ?? {},
          entry.takesVerification ?? true,
        ],
      )
      version += 1
    },
  }
}

/** Whether this client may have tokens for it at all. A service only where it is named, or at our own API. */
export function mayTarget(entry: ResourceEntry, client: Client, publicUrl: string): boolean {
  if (client.kind === 'service')
    return entry.resource === publicUrl || (entry.allowedClients?.includes(client.clientId) ?? false)
  return entry.allowedClients?.includes(client.clientId) ?? true
}

/**
 * The scopes of it that this client may hold: at Remit's own, those of its kind; an agent's within its
 * limits.
 */
export function scopesAt(
  entry: ResourceEntry,
  client: Client,
  { publicUrl, agent }: { readonly publicUrl: string; readonly agent: Agent | undefined },
): readonly string[] {
  const ofKind = scopesOfKindAt(entry, client, publicUrl)
  return agent === undefined ? ofKind : withinLimits(ofKind, [agent.limits])
}

function scopesOfKindAt(entry: ResourceEntry, client: Client, publicUrl: string): readonly string[] {
  // What an agent is handed for itself is used nowhere as it is: it holds what the agent may ask on with.
  if (entry.owner !== undefined && 'agent' in entry.owner) return entry.scopes
  const ofKind: readonly string[] = scopesOfKind[client.kind]
  return isOurs(entry.resource, publicUrl)
    ? entry.scopes.filter((scope) => ofKind.includes(scope))
    : entry.scopes
}

/** Whether it is one of Remit's own audiences: the API, MCP, or an agent as an addressee. */
export const isOurs = (resource: string, publicUrl: string): boolean =>
  resource === publicUrl || resource.startsWith(`${publicUrl}/`)

/** Whether this client may pass on a token that is addressed to it. */
export function owns({ owner }: ResourceEntry, client: Client): boolean {
  if (owner === undefined) return false
  if ('client' in owner) return owner.client === client.clientId
  return client.kind === 'agent' && client.agent === owner.agent
}

/** The agent to which tokens for this resource are addressed; undefined for every other resource. */
export function agentIdOf(resource: string, publicUrl: string): string | undefined {
  const prefix = `${publicUrl}/agents/`
  if (!resource.startsWith(prefix)) return undefined
  try {
    const id = decodeURIComponent(resource.slice(prefix.length))
    // One agent has one spelling: an exact string is compared everywhere.
    return agentResource(publicUrl, id) === resource ? id : undefined
  } catch {
    return undefined
  }
}

const listMax = 50

function assertUsable(
  { resource, scopes, authorizationDetailsTypes = [], allowedClients = [], accepts = {} }: NewResource,
  publicUrl: string,
): void {
  const url = URL.parse(resource)
  if (url === null || !/^https?:$/.test(url.protocol) || resource.includes('#') || resource.length > 500)
    throw invalid('resource', 'An absolute http or https URL without a fragment is needed.')
  if (isOurs(resource, publicUrl)) throw invalid('resource', 'Everything below PUBLIC_URL is Remit’s own.')
  if (scopes.length < 1) throw invalid('scopes', 'At least one scope is needed.')
  for (const [field, list, isFit] of [
    ['scopes', scopes, isScope],
    ['authorization_details_types', authorizationDetailsTypes, isForeignType],
    ['allowed_clients', allowedClients, isId],
  ] as const) {
    if (list.length > listMax) throw invalid(field, `At most ${listMax}.`)
    const wrong = list.findIndex((candidate) => !isFit(candidate))
    if (wrong >= 0) throw invalid(`${field}.${wrong}`, 'This is not a valid name.')
  }
  const ownScopeIndex = scopes.findIndex(isOwnScope)
  if (ownScopeIndex >= 0)
    throw invalid(`scopes.${ownScopeIndex}`, 'This is a scope of Remit: a token for Remit would hold it too.')
  const taking = Object.entries(accepts)
  if (taking.length > listMax) throw invalid('accepts', `At most ${listMax}.`)
  for (const [sourceResource, as] of taking) {
    if (
      URL.parse(sourceResource) === null ||
      sourceResource === resource ||
      isOurs(sourceResource, publicUrl)
    )
      throw invalid('accepts', 'Scopes are taken from another API than this one, and never from Remit’s.')
    if (Object.keys(as).length > listMax || !Object.keys(as).every(isScope))
      throw invalid('accepts', `${sourceResource} has scopes that are none.`)
    const unknown = Object.values(as).find((scope) => !scopes.includes(scope))
    if (unknown !== undefined) throw invalid('accepts', `${unknown} is not among the scopes of this API.`)
  }
}

const isOwnScope = (scope: string): boolean => ownScopes.has(scope)

// Ours is for our own APIs: at another's it would look like a limit that nobody there keeps.
const isForeignType = (type: string): boolean => !isOwnType(type) && isDetailType(type)

async function assertClients(sql: Sql, field: string, clients: readonly string[]): Promise<void> {
  const rows = await sql.query<{ id: string }>(
    'select client_id as id from clients where client_id = any($1)',
    [[...clients]],
  )
  const missing = clients.find((client) => !rows.some(({ id }) => id === client))
  if (missing !== undefined) throw invalid(field, `There is no client ${missing}. Add it first.`)
}

const select = `select resource, scopes, authorization_details_types as "authorizationDetailsTypes",
    allowed_clients as "allowedClients", accepts, takes_verification as "takesVerification",
    case when owner_client is not null then json_build_object('client', owner_client) end as owner
  from resources`
