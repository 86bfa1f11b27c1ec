import { z } from '@hono/zod-openapi'
import { text } from '@remit/contract/text'
import { vaultAnswerSchema, vaultRequestSchema } from '@remit/contract/vault-schemas'
import type { MiddlewareHandler } from 'hono'
import type { LabelledParty } from '../../../delegation/vault/agreements.ts'
import type { Agreement, ConnectionOwner } from '../../../delegation/vault/connect.ts'
import { toVaultRequest, type VaultFetch } from '../../../delegation/vault/fetch.ts'
import type { OwnConnection } from '../../../delegation/vault/own-connections.ts'
import type { Provider } from '../../../delegation/vault/provider.ts'
import { digestOfPlace } from '../../../delegation/vault/rows.ts'
import { AppError } from '../../../kernel/errors.ts'
import { type App, type AppContext, type AppEnv, createRouter, reply } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'
import { createLimits } from '../../middleware/limits.ts'
import { wantsPage } from '../../middleware/session.ts'
import { connectionsPage, isDone } from '../../pages/connections.ts'
import { showPage } from '../../pages/show.ts'
import { answerOf, bearerRoute, bodyOf, id, json, objectOf, problems, sessionRoute } from '../../schemas.ts'
import { type ConnectionFaces, type ConnectionRoutesDeps, connectionFormRoutes } from './connections-forms.ts'

const fetchBytesMax = 1_048_576

// Made anew: only what is made after the library extended zod can be named in the contract.
const fetchBody = vaultRequestSchema.clone().openapi('VaultFetchRequest')

const fetchAnswer = vaultAnswerSchema.clone().openapi('VaultFetchAnswer')

interface VaultFetchRouteDeps {
  readonly fetch: VaultFetch
  readonly requireBearer: RequireBearer
}

const bodyBytesMax = 16 * 1024

const party = z.strictObject({ agent: id, client: text(1, 500) })
const rule = objectOf('ConnectionRule', {
  title: z.string(),
  methods: z.array(z.string()),
  paths: z.array(z.string()),
})

const input = objectOf('ConnectInput', {
  agents: z.array(party).min(1).max(20),
  rules: z.array(z.string()).min(1).max(20).openapi({
    description: 'Titles of the provider’s rules, as GET /connections lists them',
  }),
  shown: z.array(text(1, 100)).min(2).max(21).openapi({
    description: '`shown` of the provider and of each agent, as GET /connections gave them',
  }),
})

const shown = z.string().openapi({ description: 'Digest of it as it is here. Who agrees sends it back' })
const shownParty = {
  agent: z.string(),
  agent_title: z.string(),
  purpose: z.string(),
  client: z.string(),
  client_title: z.string(),
  shown,
}

const connection = objectOf('Connection', {
  id: z.string(),
  provider: z.string(),
  account: z.string().openapi({ description: 'What it is called there' }),
  state: z.enum(['live', 'needs_reconnect']),
  scopes: z.array(z.string()),
  agents: z.array(z.strictObject({ agent: z.string(), client: z.string(), rules: z.array(rule) })),
  created_at: z.iso.datetime(),
})

const list = answerOf('ConnectionList', {
  connections: z.array(connection),
  requests: z
    .array(z.strictObject({ id: z.string(), provider: z.string(), ...shownParty }))
    .openapi({ description: 'Agents that wait for you' }),
  agents: z
    .array(z.strictObject(shownParty))
    .openapi({ description: 'Agents that you could let use an account without being asked' }),
  providers: z.array(z.strictObject({ name: z.string(), title: z.string(), rules: z.array(rule), shown })),
})
const away = answerOf('ConnectAway', {
  authorization_url: z.string().openapi({ description: 'Where this browser has to go next' }),
})
const ended = answerOf('ConnectionEnded', {
  id: z.string(),
  told_provider: z.boolean().openapi({
    description: 'false: take the application off the list at the provider as well',
  }),
})
const removed = answerOf('ConnectionAgentRemoved', { id: z.string(), agent: z.string(), client: z.string() })

/**
 * `/connections`: accounts at APIs of others that the person in front of this browser has connected. JSON for
 * programs of the page's origin, pages for people. No answer holds a token, or anything that was made from
 * one.
 */
