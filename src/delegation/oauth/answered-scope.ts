import type { KoaContextWithOIDC } from 'oidc-provider'

/**
 * Puts `openid` into the scope that a token's answer names, where it was granted: an ID token comes along
 * (OpenID Connect Core §3.1.3.3, RFC 6749 §5.1). The library names what the access token is good for at one
 * API, and nothing else.
 */
export async function answeredScope(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  await next()
  if (ctx.oidc?.route !== 'token' || ctx.status !== 200) return
  const { id_token: idToken, scope, ...body } = ctx.body as Readonly<Record<string, unknown>>
  if (idToken === undefined) return
  const scopes = new Set(['openid', ...String(scope ?? '').split(' ')])
  ctx.body = { ...body, id_token: idToken, scope: [...scopes].join(' ').trim() }
}
