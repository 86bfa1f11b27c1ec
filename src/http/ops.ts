import { createHash, timingSafeEqual } from 'node:crypto'
import type { MiddlewareHandler } from 'hono'
import { Hono } from 'hono'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { IndexStatus } from '../authz/permission-index.ts'
import { AppError } from '../kernel/errors.ts'
import type { AppEnv } from './env.ts'
import { requireHost } from './middleware/frame.ts'
import { routeOf } from './middleware/trace.ts'

/** What operators see of readiness; nothing of it is on the public listener. */
export interface Readiness {
  readonly ready: boolean
  readonly details: Readonly<Record<string, unknown>>
}

/** Counters and timings of the requests. */
export interface Metrics {
  readonly registry: Registry
  /** Counts every answer by route pattern, method and status. No label names a person, agent, document or query. */
  readonly observe: MiddlewareHandler<AppEnv>
}

/** Empty metrics; `now` is the clock in milliseconds. */
export function createMetrics(now: () => number): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const answers = new Counter({
    name: 'remit_http_answers_total',
    help: 'Answers by route, method and status.',
    labelNames: ['route', 'method', 'status'],
    registers: [registry],
  })
  const seconds = new Histogram({
    name: 'remit_http_seconds',
    help: 'Seconds from request to answer by route.',
    labelNames: ['route'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  })
  return {
    registry,
    async observe(c, next) {
      const started = now()
      await next()
      // The pattern, never the path: a path holds document ids.
      const route = routeOf(c) ?? 'none'
      answers.inc({ route, method: c.req.method, status: c.res.status })
      seconds.observe({ route }, (now() - started) / 1_000)
    },
  }
}

/** What operators see of the permission index. */
export const indexDetails = ({ state, lagMs, tuples }: IndexStatus) => ({ state, lag_ms: lagMs, tuples })

/** The permission index as gauges, read when they are asked for. */
export function observeIndex(registry: Registry, status: () => IndexStatus): void {
  const gauge = (name: string, help: string, value: (status: IndexStatus) => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value(status()))
      },
    })
  gauge(
    'remit_index_lag_seconds',
    'Seconds since the change log was last read to its end.',
    (is) => is.lagMs / 1_000,
  )
  gauge('remit_index_tuples', 'Tuples in the replica.', (is) => is.tuples)
  gauge(
    'remit_index_following',
    '1 while the replica follows OpenFGA; 0 while it builds or is broken.',
    (is) => (is.state === 'following' ? 1 : 0),
  )
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
