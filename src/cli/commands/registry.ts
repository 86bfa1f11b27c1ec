import { z } from 'zod'
import { operator, record } from '../../audit/record.ts'
import type { Fga } from '../../authz/fga.ts'
import {
  type Client,
  createClients,
  idTokenAlgorithms,
  publicJwks,
  requestAlgorithms,
} from '../../delegation/registry/clients.ts'
import { allCollections } from '../../ingest/document-rows.ts'
import { invalid } from '../../kernel/errors.ts'
import { sourcePrefix } from '../../store/open-document.ts'
import { type Command, command, id, optional } from './command.ts'

/** Collections, and what may come to them: services, clients, APIs, agents. */
export const registryCommands = {
  collection_add: command(
    z.strictObject({
      id,
      // Left out: as it is.
      title: optional(z.string().min(1).max(1_000)),
      organization: optional(id),
      public_allowed: optional(z.boolean()),
    }),
    async (request, { database, fga, saveCollection }) => {
      const stored = (await allCollections(database)).find((collectionRow) => collectionRow.id === request.id)
      const title = request.title ?? stored?.title
      if (title === undefined) throw invalid('title', 'A new collection needs a --title.')
      const { organization } = request
      await saveCollection({
        id: request.id,
        title,
        publicAllowed: request.public_allowed ?? stored?.publicAllowed ?? false,
        ...(organization !== undefined && { organization }),
      })
      return {
        collection: request.id,
        ...(organization !== undefined && { organization_known: await isNamed(fga, organization) }),
      }
    },
  ),
  collection_list: command(z.strictObject({}), async (_, { database, fga }) => {
    const collections: object[] = []
    for (const { id: collection, title, publicAllowed } of await allCollections(database))
      collections.push({
        collection,
        title,
        public_allowed: publicAllowed,
        organization: await organizationOf(fga, collection),
      })
    return { collections }
  }),
  service_add: command(
    z.strictObject({ name: id, collections: z.array(id), prefixes: z.array(z.string().min(1)).default([]) }),
    async (service, { services }) => {
      assertNoSource('name', service.name)
      const oldService = (await services.list()).find(({ name }) => name === service.name)
      await services.save(service)
      return {
        service: service.name,
        collections_ended:
          oldService?.collections.filter((collection) => !service.collections.includes(collection)) ?? [],
        prefixes_ended: oldService?.prefixes.filter((prefix) => !service.prefixes.includes(prefix)) ?? [],
      }
    },
  ),
  service_list: command(z.strictObject({}), async (_, { services }) => ({
    services: (await services.list()).map(({ name: service, ...bounds }) => ({ service, ...bounds })),
  })),
  service_remove: command(z.strictObject({ name: id }), async ({ name }, { services }) => {
    if (!(await services.remove(name))) throw invalid('name', `There is no service ${name}.`)
    return { service: name }
  }),
  client_add: command(
    z.strictObject({
      client_id: id,
      kind: z.enum(['person', 'agent', 'service']),
      of: optional(id),
      title: z.string().min(1).max(200),
      redirect_uris: z.array(z.string().max(2_000)).max(20).default([]),
      jwks: optional(publicJwks),
      notification_endpoint: optional(z.string().max(2_000)),
      request_algorithm: optional(z.enum(requestAlgorithms)),
      id_token_algorithm: optional(z.enum(idTokenAlgorithms)),
    }),
    async ({ client_id: clientId, kind, of: ownerId, title, ...registration }, { database, newTxn }) => {
      const { redirect_uris: redirectUris, jwks, notification_endpoint: notificationEndpoint } = registration
      const { request_algorithm: requestAlgorithm, id_token_algorithm: requestedAlgorithm } = registration
      // Whoever signs by FAPI's algorithms reads no others.
      const idTokenAlgorithm = requestedAlgorithm ?? (requestAlgorithm === undefined ? 'RS256' : 'ES256')
      const client = clientOf(clientId, kind, ownerId)
      await database.transaction(async (sql) => {
        await createClients({ sql }).register(client, {
          title,
          redirectUris,
          jwks,
          notificationEndpoint,
          requestAlgorithm,
          idTokenAlgorithm,
        })
        await record(sql, operator(newTxn()), { event: 'client_saved', ...recordedClient(client) })
      })
      return { client: clientId }
    },
  ),
  client_list: command(z.strictObject({}), async (_, { clients }) => ({
    clients: (await clients.list()).map(
      ({ clientId, redirectUris, notificationEndpoint, requestAlgorithm, idTokenAlgorithm, ...about }) => ({
        client: clientId,
        ...about,
        redirect_uris: redirectUris,
        id_token_algorithm: idTokenAlgorithm ?? 'ES256',
        ...(notificationEndpoint !== null && { notification_endpoint: notificationEndpoint }),
        ...(requestAlgorithm !== null && { request_algorithm: requestAlgorithm }),
      }),
    ),
  })),
  client_remove: command(
    z.strictObject({ client_id: id }),
    async ({ client_id: clientId }, { clients, database, grants, newTxn }) => {
      await clients.assertRemovable(clientId)
      const client = await clients.get(clientId)
      const ended = await grants.endOf(clientId, newTxn())
      await database.transaction(async (sql) => {
        await createClients({ sql }).remove(clientId)
        if (client !== undefined)
          await record(sql, operator(newTxn()), { event: 'client_removed', ...recordedClient(client) })
      })
      return { client: clientId, consents_ended: ended }
    },
  ),
  resource_add: command(
    z.strictObject({
      resource: z.string(),
      scopes: z.array(z.string()),
      authorization_details_types: z.array(z.string()).default([]),
      allowed_clients: optional(z.array(z.string())),
      accepts: z.record(z.string(), z.record(z.string(), z.string())).default({}),
      takes_verification: z.boolean().default(true),
      owner_client: optional(z.string()),
    }),
    async (row, { resources }) => {
      await resources.save({
        resource: row.resource,
        scopes: row.scopes,
        authorizationDetailsTypes: row.authorization_details_types,
        ...(row.allowed_clients !== undefined && { allowedClients: row.allowed_clients }),
        accepts: row.accepts,
        takesVerification: row.takes_verification,
        ...(row.owner_client !== undefined && { ownerClient: row.owner_client }),
      })
      return { resource: row.resource }
    },
  ),
  resource_list: command(z.strictObject({}), async (_, { resources }) => ({
    resources: (await resources.list()).map(
      ({
        resource,
        scopes,
        authorizationDetailsTypes,
        allowedClients,
        accepts,
        takesVerification,
        owner,
      }) => ({
        resource,
        scopes,
        authorization_details_types: authorizationDetailsTypes,
        allowed_clients: allowedClients ?? null,
        accepts,
        takes_verification: takesVerification,
        owner_client: owner !== undefined && 'client' in owner ? owner.client : null,
      }),
    ),
  })),
  resource_remove: command(z.strictObject({ resource: z.string() }), async ({ resource }, { resources }) => {
    if (!(await resources.remove(resource))) throw invalid('resource', `There is no row of ${resource}.`)
    return { resource }
  }),
  agent_add: command(
    z.strictObject({
      id,
      owner: z.string(),
      title: optional(z.string()),
      purpose: z.string(),
      scopes: z.array(z.string()),
      // null: no limit. Never left out: saying nothing must not widen.
      collections: z.array(z.string()).nullable(),
      actor: optional(z.strictObject({ issuer: z.string(), sub: z.string() })),
      jwks: optional(publicJwks),
      host_clients: z.array(z.string()).max(20).default([]),
      // Left out: refused where another program could act as it, or it would reach further than when people
      // lent to it.
      lent: optional(z.enum(['end', 'keep'])),
    }),
    async (
      {
        id: agent,
        title,
        scopes,
        collections,
        actor,
        jwks,
        host_clients: hostClients,
        lent: delegationsThen,
        ...agentFields
      },
      { agentAdministration, newTxn, ownIssuer, people },
    ) => {
      const { isNew, ended, unknownScopes } = await agentAdministration.save(
        operator(newTxn()),
        {
          ...agentFields,
          id: agent,
          title: title ?? agent,
          issuer: actor?.issuer ?? ownIssuer,
          sub: actor?.sub ?? agent,
          limits: { scopes, collections: collections ?? undefined },
          jwks: jwks ?? null,
          hostClients,
        },
        { lent: delegationsThen },
      )
      return {
        agent,
        replaced: !isNew,
        delegations_ended: ended.delegations,
        unknown_scopes: unknownScopes,
        owner_known: await people.has(agentFields.owner.slice('user:'.length)),
      }
    },
  ),
  agent_list: command(z.strictObject({}), async (_, { agents }) => ({
    agents: (await agents.list()).map(({ id: agent, owner, title, purpose, limits, jwks, disabledAt }) => ({
      agent,
      owner,
      title,
      purpose,
      scopes: limits.scopes ?? null,
      collections: limits.collections ?? null,
      keys: jwks?.keys.length ?? 0,
      disabled_at: disabledAt?.toISOString() ?? null,
    })),
  })),
  agent_enable: command(
    // Left out: refused where people have lent it something that would count again.
    z.strictObject({ id, lent: optional(z.enum(['end', 'keep'])) }),
    async ({ id: agent, lent: delegationsThen }, { agentAdministration, newTxn }) => ({
      agent,
      ...(await agentAdministration.enable(operator(newTxn()), agent, { lent: delegationsThen })),
    }),
  ),
  host_disable: command(z.strictObject({ host: z.string() }), ({ host }, { deniedHosts, newTxn }) =>
    deniedHosts.deny(operator(newTxn()), host),
  ),
  host_enable: command(z.strictObject({ host: z.string() }), async ({ host }, { deniedHosts, newTxn }) => {
    if (!(await deniedHosts.allow(operator(newTxn()), host)))
      throw invalid('host', `${host} is not disabled.`)
    return { host }
  }),
  host_list: command(z.strictObject({}), async (_, { deniedHosts }) => ({
    hosts: (await deniedHosts.list()).map(({ host, since: deniedSince }) => ({
      host,
      since: deniedSince.toISOString(),
    })),
  })),
  agent_disable: command(
    z.strictObject({ id }),
    async ({ id: agent }, { agents, agentAdministration, newTxn }) => {
      if ((await agents.get(agent)) === undefined) throw invalid('id', `There is no agent ${agent}.`)
      await agentAdministration.disable(operator(newTxn()), agent)
      return { agent }
    },
  ),
} as const satisfies Record<string, Command>

