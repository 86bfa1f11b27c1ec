import type { MiddlewareHandler } from 'hono'
import { AppError } from '../kernel/errors.ts'
import type { Log } from '../kernel/log.ts'
import { createClientAddress } from './client-address.ts'
import { type App, type AppContext, type AppEnv, createRouter } from './env.ts'
import {
  endWritesInTime,
  requireDeadline,
  requireFrame,
  requireHost,
  requireUtf8,
} from './middleware/frame.ts'
import { requireOpen } from './middleware/open.ts'
import { recordRefusals } from './middleware/refusals.ts'
import { wantsPage } from './middleware/session.ts'
import { requireTrace } from './middleware/trace.ts'
import { pageHeaders } from './pages/layout.ts'
import { notFoundPage } from './pages/not-found.ts'
import { createErrorHandler } from './problem.ts'

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
  app.notFound((c: AppContext) =>
    wantsPage(c) ? c.html(notFoundPage(), 404, pageHeaders()) : onError(new AppError('not_found'), c),
  )
  app.use(
    '*',
    requireTrace,
    requireFrame({ newTxn, clientAddress: createClientAddress(dependencies.trustedProxies) }),
    dependencies.observe,
    requireHost(hosts),
    requireUtf8,
  )
  app.get('/healthz', (c) => c.json({ status: 'ok' }, 200))
  app.use(
    '*',
    dependencies.limitAddress,
    requireDeadline({ ms: requestDeadlineMs, now }),
    endWritesInTime(dependencies.writeDeadlineMs),
  )
  // Behind the limit: it asks the database and OpenFGA, for whoever comes.
  app.get('/readyz', async (c) => {
    const ready = await dependencies.isReady()
    return c.json({ status: ready ? 'ok' : 'unavailable' }, ready ? 200 : 503)
  })
  app.get('/oauth/jwks', async (c) => c.json(await dependencies.jwks(), 200))
  app.use('*', requireOpen({ assertOpen: dependencies.assertOpen, log }))
  app.use('*', recordRefusals(dependencies.record))
  for (const routes of dependencies.routes) app.route('/', routes)
  return app
}
