import type { MiddlewareHandler } from 'hono'
import { AppError } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import type { AppEnv } from '../env.ts'
import { temporarilyUnavailable } from '../temporarily-unavailable.ts'

export interface RequireOpenDeps {
  /** Throws a 503 while it is not known who may act. */
  readonly assertOpen: () => void
  readonly log: Log
}

/**
 * Lets nobody in while it is not known who may act: no code is redeemed, nobody signs in, nothing is lent or ended.
 * Stands before every route, so that none can forget it. At the authorization server the answer has OAuth's form,
 * which its clients read.
 */
export function requireOpen({ assertOpen, log }: RequireOpenDeps): MiddlewareHandler<AppEnv> {
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
