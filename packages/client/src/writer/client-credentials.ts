import { cacheKey, createTokenCache, type TokenCache } from '../tokens/cache.ts'
import { createIssuerClient, type IssuerOptions } from '../tokens/issuer-client.ts'
import { readTokenAnswer } from '../tokens/read-answer.ts'
import type { AccessToken } from '../tokens/token.ts'

/** Which token of a service a request needs. */
export interface ServiceTokenRequest {
  /** Exact audience: the URL of the API. */
  readonly audience: string
  readonly signal?: AbortSignal | undefined
}

/** Where the tokens of a service come from: of a program that works for no person. */
export interface ServiceTokens {
  get(request: ServiceTokenRequest): Promise<AccessToken>
  /** The API did not take this one: it is not given again. */
  drop(request: ServiceTokenRequest, token: AccessToken): Promise<void>
}

/** Settings of `clientCredentials`. */
export interface ClientCredentialsOptions extends IssuerOptions {
  /** Default `docs.write`. A source that also brings groups needs `directory.write`. */
  readonly scopes?: readonly string[]
  /** Default: a cache of its own. */
  readonly cache?: TokenCache
}

/** Tokens of a service's own client (RFC 6749 §4.4), renewed before they end. */
export function clientCredentials(options: ClientCredentialsOptions): ServiceTokens {
  const client = createIssuerClient(options)
  const { scopes = ['docs.write'], cache = createTokenCache({ now: client.platform.now }) } = options

  // No person: a service's own token is nobody's.
  const keyOf = (audience: string) => cacheKey(client, { person: { subject: '' }, audience, scopes })

  async function obtain(audience: string): Promise<AccessToken> {
    const answer = await client.post(
      'token',
      { grant_type: 'client_credentials', resource: audience, scope: scopes.join(' ') },
      [],
    )
    return readTokenAnswer(answer, { subject: undefined, audience, scopes }, client)
  }

  return {
    get: async ({ audience, signal }) => cache.get(await keyOf(audience), signal, () => obtain(audience)),
    async drop({ audience }, token) {
      cache.drop(await keyOf(audience), token)
    },
  }
}
