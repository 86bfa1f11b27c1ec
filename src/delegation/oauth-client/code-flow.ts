import * as client from 'openid-client'

/** What our side keeps until the browser comes back. */
export interface CodeChecks {
  readonly state: string
  readonly nonce: string
  readonly verifier: string
}

/** Why a code that came back was not redeemed. */
export type CodeRefusal = 'denied_there' | 'not_verified' | 'provider_unavailable'

/**
 * Where the browser goes for a code: with state, PKCE (RFC 7636) and, where an ID token comes back, a nonce.
 */
export async function beginCode(
  config: client.Configuration,
  parameters: Readonly<Record<string, string>>,
  { isOpenid }: { readonly isOpenid: boolean },
): Promise<CodeChecks & { readonly url: string }> {
  const checks = {
    state: client.randomState(),
    nonce: client.randomNonce(),
    verifier: client.randomPKCECodeVerifier(),
  }
  const { href } = client.buildAuthorizationUrl(config, {
    ...parameters,
    state: checks.state,
    ...(isOpenid && { nonce: checks.nonce }),
    code_challenge: await client.calculatePKCECodeChallenge(checks.verifier),
    code_challenge_method: 'S256',
  })
  return { ...checks, url: href }
}

/** What an error of the client library means for the browser: refused there, unreachable, or not verified. */
export function codeRefusal(error: unknown): CodeRefusal {
  if (error instanceof client.AuthorizationResponseError)
    return error.error === 'access_denied' ? 'denied_there' : 'not_verified'
  return isOutage(error) ? 'provider_unavailable' : 'not_verified'
}

/** No answer at all, or one that is none of the protocol's. */
const isOutage = (error: unknown): boolean =>
  error instanceof Error &&
  (['OutboundError', 'TimeoutError', 'AbortError'].includes(error.name) ||
    (error instanceof TypeError && error.message === 'fetch failed') ||
    (error.cause !== undefined && error.cause !== error && isOutage(error.cause)))
