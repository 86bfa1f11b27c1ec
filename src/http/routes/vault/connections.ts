import { createRoute, z } from '@hono/zod-openapi'
import { text } from '@remit/contract/text'
import type { MiddlewareHandler } from 'hono'
import type { Agreement, Connecting, ConnectionOwner } from '../../../delegation/vault/connect.ts'
import type { PartyLabels } from '../../../delegation/vault/labels.ts'
import type { OwnConnection, OwnConnections } from '../../../delegation/vault/own-connections.ts'
import type { Provider } from '../../../delegation/vault/provider.ts'
import { AppError } from '../../../kernel/errors.ts'
import { type App, type AppContext, type AppEnv, createRouter } from '../../env.ts'
import { jsonBody } from '../../middleware/json.ts'
import { createLimits } from '../../middleware/limits.ts'
import { type RequireSession, wantsPage } from '../../middleware/session.ts'
import { type ConnectionsDone, connectionsPage, isDone } from '../../pages/connections.ts'
import { pageHeaders } from '../../pages/layout.ts'
import { id, problems, session } from '../../schemas.ts'
import type { OwnCookie } from '../../sign-in/cookies.ts'
import { connectionFormRoutes } from './connections-forms.ts'

export interface ConnectionRoutesDeps {
  readonly own: OwnConnections
  readonly connecting: Connecting
  readonly parties: PartyLabels
  readonly providers: readonly Provider[]
  /** Lax: the browser brings it back from the provider. Everything else of ours is strict. */
  readonly cookie: OwnCookie
  readonly requireSession: RequireSession
  /** Requests of one person. */
  readonly perMinute: number
  readonly now: () => number
}

/** What the pages' own forms share with the routes for programs. */
export interface ConnectionFaces {
  owner(c: AppContext): ConnectionOwner
  show(c: AppContext, status: 200 | 404 | 409 | 422 | 503, notice?: PageNotice): Promise<Response>
}

/** What the page says above its list: what was done, or what went wrong. */
export interface PageNotice {
  readonly notice?: ConnectionsDone
  readonly problem?: string
}

const bodyBytesMax = 16 * 1024

const party = z.strictObject({ agent: id, client: text(1, 500) })
const rule = z
  .strictObject({ title: z.string(), methods: z.array(z.string()), paths: z.array(z.string()) })
  .openapi('ConnectionRule')

const input = z
  .strictObject({
    agents: z.array(party).min(1).max(20),
    rules: z.array(z.string()).min(1).max(20).openapi({
      description: 'Titles of the provider’s rules, as GET /connections lists them',
    }),
  })
  .openapi('ConnectInput')

const connection = z
  .strictObject({
    id: z.string(),
    provider: z.string(),
    account: z.string().openapi({ description: 'What it is called there' }),
    state: z.enum(['live', 'needs_reconnect']),
    scopes: z.array(z.string()),
    agents: z.array(z.strictObject({ agent: z.string(), client: z.string(), rules: z.array(rule) })),
    created_at: z.iso.datetime(),
  })
  .openapi('Connection')

const list = z
  .strictObject({
    connections: z.array(connection),
    requests: z.array(
      z.strictObject({ id: z.string(), provider: z.string(), agent: z.string(), client: z.string() }),
    ),
    providers: z.array(z.strictObject({ name: z.string(), title: z.string(), rules: z.array(rule) })),
    txn: z.string(),
  })
  .openapi('ConnectionList')
const away = z
  .strictObject({
    authorization_url: z.string().openapi({ description: 'Where this browser has to go next' }),
    txn: z.string(),
  })
  .openapi('ConnectAway')
const ended = z
  .strictObject({
    id: z.string(),
    told_provider: z.boolean().openapi({
      description: 'false: take the application off the list at the provider as well',
    }),
    txn: z.string(),
  })
  .openapi('ConnectionEnded')
const removed = z
  .strictObject({ id: z.string(), agent: z.string(), client: z.string(), txn: z.string() })
  .openapi('ConnectionAgentRemoved')

/**
 * `/connections`: accounts at APIs of others that the person in front of this browser has connected. JSON for programs of
 * the page's origin, pages for people. No answer holds a token, or anything that was made from one.
 */
