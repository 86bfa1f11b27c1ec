import type { CustomFetch } from 'openid-client'
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

const timeoutMs = 10_000
const bytesMax = 256 * 1024
const bodiless = new Set([101, 204, 205, 304])

/** As openid-client calls it. Errors that a provider sends with status 200 become what the standard says. */
export const asFetch =
  (outbound: GuardedFetch, quirks: Provider['quirks']): CustomFetch =>
  async (url, { method, headers, body, signal }) => {
    const answer = await outbound(url, {
      method,
      headers,
      timeoutMs,
      bytesMax,
      ...(body !== undefined && body !== null && { body: textOf(body) }),
      ...(signal !== undefined && { signal }),
    })
    const { status, body: originalBody } = quirks.errorsWith200
      ? standard(answer, quirks.invalidGrant)
      : answer
    return new Response(bodiless.has(status) ? null : Buffer.from(originalBody), {
      status,
      headers: answer.headers,
    })
  }

function textOf(body: unknown): string | Uint8Array {
  if (typeof body === 'string' || body instanceof Uint8Array) return body
  if (body instanceof URLSearchParams) return body.toString()
  throw new Error('A body of another kind than the protocol has.')
}

function standard(
  answer: { readonly status: number; readonly body: Uint8Array },
  invalidGrant: readonly string[],
): { readonly status: number; readonly body: Uint8Array } {
  if (answer.status !== 200) return answer
  const error = errorIn(answer.body)
  if (error === undefined) return answer
  const name = invalidGrant.includes(error) ? 'invalid_grant' : error
  return { status: 400, body: Buffer.from(JSON.stringify({ error: name })) }
}

function errorIn(body: Uint8Array): string | undefined {
  try {
    const { error } = JSON.parse(Buffer.from(body).toString('utf8')) as { readonly error?: unknown }
    return typeof error === 'string' ? error : undefined
  } catch {
    // Whatever it is, the library says that it is none of the protocol's.
    return undefined
  }
}
