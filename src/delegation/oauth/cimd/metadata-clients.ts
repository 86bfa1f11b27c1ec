import { createHash } from 'node:crypto'
import type { Configuration } from 'oidc-provider'
import { createLru } from '../../../kernel/lru.ts'
import type { Runtime } from '../../../store/runtime.ts'
import { type Agent, type AgentLimits, type Agents, createAgents } from '../../registry/agents.ts'
import { type Client, type Clients, createClients, type Registration } from '../../registry/clients.ts'
import { clientMetadata } from '../client-metadata.ts'
import type { ClientDocument, ClientDocuments } from './documents.ts'
import type { DeniedHosts } from './hosts.ts'

/**
 * Clients that nobody registered, beside those that somebody did. Each is an agent's of its own, with the
 * least that is of use, no agents below it, and gets its rows when the first person lets it in.
 */
export interface MetadataClients {
  /**
   * Registered ones, and others by their metadata documents. Where the document is gone, so is the client.
   */
  readonly clients: Clients
  /** Registered ones, and those of clients whose metadata document was read here. */
  readonly agents: Agents
  /**
   * Writes down an agent and a client, where this is a metadata client that no person let in before and its
   * host is not denied.
   */
  introduce(client: Client & Registration, person: string): Promise<void>
}

export interface MetadataClientsDeps extends Pick<Runtime, 'issuer' | 'clock'> {
  readonly clients: Clients
  readonly agents: Agents
  /** Undefined: clients by document are refused, those that were let in before too. */
  readonly documents: ClientDocuments | undefined
  readonly hosts: Pick<DeniedHosts, 'isDenied' | 'unlessDenied'>
}

const limits: AgentLimits = {
  scopes: ['docs.search', 'docs.read', 'approvals.request'],
  collections: undefined,
}

const prefix = 'cimd/'

/** Whether nobody registered this agent: its title is the host that its document is at. */
export const isMetadataAgent = (agent: string): boolean => agent.startsWith(prefix)

/** One agent a document: the address as a digest, since ids have no room for addresses. */
const metadataAgentId = (clientId: string): string =>
  `${prefix}${createHash('sha256').update(clientId).digest('base64url')}`

/** Whether it is known by a document of its own, and nobody registered it. */
export const isMetadataClient = (client: Client): boolean =>
  client.kind === 'agent' && client.agent === metadataAgentId(client.clientId)

const seenMax = 1_000

/** Wraps the registry: whoever is registered there comes first. */
export function createMetadataClients(deps: MetadataClientsDeps): MetadataClients {
  const { clients, agents, documents, hosts, issuer, clock } = deps
  const documentsByAgent = createLru<ClientDocument>({ entriesMax: seenMax })

  const agentOf = ({ clientId, host }: ClientDocument): Agent => ({
    id: metadataAgentId(clientId),
    // Nobody answers for it.
    owner: '',
    title: host,
    purpose: `A program that nobody registered here, known by ${clientId}`.slice(0, 500),
    issuer,
    sub: metadataAgentId(clientId),
    limits,
    jwks: undefined,
    hostClients: [],
    disabledAt: undefined,
  })

  return {
    clients: {
      ...clients,
      async registered(clientId) {
        const row = await clients.registered(clientId)
        if (row !== undefined && !isMetadataClient(row)) return row
        // There, and yet not to be let in: its agent is disabled.
        if (row === undefined && (await clients.get(clientId)) !== undefined) return undefined
        // Before anything is asked of it.
        if (documents === undefined || (await hosts.isDenied(clientId))) return undefined
        const found = await documents.get(clientId)
        if (found === undefined) return undefined
        const agent = metadataAgentId(clientId)
        documentsByAgent.set(agent, found)
        const { host: title, redirectUris } = found
        return { clientId, kind: 'agent', agent, title, redirectUris, jwks: undefined }
      },
    },
    agents: {
      ...agents,
      async get(id) {
        const registeredAgent = await agents.get(id)
        const document = documentsByAgent.peek(id)
        return registeredAgent ?? (document && agentOf(document))
      },
    },
    async introduce({ clientId, redirectUris, title }, person) {
      const document = documentsByAgent.peek(metadataAgentId(clientId))
      if (document === undefined || (await clients.get(clientId)) !== undefined) return
      const { id, purpose, sub } = agentOf(document)
      // Its host may have been denied while the person was asked, and before there was an agent to disable.
      await hosts.unlessDenied(clientId, async (sql) => {
        // A row names somebody who answers: whoever let it in, for themself.
        const agent = { id, owner: `user:${person}`, title, purpose, issuer, sub, limits }
        await createAgents({ sql, clock }).save(agent)
        const client = { clientId, kind: 'agent', agent: id } as const
        await createClients({ sql }).register(client, { title, redirectUris, jwks: undefined })
      })
    },
  }
}

/** The draft that this was written to; the setting names it, so that a later one is a decision. */
const cimdDraft = 'draft-02'

/**
 * The library's own support for clients with documents, on our fetcher: it reads what {@link clientOf} makes
 * of a document, never the document itself, so that what such a client may do is fixed here and is not its
 * own choice.
 */
export function documentFeature(clients: Clients) {
  return {
    features: {
      clientIdMetadataDocument: {
        enabled: true,
        ack: cimdDraft,
        // A token request of somebody unknown reads nothing: codes and refresh tokens are of clients that
        // were let in.
        allowFetch: async (ctx, clientId) =>
          isBeginning(ctx?.oidc?.route) || (await clients.get(clientId)) !== undefined,
        // Its agent may be disabled since the library remembered it.
        allowClient: async (_ctx, { clientId }) => (await clients.registered(clientId)) !== undefined,
        cacheDuration: { min: 30, max: 30 },
      },
    },
    fetch: async (url) => {
      const client = await clients.registered(String(url))
      return client === undefined ? new Response(null, { status: 404 }) : Response.json(clientOf(client))
    },
  } satisfies Configuration
}

/**
 * Whether this id is the library's to find, by a document: nobody registered it. Asks nobody but the
 * registry.
 */
export async function isByDocument(clients: Clients, clientId: string): Promise<boolean> {
  const row = await clients.get(clientId)
  return row === undefined || isMetadataClient(row)
}

const isBeginning = (route: string | undefined): boolean =>
  route === undefined || ['authorization', 'pushed_authorization_request', 'resume'].includes(route)

/** By browser only: with a device code anybody could be it. */
const clientOf = (client: Parameters<typeof clientMetadata>[0]) => ({
  ...clientMetadata(client, []),
  grant_types: ['authorization_code', 'refresh_token'],
})
