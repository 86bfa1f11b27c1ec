import type { DecisionEvent } from '@remit/contract/decision-event'
import type { MiddlewareHandler } from 'hono'
import type { RecordActor } from '../../audit/record.ts'
import { AppError } from '../../kernel/errors.ts'
import type { Principal } from '../../kernel/principal.ts'
import type { AppEnv } from '../env.ts'
import { routeOf } from './trace.ts'

/**
 * Puts on record what somebody with a good token asked for and was refused: a scope, a role, a route of others. Of whom
 * nothing is known there is nothing to say; a document that is refused has a record of its own.
 */
export function recordRefusals(
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
