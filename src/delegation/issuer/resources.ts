import { invalid } from '../../kernel/errors.ts'
import type { Scope } from '../../kernel/principal.ts'
import type { Sql } from '../../store/sql.ts'
import { type Agent, type Agents, withinLimits } from '../agents.ts'
import { scopesOfKind } from '../claims.ts'
import type { Client } from '../clients.ts'

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
  /** Registers another's API, or changes its row. */
  save(entry: NewResource): Promise<void>
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
    authorizationDetailsTypes: ['document_access'],
    allowedClients: undefined,
    owner: undefined,
  })
  const own = new Map([
    [publicUrl, builtIn(publicUrl, apiScopes)],
    [`${publicUrl}/mcp`, builtIn(`${publicUrl}/mcp`, mcpScopes)],
  ])

  async function addressee(resource: string): Promise<ResourceEntry | undefined> {
    const id = agentIdOf(resource, publicUrl)
    const agent = id === undefined ? undefined : await agents.get(id)
    if (agent === undefined || agent.disabledAt !== undefined) return undefined
    return { ...builtIn(resource, scopesOfKind.agent), owner: { agent: agent.id } }
  }

  return {
    async get(resource) {
      const builtin = own.get(resource) ?? (await addressee(resource))
      if (builtin !== undefined) return builtin
      const rows = await sql.query<ResourceRow>(
        `select resource, scopes, authorization_details_types, allowed_clients, owner_client
         from resources where resource = $1`,
        [resource],
      )
      return rows.map(fromRow)[0]
    },
    async save(entry) {
      assertForeign(entry.resource, publicUrl)
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
  const isOurs = entry.resource === publicUrl || entry.resource.startsWith(`${publicUrl}/`)
  const ofKind: readonly string[] = scopesOfKind[client.kind]
  return isOurs ? entry.scopes.filter((scope) => ofKind.includes(scope)) : entry.scopes
}

/** Whether this client may pass on a token that is addressed to it. */
export function owns({ owner }: ResourceEntry, client: Client): boolean {
  if (owner === undefined) return false
  if ('client' in owner) return owner.client === client.clientId
  return client.kind === 'agent' && client.agent === owner.agent
}

function agentIdOf(resource: string, publicUrl: string): string | undefined {
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

function assertForeign(resource: string, publicUrl: string): void {
  const url = URL.parse(resource)
  if (url === null || !/^https?:$/.test(url.protocol) || resource.includes('#'))
    throw invalid('resource', 'An absolute http or https URL without a fragment is needed.')
  if (resource === publicUrl || resource.startsWith(`${publicUrl}/`))
    throw invalid('resource', 'Everything below PUBLIC_URL is Remit’s own.')
}

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
