import * as client from 'openid-client'
import type { GuardedFetch } from '../../outbound/guarded-fetch.ts'
import type { ConnectionTokens } from './envelope.ts'
import type { Provider } from './provider.ts'

export interface RevokeDeps {
  readonly configuration: () => Promise<client.Configuration>
  readonly clientSecret: string
  readonly outbound: GuardedFetch
}

/**
 * Tells the provider. False: it has no way to be told, or did not take it. Throws where it does not answer.
 */
export async function revokeAt(
  { revocation, clientId }: Provider,
  tokens: ConnectionTokens,
  deps: RevokeDeps,
): Promise<boolean> {
  switch (revocation) {
    case 'none':
      return false
    case 'github':
      return deleteToken(clientId, tokens.accessToken, deps)
    case 'rfc7009':
      return revoke(tokens, await deps.configuration())
  }
}

/**
 * RFC 7009. The refresh token first: with it goes what it gave; what it gave is told by itself all the same.
 */
async function revoke(
  { accessToken, refreshToken }: ConnectionTokens,
  config: client.Configuration,
): Promise<boolean> {
  if (config.serverMetadata().revocation_endpoint === undefined) return false
  if (refreshToken === undefined) {
    await client.tokenRevocation(config, accessToken, { token_type_hint: 'access_token' })
    return true
  }
  await client.tokenRevocation(config, refreshToken, { token_type_hint: 'refresh_token' })
  // Many have ended it with the other, and say that they do not know it.
  await client
    .tokenRevocation(config, accessToken, { token_type_hint: 'access_token' })
    .catch(() => undefined)
  return true
}

/** GitHub's own way: https://docs.github.com/en/rest/apps/oauth-applications#delete-an-app-token */
async function deleteToken(
  clientId: string,
  token: string,
  { clientSecret, outbound }: RevokeDeps,
): Promise<boolean> {
  const { status } = await outbound(
    `https://api.github.com/applications/${encodeURIComponent(clientId)}/token`,
    {
      method: 'DELETE',
      headers: {
        authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`,
        accept: 'application/vnd.github+json',
        'content-type': 'application/json',
        'user-agent': 'Remit',
      },
      body: JSON.stringify({ access_token: token }),
      timeoutMs: 10_000,
      bytesMax: 64 * 1024,
    },
  )
  return status === 204
}
