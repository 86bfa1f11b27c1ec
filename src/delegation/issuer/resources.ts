import { invalid } from '../../kernel/errors.ts'
import { isId } from '../../kernel/ids.ts'
import type { Scope } from '../../kernel/principal.ts'
import type { Sql } from '../../store/sql.ts'
import { type Agent, type Agents, isScope, withinLimits } from '../agents.ts'
import { scopesOfKind } from '../claims.ts'
import type { Client } from '../clients.ts'
import { isDetailType, isOwnType, ownDetailType, ownDetailTypes } from '../details.ts'

/** One API that a token can be for (RFC 8707): the token's only audience. */
export interface ResourceEntry {
  /** Compared as an exact string. */
  readonly resource: string
  readonly scopes: readonly string[]
  readonly authorizationDetailsTypes: readonly string[]
  /** undefined: every registered client of a person or an agent. */
  readonly allowedClients: readonly string[] | undefined
  /** Who may pass on tokens that are addressed to it. */
  readonly owner: { readonly client: string } | { readonly agent: string } | undefined
}

export interface Resources {
  /** Remit's own two, a registered agent as an addressee, or a row; undefined for whatever else. */
  get(resource: string): Promise<ResourceEntry | undefined>
  /**
   * Registers another's API, or gives its row exactly these properties. NOT checked: whether anything answers there.
   */
  save(entry: NewResource): Promise<void>
  /** False: there is no such row. Tokens that were made for it live on until they end: 300 s. */
  remove(resource: string): Promise<boolean>
  /** Remit's two, then every row. */
  list(): Promise<readonly ResourceEntry[]>
  /** Grows with every change that this process makes. */
  version(): number
  /** Every type of details that some other API knows, sorted. */
  detailTypes(): Promise<readonly string[]>
}

export interface NewResource {
  readonly resource: string
  readonly scopes: readonly string[]
  readonly authorizationDetailsTypes?: readonly string[]
  readonly allowedClients?: readonly string[]
  readonly ownerClient?: string
}

export interface ResourcesDeps {
  readonly sql: Sql
  readonly agents: Agents
  readonly publicUrl: string
}

const mcpScopes = ['docs.search', 'docs.read', 'approvals.request', 'vault.use'] satisfies Scope[]
const apiScopes = [...new Set(Object.values(scopesOfKind).flat())]

/** Tokens addressed to an agent itself, which only that agent can exchange for one to an API. */
export const agentResource = (publicUrl: string, agent: string): string =>
  `${publicUrl}/agents/${encodeURIComponent(agent)}`

export function createResources({ sql, agents, publicUrl }: ResourcesDeps): Resources {
  const builtIn = (resource: string, scopes: readonly string[]): ResourceEntry => ({
    resource,
    scopes,
    authorizationDetailsTypes: ownDetailTypes,
    allowedClients: undefined,
    owner: undefined,
  })
  const own = new Map([
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
      // It carries what the agent may ask on with: scopes of ours, and details that name the API that they are for.
      authorizationDetailsTypes: [ownDetailType, ...(await detailTypes())],
      owner: { agent: agent.id },
    }
  }

  const detailTypes: Resources['detailTypes'] = async () => {
    const rows = await sql.query<{ type: string }>(
      'select distinct unnest(authorization_details_types) as type from resources order by 1',
    )
    return rows.map(({ type }) => type)
  }

  return {
    async get(resource) {
      const builtin = own.get(resource) ?? (await addressee(resource))
      if (builtin !== undefined) return builtin
      return (await sql.query<ResourceRow>(`${select} where resource = $1`, [resource])).map(fromRow)[0]
    },
    async list() {
      return [...own.values(), ...(await sql.query<ResourceRow>(`${select} order by resource`)).map(fromRow)]
    },
    async remove(resource) {
      const rows = await sql.query('delete from resources where resource = $1 returning resource', [resource])
      version += 1
      return rows.length > 0
    },
    version: () => version,
    detailTypes,
    async save(entry) {
      assertUsable(entry, publicUrl)
      await assertClients(sql, 'owner_client', entry.ownerClient === undefined ? [] : [entry.ownerClient])
      await assertClients(sql, 'allowed_clients', entry.allowedClients ?? [])
      await sql.query(
        `insert into resources (resource, scopes, authorization_details_types, allowed_clients, owner_client)
         values ($1, $2, $3, $4, $5)
         on conflict (resource) do update set scopes = excluded.scopes,
           authorization_details_types = excluded.authorization_details_types,
           allowed_clients = excluded.allowed_clients, owner_client = excluded.owner_client`,
        [
          entry.resource,
          entry.scopes,
          entry.authorizationDetailsTypes ?? [],
          entry.allowedClients ?? null,
          entry.ownerClient ?? null,
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

/** The scopes of it that this client may hold: at Remit's own, those of its kind; an agent's within its limits. */
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

/**
 * Whether a token for one API may be exchanged by this client for one to another. Scopes and details mean what their
 * API says, so that between two of them nothing passes by default: into another's API only where its row names the
 * client in `allowed_clients`; out of another's API never into ours. NOT asked here: who may show the token at all
 * ({@link owns}), and what of it passes.
 */
export function mayCross(
  from: { readonly resource: string; readonly isOurs: boolean },
  to: ResourceEntry,
  { client, publicUrl }: { readonly client: Client; readonly publicUrl: string },
): boolean {
  if (from.resource === to.resource) return true
  if (!isOurs(to.resource, publicUrl)) return to.allowedClients?.includes(client.clientId) ?? false
  return from.isOurs
}

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
  { resource, scopes, authorizationDetailsTypes = [], allowedClients = [] }: NewResource,
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
    const wrong = list.findIndex((one) => !isFit(one))
    if (wrong >= 0) throw invalid(`${field}.${wrong}`, 'This is not a valid name.')
  }
}

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

const select = `select resource, scopes, authorization_details_types, allowed_clients, owner_client from resources`

interface ResourceRow {
  readonly resource: string
  readonly scopes: string[]
  readonly authorization_details_types: string[]
  readonly allowed_clients: string[] | null
  readonly owner_client: string | null
}

const fromRow = (row: ResourceRow): ResourceEntry => ({
  resource: row.resource,
  scopes: row.scopes,
  authorizationDetailsTypes: row.authorization_details_types,
  allowedClients: row.allowed_clients ?? undefined,
  owner: row.owner_client === null ? undefined : { client: row.owner_client },
})
