import * as client from 'openid-client'
import { reasonOf } from '../../kernel/reason.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'

/** What our side keeps until the browser comes back. */
export interface CodeChecks {
  readonly state: string
  readonly nonce: string
  readonly verifier: string
}

/** Why a code that came back was not redeemed. */
export type CodeRefusal = 'denied_there' | 'not_verified' | 'provider_unavailable'

/** What an error of the client library means for the browser: refused there, unreachable, or not verified. */
function codeRefusal(error: unknown): CodeRefusal {
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

/** What a provider answered to a code. */
export type CodeAnswer = client.TokenEndpointResponse & client.TokenEndpointResponseHelpers

export interface CodeClientOptions {
  /** One for each provider: a code that another one's answer carries is never sent there (RFC 9700 §4.4). */
  readonly redirectUri: string
  readonly configuration: () => Promise<client.Configuration>
  /** Whether an ID token is wanted, with a nonce. */
  readonly isOpenid: boolean
  /** Seconds since they signed in there, at most. Default: not asked. */
  readonly maxAge?: number
}

/** A client of one provider by code and PKCE (RFC 7636). */
export interface CodeClient {
  /**
   * Where the browser goes: with state, PKCE (RFC 7636) and, where an ID token comes back, a nonce;
   * `parameters`: of the authorization request, beside those of the flow itself.
   */
  begin(
    parameters: Readonly<Record<string, string>>,
  ): Promise<Result<CodeChecks & { readonly url: string }, 'provider_unavailable'>>
  /**
   * Redeems the code that the browser came back with (`search`: the callback's query), and gives what `read`
   * makes of the answer. Checked: state, RFC 9207 `iss` where it is sent or announced, PKCE; of an ID token
   * signature, issuer, audience, nonce, expiry, age. NOT checked: that this browser began it.
   */
  redeem<T>(
    search: string,
    checks: CodeChecks,
    read: (answer: CodeAnswer) => Promise<Result<T, CodeRefusal>>,
  ): Promise<Result<T, CodeRefusal>>
}

export function createCodeClient(options: CodeClientOptions): CodeClient {
  const { redirectUri, configuration, isOpenid, maxAge } = options
  return {
    async begin(parameters) {
      try {
        const config = await configuration()
        const [state, nonce] = [client.randomState(), client.randomNonce()]
        const verifier = client.randomPKCECodeVerifier()
        const { href: url } = client.buildAuthorizationUrl(config, {
          ...parameters,
          redirect_uri: redirectUri,
          ...(maxAge !== undefined && { max_age: String(maxAge) }),
          state,
          ...(isOpenid && { nonce }),
          code_challenge: await client.calculatePKCECodeChallenge(verifier),
          code_challenge_method: 'S256',
        })
        return ok({ state, nonce, verifier, url })
      } catch (error) {
        return refuse('provider_unavailable', clientReason(error))
      }
    },
    async redeem(search, { state, nonce, verifier }, read) {
      try {
        // Built from the settings: what the request says of its own address is the sender's word.
        const back = new URL(`${redirectUri}${search}`)
        const answer = await client.authorizationCodeGrant(await configuration(), back, {
          expectedState: state,
          pkceCodeVerifier: verifier,
          ...(isOpenid && { expectedNonce: nonce, idTokenExpected: true }),
          ...(maxAge !== undefined && { maxAge }),
        })
        return await read(answer)
      } catch (error) {
        return refuse(codeRefusal(error), clientReason(error))
      }
    },
  }
}

/**
 * For the operator. Neither the library's messages nor the guarded fetch's hold a token, a code or an answer;
 * what an answer says is named only where it is a known code.
 */
export const clientReason = (error: unknown): string =>
  error instanceof client.ResponseBodyError ? `${error.status} ${knownError(error.error)}` : reasonOf(error)

/**
 * An `error` of somebody else's answer as it may stand in a log: a code of the protocols that are spoken
 * here, else `other`. Where an answer echoes what it was asked, a token may stand in it. RFC 6749 §4.1.2.1
 * and §5.2, 6750 §3.1, 7009 §2.2.1, 8628 §3.5, 8693 §2.2.2, 8707 §2, 9449 §5 and §8, OpenID Connect Core
 * §3.1.2.6; and GitHub's own.
 */
const knownError = (error: string): string => (knownErrors.has(error) ? error : 'other')

const knownErrors: ReadonlySet<string> = new Set([
  'access_denied',
  'account_selection_required',
  'authorization_pending',
  'bad_refresh_token',
  'bad_verification_code',
  'consent_required',
  'expired_token',
  'incorrect_client_credentials',
  'insufficient_scope',
  'interaction_required',
  'invalid_client',
  'invalid_dpop_proof',
  'invalid_grant',
  'invalid_request',
  'invalid_scope',
  'invalid_target',
  'invalid_token',
  'login_required',
  'redirect_uri_mismatch',
  'server_error',
  'slow_down',
  'temporarily_unavailable',
  'unauthorized_client',
  'unsupported_grant_type',
  'unsupported_response_type',
  'unsupported_token_type',
  'unverified_user_email',
  'use_dpop_nonce',
])
