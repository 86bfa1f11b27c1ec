import { mcpScopes } from '../../../delegation/registry/resources.ts'
import { AppError } from '../../../kernel/errors.ts'
import type { Principal } from '../../../kernel/principal.ts'
import type { Deadline } from '../../../retrieval/deadline.ts'
import { type App, type AppContext, createRouter } from '../../env.ts'
import type { RequireBearer } from '../../middleware/bearer.ts'
import { jsonBody } from '../../middleware/json.ts'

export interface McpRouteDeps {
  /** Answers one message of the protocol. */
  readonly face: (message: {
    readonly request: Request
    readonly body: unknown
    readonly principal: Principal
    readonly deadline: Deadline
  }) => Promise<Response>
  /** For tokens whose audience is exactly `/mcp`, and agents only. */
  readonly requireBearer: RequireBearer
  /** `Origin` values that are ours. */
  readonly origins: ReadonlySet<string>
}

// As for POST /vault/fetch, which it may carry.
const bodyBytesMax = 1_048_576

/**
 * `/mcp`: what stands before the protocol. A page elsewhere gets nothing, with a token or without; there are
 * no sessions, so that nothing but the token of each message says who asks.
 */
export function mcpRoutes({ face, requireBearer, origins }: McpRouteDeps): App {
  const routes = createRouter()
  // All at first: a client asks for what it is told and no more, and an offer is made only to whoever may
  // ask. What the person does not lend and the agent may not have is cut where they consent.
  const bearer = requireBearer({ kinds: ['agent'], scopes: [], atFirst: mcpScopes })
  routes.use('/mcp', async (c, next) => {
    const origin = c.req.header('origin')
    if (origin !== undefined && !origins.has(origin.toLowerCase()))
      throw new AppError('forbidden', { public: 'Pages of other origins may not ask here.' })
    await next()
  })
  // Not ended at the deadline here: the tools that read end themselves, and what was sent elsewhere may have
  // happened.
  routes.post('/mcp', bearer, ...jsonBody(bodyBytesMax), async (c) => {
    const body: unknown = await c.req.json().catch(() => undefined)
    if (body === undefined) return refuse(c, -32_700, 'The body is not JSON.')
    // Many messages in one would count as one for every limit. No revision that is served has them.
    if (Array.isArray(body)) return refuse(c, -32_600, 'One message at a time.')
    const response = await face({
      request: c.req.raw,
      body,
      principal: c.get('principal'),
      deadline: c.get('deadline'),
    })
    // `c.body`, so that the headers of every answer stay on it; the library's own would let it be kept.
    const init = { status: response.status as 200, headers: { ...headersOf(response) } }
    if (response.body === null) return c.body(null, init)
    // All of it first: the library opens a stream before its tool runs, and what came of it later would go
    // past whatever holds answers back or counts them.
    return c.body(await response.text(), init)
  })
  // Neither streams that the server opens nor sessions that could be ended.
  routes.all('/mcp', bearer, (c) => {
    c.header('allow', 'POST')
    return refuse(c, -32_000, 'Method not allowed.', 405)
  })
  return routes
}

const passedOn = ['content-type', 'mcp-protocol-version', 'x-accel-buffering']

const headersOf = ({ headers }: Response): Readonly<Record<string, string>> =>
  Object.fromEntries([...headers].filter(([name]) => passedOn.includes(name.toLowerCase())))

const refuse = (c: AppContext, code: number, message: string, status: 400 | 405 = 400) =>
  c.json({ jsonrpc: '2.0', error: { code, message }, id: null }, status)
