import type { KoaContextWithOIDC } from 'oidc-provider'

/**
 * Device codes are typed. A link that brings one along (`verification_uri_complete`, which RFC 8628 §3.2 leaves to us) would
 * take whoever it is sent to past the one moment at which they look at the device that is theirs (§5.4): none is given, and
 * a code in an address is not read.
 */
export async function typedCodes(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  const { user_code: code, ...others } = ctx.query
  if (code !== undefined) ctx.query = others
  try {
    await next()
  } catch (error) {
    if (!cameWithoutForm(error)) throw error
    ctx.status = 303
    ctx.redirect(ctx.oidc.urlFor('code_verification'))
    return
  }
  if (ctx.oidc?.route !== 'device_authorization' || ctx.status !== 200) return
  const { verification_uri_complete: _, ...begun } = ctx.body as Readonly<Record<string, unknown>>
  ctx.body = begun
}

/**
 * Whoever answers a form that they were never given: the library then means to give another one, in a session that it has
 * not stored, and stumbles over it.
 */
const cameWithoutForm = (error: unknown): boolean =>
  error instanceof TypeError &&
  error.message === 'persist can only be called on previously persisted Sessions'
