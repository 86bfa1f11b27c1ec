import type { KoaContextWithOIDC } from 'oidc-provider'
import { scopesOfKind } from '../registry/claims.ts'
import { responseModes } from './client-metadata.ts'

/**
 * Puts the authorization server's metadata (RFC 8414) right: the library announces all that it could do, and
 * leaves out what it does not know, our APIs (RFC 9728 §4) and how a client proves itself at the endpoints
 * beside the token's.
 */
export function createMetadata(publicUrl: string) {
  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    await next()
    if (ctx.oidc?.route !== 'discovery' || ctx.status !== 200) return
    const announced = ctx.body as Readonly<Record<string, unknown>>
    const methods = announced['token_endpoint_auth_methods_supported']
    const algorithms = announced['token_endpoint_auth_signing_alg_values_supported']
    ctx.body = {
      ...announced,
      // Signed requests are for the backchannel, which has a member of its own.
      request_parameter_supported: false,
      request_object_signing_alg_values_supported: undefined,
      scopes_supported: ['openid', 'offline_access', ...new Set(Object.values(scopesOfKind).flat())],
      claims_supported: ['iss', 'sub', 'auth_time'],
      response_modes_supported: responseModes,
      revocation_endpoint_auth_methods_supported: methods,
      revocation_endpoint_auth_signing_alg_values_supported: algorithms,
      introspection_endpoint_auth_methods_supported: methods,
      introspection_endpoint_auth_signing_alg_values_supported: algorithms,
      backchannel_user_code_parameter_supported: false,
      protected_resources: [publicUrl, `${publicUrl}/mcp`],
      service_documentation: `${publicUrl}/docs`,
    }
  }
}
