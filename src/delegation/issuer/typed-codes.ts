import type { KoaContextWithOIDC } from 'oidc-provider'

/**
 * Device codes are typed. A link that brings one along (`verification_uri_complete`, which RFC 8628 §3.2 leaves to us) would
 * take whoever it is sent to past the one moment at which they look at the device that is theirs (§5.4): none is given, and
 * a code in an address is not read.
 */
export async function typedCodes(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  const { user_code: code, ...others } = ctx.query
  if (code !== undefined) ctx.query = others
  await next()
  if (ctx.oidc?.route !== 'device_authorization' || ctx.status !== 200) return
  const { verification_uri_complete: _, ...begun } = ctx.body as Readonly<Record<string, unknown>>
  ctx.body = begun
}
