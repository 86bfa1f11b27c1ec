import { scopesOf } from '../registry/claims.ts'
import type { ExaminedToken } from '../tokens/verify.ts'

/**
 * What a token made from this one says of who the person is elsewhere, and by which token of theirs we know:
 * ending that one ends all that came of it. It stays through every exchange.
 */
export function upstreamOf({ claims, issuer }: ExaminedToken): { readonly upstream?: object } {
  if (issuer.kind === 'external') return { upstream: { iss: claims.iss, sub: claims.sub, jti: claims.jti } }
  return claims.upstream === undefined ? {} : { upstream: claims.upstream }
}

/** Grants are families at their issuer: another's would be taken for one of ours. */
export const grantOf = ({ claims, issuer }: ExaminedToken): { readonly grant_id?: string } =>
  issuer.kind === 'own' && claims.grant_id !== undefined ? { grant_id: claims.grant_id } : {}

/** Scopes that a token made from this one may have: another issuer's count within what its settings allow. */
export const grantableScopes = ({ claims, issuer }: ExaminedToken): readonly string[] =>
  issuer.kind === 'own'
    ? scopesOf(claims)
    : [...issuer.scopesAllowed].filter((scope) => scopesOf(claims).includes(scope))
