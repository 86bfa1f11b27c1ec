import { createHash } from 'node:crypto'
import type { KoaContextWithOIDC } from 'oidc-provider'
import type { Clock } from '../../kernel/clock.ts'

const intervalSeconds = 5
const heldMax = 10_000
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'

/**
 * What RFC 8628 asks for and the library leaves out: the answer says how often to poll, and whoever polls sooner is
 * told to slow down. The last polls are kept in this process: another one starts counting anew.
 */
export function createDevicePolling(clock: Clock) {
  const polledAt = new Map<string, number>()

  function isTooSoon(code: string): boolean {
    const key = createHash('sha256').update(code).digest('base64url')
    const before = polledAt.get(key)
    polledAt.delete(key)
    polledAt.set(key, clock.now())
    if (polledAt.size > heldMax) {
      const [oldest] = polledAt.keys()
      if (oldest !== undefined) polledAt.delete(oldest)
    }
    return before !== undefined && clock.now() - before < intervalSeconds * 1_000
  }

  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    await next()
    const body = ctx.body as Record<string, unknown> | undefined
    if (ctx.oidc?.route === 'device_authorization' && ctx.status === 200) {
      ctx.body = { ...body, interval: intervalSeconds }
      return
    }
    const { grant_type: grantType, device_code: code } = ctx.oidc?.params ?? {}
    if (grantType !== deviceGrant || typeof code !== 'string' || body?.['error'] !== 'authorization_pending')
      return
    if (!isTooSoon(code)) return
    ctx.set('retry-after', String(intervalSeconds))
    ctx.body = {
      error: 'slow_down',
      error_description: `Ask again in ${intervalSeconds} seconds, and no sooner.`,
    }
  }
}