/** What a collection is lent with as a whole; null: it is lent by its own name alone. */
async function organizationOf(fga: Pick<Fga, 'read'>, collection: string): Promise<string | null> {
  for await (const { user } of fga.read({ object: `collection:${collection}`, relation: 'organization' }))
    return user.slice('organization:'.length)
  return null
}

/** Whether OpenFGA holds anything about an organization. */
async function isNamed(fga: Pick<Fga, 'read'>, organization: string): Promise<boolean> {
  for await (const _ of fga.read({ object: `organization:${organization}` })) return true
  return false
}

const recordedClient = (client: Client) => ({
  client: client.clientId,
  ...(client.kind === 'agent' && { agent: client.agent }),
})

/** `of`: the agent or the service that the client is. */
function clientOf(clientId: string, kind: Client['kind'], ownerId: string | undefined): Client {
  if (kind === 'person') return { clientId, kind }
  if (ownerId === undefined) throw invalid('of', `Name the ${kind} that the client is.`)
  if (kind === 'agent') return { clientId, kind, agent: ownerId }
  assertNoSource('of', ownerId)
  return { clientId, kind, service: ownerId }
}

/** What a source writes counts as its own, and by its age: nobody else has its name. */
function assertNoSource(field: string, service: string): void {
  if (service.startsWith(sourcePrefix))
    throw invalid(field, `Only a source is called ${sourcePrefix}…: choose another name.`)
}
