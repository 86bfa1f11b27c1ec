import { createHash } from 'node:crypto'
import type { KoaContextWithOIDC } from 'oidc-provider'
import type { Clock } from '../../kernel/clock.ts'
import { createLru } from '../../kernel/lru.ts'
import { ciba } from './client-metadata.ts'

/** Seconds between two polls, as it is told to whoever begins. */
export const intervalSeconds = 5
const stepSeconds = 5
const intervalSecondsMax = 60
// A request that was underway longer than the next one came no sooner than it was sent.
const leewayMs = 500
const heldMax = 10_000

/** Grant type → the parameter that says what is waited for. */
const polled: ReadonlyMap<unknown, string> = new Map([
  ['urn:ietf:params:oauth:grant-type:device_code', 'device_code'],
  [ciba, 'auth_req_id'],
])

interface Poll {
  readonly at: number
  readonly seconds: number
}

/**
 * What RFC 8628 §3.5 and CIBA §11 ask for and the library leaves out: the answer says how often to poll, and
 * whoever polls sooner is told to slow down, from then on by 5 seconds more each time, to a minute at most.
 * The last polls are kept in this process: another one starts counting anew.
 */
export function createPolling(clock: Clock) {
  const polls = createLru<Poll>({ entriesMax: heldMax })

  /** Seconds to wait from now on; undefined: it came in time. */
  function tooSoon(code: string): number | undefined {
    const key = createHash('sha256').update(code).digest('base64url')
    const previousPoll = polls.peek(key)
    const polledAt = clock.now()
    const isSooner =
      previousPoll !== undefined && polledAt - previousPoll.at < previousPoll.seconds * 1_000 - leewayMs
    const seconds = Math.min(
      (previousPoll?.seconds ?? intervalSeconds) + (isSooner ? stepSeconds : 0),
      intervalSecondsMax,
    )
    polls.set(key, { at: polledAt, seconds })
    return isSooner ? seconds : undefined
  }

  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    await next()
    const body = ctx.body as Record<string, unknown> | undefined
    const route = ctx.oidc?.route
    if ((route === 'device_authorization' || route === 'backchannel_authentication') && ctx.status === 200) {
      ctx.body = { ...body, interval: intervalSeconds }
      return
    }
    const { params } = ctx.oidc ?? {}
    const name = polled.get(params?.['grant_type'])
    const code = name === undefined ? undefined : params?.[name]
    if (typeof code !== 'string' || body?.['error'] !== 'authorization_pending') return
    const seconds = tooSoon(code)
    if (seconds === undefined) return
    ctx.set('retry-after', String(seconds))
    ctx.body = { error: 'slow_down', error_description: `Ask again in ${seconds} seconds, and no sooner.` }
  }
}
