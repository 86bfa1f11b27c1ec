import type { ErrorCode } from '@remit/contract/errors'
import { proofAlgorithms } from '../delegation/tokens/dpop.ts'
import type { Challenge } from '../kernel/errors.ts'

/**
 * The one form of `WWW-Authenticate` at our APIs (RFC 6750 §3): what was wrong with the token, the complete set of
 * scopes that the operation needs, how recent the sign-in must be (RFC 9470), and where the API says which servers
 * issue its tokens (RFC 9728 §5.1). Under the scheme `DPoP` for whoever came with it, and whose token is bound to a key
 * (RFC 9449 §7). Values are ours alone, so that nothing of a caller's is quoted back.
 */
export function wwwAuthenticate(
  code: ErrorCode,
  { isBare = false, isBound = false, scopes = [], maxAgeSeconds }: Challenge,
  resource: string,
  /** The request's `Authorization`. */
  authorization = '',
): string {
  const isProof = isBound || /^dpop /i.test(authorization) || code === 'invalid_dpop_proof'
  const parameters = {
    ...(!isBare && { error: code }),
    ...(scopes.length > 0 && { scope: scopes.join(' ') }),
    ...(maxAgeSeconds !== undefined && { max_age: String(maxAgeSeconds) }),
    resource_metadata: metadataUrl(resource),
    ...(isProof && { algs: proofAlgorithms.join(' ') }),
  }
  return `${isProof ? 'DPoP' : 'Bearer'} ${Object.entries(parameters)
    .map(([name, value]) => `${name}="${value}"`)
    .join(', ')}`
}

/** Where a resource says which tokens it takes: the well-known part stands before its path (RFC 9728 §3.1). */
export function metadataUrl(resource: string): string {
  const { origin, pathname } = new URL(resource)
  return `${origin}/.well-known/oauth-protected-resource${pathname === '/' ? '' : pathname}`
}
