import type { DecisionEvent } from '@remit/contract/decision-event'
import type { MiddlewareHandler } from 'hono'
import { html } from 'hono/html'
import type { RecordActor } from '../audit/record.ts'
import { AppError } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import type { Principal } from '../kernel/principal.ts'
import { createClientAddress } from './client-address.ts'
import { type App, type AppContext, type AppEnv, createRouter } from './env.ts'
import {
  endAfterSleep,
  endWritesInTime,
  requireDeadline,
  requireFrame,
  requireHost,
  requireUtf8,
} from './middleware/frame.ts'
import { wantsPage } from './middleware/session.ts'
import { requireTrace, routeOf } from './middleware/trace.ts'
import { page } from './pages/layout.ts'
import { showPage } from './pages/show.ts'
import { createErrorHandler } from './problem.ts'
import { temporarilyUnavailable } from './temporarily-unavailable.ts'

/** For a browser at an address that leads nowhere, the same for every one of them. */
const notFoundPage = page({
  title: 'Nothing here',
  body: html`<h1>There is nothing at this address</h1>
<p>Your own pages: <a href="/delegations">what you lent to agents</a>. For programs: <a href="/docs">the API</a>.</p>`,
})

/** The routes and middleware that {@link createApp} puts together. */
export interface AppDeps {
  readonly publicUrl: string
  /** `Host` values that are ours. */
  readonly hosts: ReadonlySet<string>
  /** Addresses and ranges whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[]
  readonly requestDeadlineMs: number
  readonly writeDeadlineMs: number
  readonly now: () => number
  readonly newTxn: () => string
  readonly log: Log
  /** Takes a token from the address's bucket; first of all work. */
  readonly limitAddress: MiddlewareHandler<AppEnv>
  /** Counts answers for /metrics. */
  readonly observe: MiddlewareHandler<AppEnv>
  /** Puts on record who was refused. */
  readonly record: Parameters<typeof recordRefusals>[0]
  /** Each face of the contract, one router a file. */
  readonly routes: readonly App[]
  /** Throws while nobody may be answered: it is not known who may act. */
  readonly assertOpen: () => void
  /** Whether the service can answer: database and OpenFGA. */
  readonly isReady: () => Promise<boolean>
  /** JWK set of the built-in issuer. */
  readonly jwks: () => Promise<object>
}

/** The whole HTTP face: frame → host → address limit → deadline → routes; errors become problem+json. */
export function createApp(dependencies: AppDeps): App {
  const { publicUrl, hosts, requestDeadlineMs, now, newTxn, log } = dependencies
  const app = createRouter()
  const onError = createErrorHandler({ publicUrl, log })
  app.onError(onError)
  app.notFound((c: AppContext) => {
    const methods = methodsAt(app, c.req.path)
    const isElsewhere = methods.length === 0 || methods.includes(c.req.method)
    if (!isElsewhere) c.header('allow', methods.join(', '))
    const error = new AppError(isElsewhere ? 'not_found' : 'method_not_allowed')
    return wantsPage(c) ? showPage(c, notFoundPage, { status: error.status as 404 }) : onError(error, c)
  })
  app.use(
    '*',
    requireTrace,
    requireFrame(newTxn, createClientAddress(dependencies.trustedProxies)),
    dependencies.observe,
    requireHost(hosts),
    requireUtf8,
  )
  app.get('/healthz', (c) => c.json({ status: 'ok' }, 200))
  app.use(
    '*',
    dependencies.limitAddress,
    requireDeadline(requestDeadlineMs, now),
    endWritesInTime(dependencies.writeDeadlineMs),
  )
  // Behind the limit: it asks the database and OpenFGA, for whoever comes.
  app.get('/readyz', async (c) => {
    const ready = await dependencies.isReady()
    return c.json({ status: ready ? 'ok' : 'unavailable' }, ready ? 200 : 503)
  })
  app.get('/oauth/jwks', async (c) => c.json(await dependencies.jwks(), 200))
  app.use('*', requireOpen({ assertOpen: dependencies.assertOpen, log }))
  app.use('*', endAfterSleep)
  app.use('*', recordRefusals(dependencies.record))
  for (const routes of dependencies.routes) app.route('/', routes)
  return app
}

/** What is taken at a path, by the patterns of the routes alone: nobody learns from it what exists. */
function methodsAt({ router, routes }: App, path: string): readonly string[] {
  const known = new Set(routes.map(({ method }) => method))
  // What stands before routes is there for every method.
  known.delete('ALL')
  const taken = [...known].filter((method) =>
    router.match(method, path)[0].some(([[, route]]) => route.method === method),
  )
  return taken.includes('GET') ? [...taken, 'HEAD'] : taken
}

/**
 * Lets nobody in while it is not known who may act: no code is redeemed, nobody signs in, nothing is lent or
 * ended. Stands before every route, so that none can forget it. At the authorization server the answer has
 * OAuth's form, which its clients read.
 */
function requireOpen({ assertOpen, log }: Pick<AppDeps, 'assertOpen' | 'log'>): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    try {
      assertOpen()
    } catch (error) {
      if (!(error instanceof AppError) || !isOauth(c.req.path)) throw error
      log('request_failed', { txn: c.get('txn'), code: error.code, reason: error.message })
      return temporarilyUnavailable(c, {
        form: c.req.header('accept')?.includes('text/html') === true ? 'page' : 'json',
        status: 503,
        detail: 'Nobody is answered before it is known who may act. Ask again in a few seconds.',
        headers: error.headers,
      })
    }
    await next()
    return undefined
  }
}

const isOauth = (path: string): boolean =>
  path.startsWith('/oauth/') || path === '/.well-known/oauth-authorization-server/oauth'

/**
 * Puts on record what somebody with a good token asked for and was refused: a scope, a role, a route of
 * others. Of whom nothing is known there is nothing to say; a document or a call that waits for a yes has a
 * record of its own.
 */
function recordRefusals(
  record: (caller: RecordActor, refusal: DecisionEvent) => Promise<void>,
): MiddlewareHandler<AppEnv> {
  return async function refusals(c, next) {
    await next()
    const principal: Principal | undefined = c.get('principal')
    const { error } = c
    if (principal === undefined || !(error instanceof AppError) || error.status !== 403) return
    if (error.code === 'approval_required') return
    await record(principal, {
      event: 'request_refused',
      code: error.code,
      method: c.req.method,
      route: routeOf(c) ?? 'none',
    })
  }
}