export function connectionRoutes(dependencies: ConnectionRoutesDeps): App {
  const { own: ownConnections, connecting, parties, providers, cookie, requireSession } = dependencies
  const limits = createLimits({ perMinute: dependencies.perMinute, now: dependencies.now })
  const routes = createRouter()
  const { read, takeAway, write } = requireSession

  function owner(c: AppContext): ConnectionOwner {
    const { person, subject, csrf } = c.get('session')
    limits.take(subject)
    return { person, subject, txn: c.get('txn'), over: c.get('over'), session: `connect ${csrf}` }
  }

  const show: ConnectionFaces['show'] = async (c, status, notice = {}) => {
    const { subject } = owner(c)
    const [connections, requests, offered] = await Promise.all([
      ownConnections.list(subject),
      parties.requests(subject),
      parties.offered(subject),
    ])
    const view = { connections, requests, providers, offered, ...notice }
    return showPage(c, connectionsPage({ ...c.get('session'), ...view }), { status })
  }

  const pageForBrowsers: MiddlewareHandler<AppEnv> = async (c, next) => {
    c.header('vary', 'Accept')
    const notice = c.req.query('done')
    return wantsPage(c) ? show(c, 200, isDone(notice) ? { notice } : {}) : next()
  }

  const listRoute = sessionRoute('get', '/connections', {
    summary: 'Accounts at APIs of others that you have connected, as JSON or as a page',
    middleware: [read, pageForBrowsers],
    responses: { 200: json('Yours alone; with `X-CSRF-Token` for changes', list), ...problems() },
  })
  routes.openapi(listRoute, async (c) => {
    const { subject } = owner(c)
    c.header('x-csrf-token', c.get('session').csrf)
    const [connections, requests, offered] = await Promise.all([
      ownConnections.list(subject),
      parties.requests(subject),
      parties.offered(subject),
    ])
    return reply(c, {
      connections: connections.map(toWire),
      requests: requests.map(({ id, provider, ...party }) => ({ id, provider, ...partyToWire(party) })),
      agents: offered.map(partyToWire),
      providers: providers.map((provider) => ({
        name: provider.name,
        title: provider.title,
        rules: provider.rules.map(copy),
        shown: digestOfPlace(provider),
      })),
    })
  })

  const connectRoute = sessionRoute('post', '/connections/{name}/connect', {
    summary: 'Agree to what agents may do with an account, and go to its provider to connect it',
    description:
      'The answer sets a cookie without which the way back leads nowhere. 409: something of this is not as it was shown, or none of yours. Look again.',
    middleware: [write, ...jsonBody(bodyBytesMax)],
    request: { params: z.strictObject({ name: id }), body: bodyOf(input) },
    responses: { 200: json('Go there', away), ...problems(404, 409) },
  })

  const endRoute = sessionRoute('delete', '/connections/{id}', {
    summary: 'Disconnect an account: its tokens are deleted here, and the provider is told',
    middleware: [takeAway],
    request: { params: z.strictObject({ id }) },
    responses: { 200: json('Over', ended), ...problems(404) },
  })

  const removeRoute = sessionRoute('delete', '/connections/{id}/agents/{agent}', {
    summary: 'Take an account back from one agent, through one client',
    middleware: [takeAway],
    request: { params: z.strictObject({ id, agent: id }), query: z.strictObject({ client: text(1, 500) }) },
    responses: { 200: json('Over', removed), ...problems(404) },
  })

  // First the pages' own forms: they pass on what is not theirs.
  routes.route('/', connectionFormRoutes({ ...dependencies, owner, show }))
  routes.openapi(connectRoute, async (c) => {
    const { agents, ...chosen } = c.req.valid('json')
    const agreement: Agreement = { parties: agents, ...chosen }
    const started = await connecting.begin(owner(c), c.req.valid('param').name, agreement)
    if (!started.ok) throw new AppError('provider_unavailable')
    cookie.write(c, started.value.browser)
    return reply(c, { authorization_url: started.value.url })
  })
  routes.openapi(endRoute, async (c) => {
    const { id: connectionId } = c.req.valid('param')
    const { toldProvider } = await ownConnections.disconnect(owner(c), connectionId)
    return reply(c, { id: connectionId, told_provider: toldProvider })
  })
  routes.openapi(removeRoute, async (c) => {
    const { id: connectionId, agent } = c.req.valid('param')
    const { client } = c.req.valid('query')
    await ownConnections.removeAgent(owner(c), connectionId, { agent, client })
    return reply(c, { id: connectionId, agent, client })
  })
  return routes
}

const copy = ({ title, methods, paths }: Provider['rules'][number]) => ({
  title,
  methods: [...methods],
  paths: [...paths],
})

const partyToWire = ({ agent, agentTitle, purpose, client, clientTitle, shown }: LabelledParty) => ({
  agent,
  agent_title: agentTitle,
  purpose,
  client,
  client_title: clientTitle,
  shown,
})

const toWire = (ownConnection: OwnConnection) => ({
  id: ownConnection.id,
  provider: ownConnection.provider,
  account: ownConnection.accountTitle,
  state: ownConnection.state,
  scopes: [...ownConnection.scopes],
  agents: ownConnection.agents.map(({ agent, client, rules }) => ({ agent, client, rules: rules.map(copy) })),
  created_at: ownConnection.createdAt.toISOString(),
})

/** `POST /vault/fetch`: one call to a third party with the person's token, which the agent never holds. */
export function vaultFetchRoutes({ fetch, requireBearer }: VaultFetchRouteDeps): App {
  const route = bearerRoute('post', '/vault/fetch', {
    summary: 'Call an API of others with an account that the person linked',
    // Not ended at the deadline of readings: what was sent may have happened, and its outcome has to be told.
    middleware: [requireBearer({ kinds: ['agent'], scopes: ['vault.use'] }), ...jsonBody(fetchBytesMax)],
    request: { body: bodyOf(fetchBody) },
    responses: {
      200: json('What the provider answered, with whatever status', fetchAnswer),
      ...problems(404, 409, 504),
    },
  })
  return createRouter().openapi(route, async (c) => {
    const vaultRequest = toVaultRequest(c.req.valid('json'))
    const answered = await fetch(c.get('principal'), vaultRequest, c.get('deadline'))
    return c.json({ ...answered, txn: c.get('txn') }, 200)
  })
}
