import type { KoaContextWithOIDC } from 'oidc-provider'
import type { ConsoleSignOut } from '../people/console-sign-out.ts'
import { type Clients, consoleClient } from '../registry/clients.ts'
import { owns, type Resources } from '../registry/resources.ts'
import type { Revocations } from '../revocation/revocations.ts'
import type { Verifier } from '../tokens/verify.ts'

export interface JwtEndpointsDeps {
  readonly clients: Clients
  readonly resources: Resources
  readonly verifier: Verifier
  readonly revocations: Revocations
  readonly issuer: string
  /** Whoever gives back the console's token signs out of it. */
  readonly consoleSignOut: ConsoleSignOut
}

/**
 * Lets revocation (RFC 7009) and introspection (RFC 7662) take our access tokens, which are JWTs: the library
 * authenticates the client, then refuses them. Only the client that a token was issued to ends it; only that
 * one and the owner of its API are told about it. Others get the answer of a token that was never there.
 */
export function createJwtEndpoints(deps: JwtEndpointsDeps) {
  const { clients, resources, verifier, revocations, issuer, consoleSignOut } = deps
  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    await next()
    const route = ctx.oidc?.route
    if (route !== 'revocation' && route !== 'introspection') return
    const errorBody = ctx.body as { readonly error?: unknown } | undefined
    const token = ctx.oidc.params?.['token']
    if (errorBody?.error !== 'unsupported_token_type' || typeof token !== 'string') return
    const client = ctx.oidc.client && (await clients.registered(ctx.oidc.client.clientId))
    const examined = await verifier.examine(token)
    ctx.status = 200
    ctx.body = route === 'introspection' ? { active: false } : ''
    if (client === undefined || !examined.ok) return
    const { claims, audience } = examined.value
    const isOwn = claims.client_id === client.clientId
    if (route === 'revocation') {
      if (!isOwn) return
      // RFC 7009 §2.1: what the token was made from ends with it.
      if (client.clientId === consoleClient) await consoleSignOut(claims.sub)
      const expiresAt = new Date(claims.exp * 1_000)
      await revocations.revoke(
        { kind: 'jti', issuer, id: claims.jti },
        { until: expiresAt, reason: 'client' },
      )
      return
    }
    // A public client proves nothing: anybody could ask in its name.
    if (!isOwn && client.jwks === undefined) return
    const entry = isOwn ? undefined : await resources.get(audience)
    if (!isOwn && (entry === undefined || !owns(entry, client))) return
    ctx.body = { active: true, token_type: claims.cnf === undefined ? 'Bearer' : 'DPoP', ...claims }
  }
}
