import * as client from 'openid-client'
import { z } from 'zod'
import type { Clock } from '../../kernel/clock.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { GuardedFetch } from '../../outbound/guarded-fetch.ts'
import type { CodeChecks, CodeRefusal } from '../oauth-client/code-client.ts'
import { type CodeAnswer, clientReason, createCodeClient } from '../oauth-client/code-client.ts'
import { cachedLoad, configure, discover } from '../oauth-client/configuration.ts'
import { shownName } from '../registry/record-names.ts'
import type { ConnectionTokens } from './envelope.ts'
import type { AccountEndpoint, Provider } from './provider.ts'
import { asFetch, revokeAt } from './provider-quirks.ts'

/** What a provider gave. */
export interface GrantedTokens {
  readonly tokens: ConnectionTokens
  /** undefined: it did not say; then those that were asked for. */
  readonly scopes: readonly string[] | undefined
  /** undefined: it did not say. */
  readonly expiresAt: Date | undefined
}

/** The account at a provider, by an id that does not change there. */
export interface ProviderAccount {
  readonly id: string
  readonly title: string
}

/** Remit as a client of one provider. Every request goes through the guarded fetch. */
export interface ProviderClient {
  readonly provider: Provider
  /** Where the browser goes. */
  begin(): Promise<Result<CodeChecks & { readonly url: string }, 'provider_unavailable'>>
  /**
   * Redeems the code that the browser came back with (`search`: the callback's query). Checked: state, RFC
   * 9207 `iss` where it is sent or announced, PKCE; of an ID token signature, issuer, audience, nonce,
   * expiry. NOT checked: that this browser began it.
   */
  redeem(
    search: string,
    checks: CodeChecks,
  ): Promise<Result<GrantedTokens & { account: ProviderAccount }, CodeRefusal>>
  /** `refused`: the refresh token is not good any more. The old one stays where no new one is given. */
  refresh(
    refreshToken: string,
    scopes: readonly string[],
  ): Promise<Result<GrantedTokens, 'refused' | 'provider_unavailable'>>
  /**
   * RFC 8693: a token for what the provider's data names, which is kept nowhere. `refused`: the provider does
   * not take the one that we hold. Not taken for an answer: the same token again, one of another type, and
   * one that says that it can do more than was asked for and `scopes`, which are the connection's.
   */
  exchange(
    accessToken: string,
    scopes: readonly string[],
  ): Promise<Result<string, 'refused' | 'provider_unavailable'>>
  /** Best effort; false: the provider did not take it, or has no way to. */
  revoke(tokens: ConnectionTokens): Promise<boolean>
}

/** By the name of the provider. */
export type ProviderClients = ReadonlyMap<string, ProviderClient>

/** Undefined: no more in the settings, or another issuer's there, for which its tokens are not. */
export function clientOf(
  clients: ProviderClients,
  { provider, issuer }: { readonly provider: string; readonly issuer: string },
): ProviderClient | undefined {
  const client = clients.get(provider)
  return client?.provider.issuer === issuer ? client : undefined
}

export interface ProviderClientDeps {
  readonly publicUrl: string
  readonly outbound: GuardedFetch
  readonly clock: Clock
}

/** Where a provider sends the browser back to: register `PUBLIC_URL` + this as redirect URI there. */
export const connectCallbackPath = (provider: string): string => `/connections/${provider}/callback`

