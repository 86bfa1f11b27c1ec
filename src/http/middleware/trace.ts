import type { MiddlewareHandler } from 'hono'
import { traced } from '../../kernel/trace.ts'
import type { AppContext, AppEnv } from '../env.ts'

/**
 * Makes each request a step of the caller's trace, or the first of a new one. By the route's pattern, never
 * the path, which holds ids of documents.
 */
export const requireTrace: MiddlewareHandler<AppEnv> = (c, next) =>
  traced(
    c.req.method,
    {
      kind: 'server',
      attributes: { 'http.request.method': c.req.method },
      carrier: carrierOf(c),
    },
    async (describe) => {
      await next()
      const route = routeOf(c)
      describe(
        {
          'http.response.status_code': c.res.status,
          'remit.txn': c.get('txn'),
          ...(route !== undefined && { 'http.route': route }),
        },
        route && `${c.req.method} ${route}`,
      )
    },
  )

/** Only what W3C Trace Context names: nothing else of a request goes into a trace. */
function carrierOf(c: AppContext): Readonly<Record<string, string>> {
  const names = ['traceparent', 'tracestate'] as const
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = c.req.header(name)
      return value === undefined ? [] : [[name, value]]
    }),
  )
}

/** The pattern that answered. Undefined: nothing did. */
export const routeOf = (c: AppContext): string | undefined =>
  c.req.matchedRoutes.findLast(({ path }) => !path.endsWith('*'))?.path
