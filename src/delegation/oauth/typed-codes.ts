import type { Adapter, KoaContextWithOIDC } from 'oidc-provider'

/**
 * Device codes are typed. A link that brings one along (`verification_uri_complete`, which RFC 8628 §3.2
 * leaves to us) would take whoever it is sent to past the one moment at which they look at the device that is
 * theirs (§5.4): none is given, and a code in an address is not read.
 */
export async function typedCodes(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  const { user_code: code, ...otherParameters } = ctx.query
  if (code !== undefined) ctx.query = otherParameters
  try {
    await next()
  } catch (error) {
    if (!cameWithoutForm(error)) throw error
    ctx.status = 303
    ctx.redirect(ctx.oidc.urlFor('code_verification'))
    return
  }
  if (ctx.oidc?.route !== 'device_authorization' || ctx.status !== 200) return
  const { verification_uri_complete: _, ...publicBody } = ctx.body as Readonly<Record<string, unknown>>
  ctx.body = publicBody
}

/**
 * The store of device codes. The library gives a code to the first browser that goes on with it, for good,
 * and says to the device only that nobody has answered yet. Who types it again has lost that page, or is
 * somebody else: it ends for both browsers, and the device hears of it with its next poll (RFC 8628 §3.5).
 * Let in again, two could be asked for one device at once, and it would act as whoever answers first. `now`:
 * milliseconds since the epoch.
 */
export const typedOnce = (inner: Adapter, now: () => number): Adapter => ({
  ...inner,
  async findByUserCode(userCode) {
    const code = (await inner.findByUserCode(userCode)) ?? undefined
    const secondsLeft = (code?.exp ?? 0) - Math.floor(now() / 1_000)
    if (code?.jti === undefined || code.inFlight !== true || secondsLeft <= 0) return code
    if (code.accountId === undefined && code.error === undefined) {
      const typedAgain = { error: 'expired_token', errorDescription: 'the code was typed a second time' }
      await inner.upsert(code.jti, { ...code, ...typedAgain }, secondsLeft)
    }
    return code
  },
})

/**
 * Whoever answers a form that they were never given: the library then means to give another one, in a session
 * that it has not stored, and stumbles over it.
 */
const cameWithoutForm = (error: unknown): boolean =>
  error instanceof TypeError &&
  error.message === 'persist can only be called on previously persisted Sessions'