/** Configures itself when it is first needed. Does NOT check which person the browser belongs to. */
export function createProviderClient(
  provider: Provider,
  clientSecret: string,
  { publicUrl, outbound, clock }: ProviderClientDeps,
): ProviderClient {
  const settings = { issuer: provider.issuer, clientId: provider.clientId, clientSecret }
  const fetch = asFetch(outbound, provider.quirks)
  const { endpoints } = provider
  const isOpenid = provider.account === 'id_token'
  const configuration = cachedLoad(
    async () =>
      endpoints === undefined
        ? discover(settings, fetch)
        : configure(metadataOf(provider.issuer, endpoints), settings, fetch),
    clock,
  )

  const codes = createCodeClient({
    redirectUri: `${publicUrl}${connectCallbackPath(provider.name)}`,
    configuration,
    isOpenid,
  })

  function granted(answer: client.TokenEndpointResponse, previousToken?: string): GrantedTokens {
    const {
      access_token: accessToken,
      refresh_token: refreshToken = previousToken,
      expires_in,
      scope,
    } = answer
    if (answer.token_type.toLowerCase() !== 'bearer' || !isToken(accessToken))
      throw new Error('The provider gave a token of another kind.')
    return {
      tokens: { accessToken, ...(refreshToken !== undefined && { refreshToken }) },
      scopes: scope === undefined ? undefined : scope.split(/[\s,]+/).filter((scopeName) => scopeName !== ''),
      expiresAt: expires_in === undefined ? undefined : new Date(clock.now() + expires_in * 1_000),
    }
  }

  async function accountOf(
    answer: CodeAnswer,
  ): Promise<Result<GrantedTokens & { account: ProviderAccount }, CodeRefusal>> {
    const tokenSet = granted(answer)
    const account =
      provider.account === 'id_token'
        ? accountIn(answer.claims())
        : await askAccount(provider.account, tokenSet.tokens.accessToken, outbound)
    if (account === undefined) return refuse('not_verified', 'whose account it is cannot be told')
    return ok({ ...tokenSet, account })
  }

  return {
    provider,
    begin: () => codes.begin({ ...provider.authorize, scope: provider.scopes.join(' ') }),
    redeem: (search, checks) => codes.redeem(search, checks, accountOf),
    async refresh(refreshToken, scopes) {
      try {
        const parameters = provider.scopeOnRefresh && scopes.length > 0 ? { scope: scopes.join(' ') } : {}
        const answer = await client.refreshTokenGrant(await configuration(), refreshToken, parameters)
        return ok(granted(answer, refreshToken))
      } catch (error) {
        const isRefused = error instanceof client.ResponseBodyError && error.error === 'invalid_grant'
        return refuse(isRefused ? 'refused' : 'provider_unavailable', clientReason(error))
      }
    },
    async exchange(accessToken, scopes) {
      const exchangeParameters = { ...provider.tokenExchange }
      try {
        const answer = await client.genericGrantRequest(await configuration(), tokenExchangeGrant, {
          ...exchangeParameters,
          subject_token: accessToken,
          subject_token_type: accessTokenType,
          requested_token_type: accessTokenType,
        })
        const tokenSet = granted(answer)
        const knownScopes = new Set([...scopes, ...(exchangeParameters.scope ?? '').split(' ')])
        if (
          tokenSet.tokens.accessToken === accessToken ||
          answer['issued_token_type'] !== accessTokenType ||
          tokenSet.scopes?.every((scopeName) => knownScopes.has(scopeName)) === false
        )
          return refuse('provider_unavailable', 'the exchange gave no narrower access token')
        return ok(tokenSet.tokens.accessToken)
      } catch (error) {
        const isRefused = error instanceof client.ResponseBodyError && isOfToken.has(error.error)
        return refuse(isRefused ? 'refused' : 'provider_unavailable', clientReason(error))
      }
    },
    async revoke(tokens) {
      try {
        return await revokeAt(provider, tokens, { configuration, clientSecret, outbound })
      } catch {
        // Whatever it was: ours are gone, and the page says that the provider was not reached.
        return false
      }
    },
  }
}

const tokenExchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'
// RFC 8693 §2.2.2 says the first of a subject token that is not good; others are about us, or about what is
// asked for.
const isOfToken: ReadonlySet<string> = new Set(['invalid_request', 'invalid_grant', 'invalid_token'])

const metadataOf = (
  issuer: string,
  { authorization, token, revocation, clientAuth }: NonNullable<Provider['endpoints']>,
): client.ServerMetadata => ({
  issuer,
  ...(clientAuth !== undefined && { token_endpoint_auth_methods_supported: [clientAuth] }),
  authorization_endpoint: authorization,
  token_endpoint: token,
  ...(revocation !== undefined && { revocation_endpoint: revocation }),
})

/** What a header can carry. */
const isToken = (token: string): boolean => /^[\x21-\x7e]{1,16384}$/.test(token)

const claims = z.looseObject({
  sub: z.string().min(1).max(255),
  email: z.string().optional().catch(undefined),
  preferred_username: z.string().optional().catch(undefined),
  name: z.string().optional().catch(undefined),
})

function accountIn(idToken: unknown): ProviderAccount | undefined {
  const { data: claimsData } = claims.safeParse(idToken)
  return (
    claimsData && {
      id: claimsData.sub,
      title: shownName([claimsData.email, claimsData.preferred_username, claimsData.name], claimsData.sub),
    }
  )
}

const accountMs = 5_000
const accountBytesMax = 64 * 1024

async function askAccount(
  { url, id, title }: AccountEndpoint,
  token: string,
  outbound: GuardedFetch,
): Promise<ProviderAccount | undefined> {
  const { status, body } = await outbound(url, {
    headers: { authorization: `Bearer ${token}`, accept: 'application/json', 'user-agent': 'Remit' },
    timeoutMs: accountMs,
    bytesMax: accountBytesMax,
  })
  if (status !== 200) return undefined
  const member = z.union([z.string().min(1).max(255), z.int()])
  const { data: accountData } = z
    .record(z.string(), z.unknown())
    .safeParse(JSON.parse(Buffer.from(body).toString('utf8')))
  const found = member.safeParse(accountData?.[id])
  if (!found.success) return undefined
  const named = z.string().safeParse(accountData?.[title])
  return { id: String(found.data), title: shownName([named.data], String(found.data)) }
}