export function connectionRoutes(dependencies: ConnectionRoutesDeps): App {
  const { own: ownConnections, connecting, parties, providers, cookie, requireSession } = dependencies
  const limits = createLimits({ perMinute: dependencies.perMinute, now: dependencies.now })
  const routes = createRouter()
  const takes = requireSession({ write: true, recent: false })
  const json = <T extends z.ZodType>(schema: T) => ({ 'application/json': { schema } })

  function owner(c: AppContext): ConnectionOwner {
    const { person, subject, csrf } = c.get('session')
    limits.take(subject)
    return { person, subject, txn: c.get('txn'), over: c.get('over'), session: `connect ${csrf}` }
  }

  const show: ConnectionFaces['show'] = async (c, status, notice = {}) => {
    const { subject, person } = owner(c)
    const [connections, requests, offered] = await Promise.all([
      ownConnections.list(subject),
      parties.requests(subject),
      parties.offered(subject),
    ])
    const page = connectionsPage({
      person,
      csrf: c.get('session').csrf,
      waiting: c.get('session').waiting,
      connections,
      requests,
      providers,
      offered,
      ...notice,
    })
    for (const [name, value] of Object.entries(pageHeaders())) c.header(name, value)
    return c.html(page, status)
  }

  const pageForBrowsers: MiddlewareHandler<AppEnv> = async (c, next) => {
    c.header('vary', 'Accept')
    const notice = c.req.query('done')
    return wantsPage(c) ? show(c, 200, isDone(notice) ? { notice } : {}) : next()
  }

  const listRoute = createRoute({
    method: 'get',
    path: '/connections',
    summary: 'Accounts at APIs of others that you have connected, as JSON or as a page',
    security: session,
    middleware: [requireSession({ write: false }), pageForBrowsers] as const,
    responses: {
      200: { description: 'Yours alone; with `X-CSRF-Token` for changes', content: json(list) },
      ...problems(),
    },
  })
  routes.openapi(listRoute, async (c) => {
    const { subject, txn } = owner(c)
    c.header('x-csrf-token', c.get('session').csrf)
    const [connections, requests] = await Promise.all([
      ownConnections.list(subject),
      parties.requests(subject),
    ])
    return c.json(
      {
        connections: connections.map(toWire),
        requests: requests.map((request) => ({
          id: request.id,
          provider: request.provider,
          agent: request.agent,
          client: request.client,
        })),
        providers: providers.map(({ name, title, rules }) => ({ name, title, rules: rules.map(copy) })),
        txn,
      },
      200,
    )
  })

  const connectRoute = createRoute({
    method: 'post',
    path: '/connections/{name}/connect',
    summary: 'Agree to what agents may do with an account, and go to its provider to connect it',
    description: 'The answer sets a cookie without which the way back leads nowhere.',
    security: session,
    middleware: [requireSession({ write: true }), ...jsonBody(bodyBytesMax)] as const,
    request: { params: z.strictObject({ name: id }), body: { required: true, content: json(input) } },
    responses: { 200: { description: 'Go there', content: json(away) }, ...problems(404) },
  })

  const endRoute = createRoute({
    method: 'delete',
    path: '/connections/{id}',
    summary: 'Disconnect an account: its tokens are deleted here, and the provider is told',
    security: session,
    middleware: [takes] as const,
    request: { params: z.strictObject({ id }) },
    responses: { 200: { description: 'Over', content: json(ended) }, ...problems(404) },
  })

  const removeRoute = createRoute({
    method: 'delete',
    path: '/connections/{id}/agents/{agent}',
    summary: 'Take an account back from one agent, through one client',
    security: session,
    middleware: [takes] as const,
    request: { params: z.strictObject({ id, agent: id }), query: z.strictObject({ client: text(1, 500) }) },
    responses: { 200: { description: 'Over', content: json(removed) }, ...problems(404) },
  })

  // First the pages' own forms: they pass on what is not theirs.
  routes.route('/', connectionFormRoutes({ ...dependencies, owner, show }))
  routes.openapi(connectRoute, async (c) => {
    const { agents, rules } = c.req.valid('json')
    const agreement: Agreement = { parties: agents, rules }
    const started = await connecting.begin(owner(c), c.req.valid('param').name, agreement)
    if (!started.ok) throw new AppError('provider_unavailable')
    cookie.write(c, started.value.browser)
    return c.json({ authorization_url: started.value.url, txn: c.get('txn') }, 200)
  })
  routes.openapi(endRoute, async (c) => {
    const { id: connectionId } = c.req.valid('param')
    const { toldProvider } = await ownConnections.disconnect(owner(c), connectionId)
    return c.json({ id: connectionId, told_provider: toldProvider, txn: c.get('txn') }, 200)
  })
  routes.openapi(removeRoute, async (c) => {
    const { id: connectionId, agent } = c.req.valid('param')
    const { client } = c.req.valid('query')
    await ownConnections.removeAgent(owner(c), connectionId, { agent, client })
    return c.json({ id: connectionId, agent, client, txn: c.get('txn') }, 200)
  })
  return routes
}

const copy = ({ title, methods, paths }: Provider['rules'][number]) => ({
  title,
  methods: [...methods],
  paths: [...paths],
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
