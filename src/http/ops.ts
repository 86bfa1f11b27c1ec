import { createHash, timingSafeEqual } from 'node:crypto'
import type { MiddlewareHandler } from 'hono'
import { Hono } from 'hono'
import { AppError } from '../kernel/errors.ts'
import type { AppEnv } from './env.ts'
import type { Metrics } from './metrics.ts'
import { requireHost } from './middleware/frame.ts'

/** What operators see of readiness; nothing of it is on the public listener. */
export interface Readiness {
  readonly ready: boolean
  readonly details: Readonly<Record<string, unknown>>
}

export interface OpsDeps {
  readonly hosts: ReadonlySet<string>
  /** What every request has to bring as `Authorization: Bearer`; undefined: nothing. */
  readonly bearer: string | undefined
  readonly metrics: Metrics
  readonly readiness: () => Promise<Readiness>
}

/** The operators' listener: metrics and readiness with details. Listens apart from the public one. */
export function createOps({ hosts, bearer, metrics, readiness }: OpsDeps): Hono<AppEnv> {
  const app = new Hono<AppEnv>()
  // A page elsewhere that reaches it by its own name has no token: then it may be asked by any.
  app.use('*', bearer === undefined ? requireHost(hosts) : requireSecret(bearer))
  app.onError((error, c) =>
    error instanceof AppError ? c.json({ status: 'refused' }, 421) : c.json({ status: 'unavailable' }, 503),
  )
  app.get('/metrics', async (c) =>
    c.body(await metrics.registry.metrics(), 200, { 'content-type': metrics.registry.contentType }),
  )
  app.get('/readyz', async (c) => {
    const { ready, details } = await readiness()
    return c.json({ status: ready ? 'ok' : 'unavailable', ...details }, ready ? 200 : 503)
  })
  return app
}

/** RFC 6750 §3. Compared as digests, so that time tells nothing of it. */
function requireSecret(bearer: string): MiddlewareHandler<AppEnv> {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const expected = digest(bearer)
  return async (c, next) => {
    const [scheme, token, ...excess] = (c.req.header('authorization') ?? '').split(' ')
    const isIt =
      scheme?.toLowerCase() === 'bearer' &&
      excess.length === 0 &&
      timingSafeEqual(digest(token ?? ''), expected)
    if (!isIt) return c.json({ status: 'refused' }, 401, { 'www-authenticate': 'Bearer' })
    await next()
    return undefined
  }
}
