import * as client from 'openid-client'
import type { Clock } from '../../kernel/clock.ts'
import { isSafe } from '../tokens/remote-keys.ts'

/** Our client at an OpenID provider. */
export interface ClientSettings {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string
}

const timeoutSeconds = 5
const heldMs = 600_000
const failureMs = 1_000

/**
 * What `load` gives, for ten minutes; one load at a time. A failure is what everybody gets for a second:
 * whoever begins sign-ins at a provider that is down drives no traffic to it.
 */
export function cachedLoad<T>(load: () => Promise<T>, clock: Clock): () => Promise<T> {
  let cachedEntry: { readonly answer: Promise<T>; over: () => boolean } | undefined
  return () => {
    if (cachedEntry !== undefined && !cachedEntry.over()) return cachedEntry.answer
    const entry = { answer: load(), over: () => false }
    const endAfter = (ms: number) => () => {
      const loadedAt = clock.now()
      // A clock that is set back must not make it last.
      entry.over = () => Math.abs(clock.now() - loadedAt) >= ms
    }
    entry.answer.then(endAfter(heldMs), endAfter(failureMs))
    cachedEntry = entry
    return entry.answer
  }
}

/**
 * Reads the provider's discovery document by `fetch`, which guards where it asks. Checked: that it names this
 * issuer, and that the browser is sent to the issuer's own host or to a public name over https.
 */
export async function discover(
  { issuer, clientId, clientSecret }: ClientSettings,
  fetch: client.CustomFetch,
): Promise<client.Configuration> {
  const config = await client.discovery(new URL(issuer), clientId, {}, clientAuth(clientSecret), {
    timeout: timeoutSeconds,
    [client.customFetch]: fetch,
    // Its own rule is https only. Ours lets loopback through, and nothing else in the clear: held to in
    // `fetch` for what we ask, and below for where the browser is sent.
    execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks],
  })
  const server = config.serverMetadata()
  // The library compares as URLs, for which `https://a` is `https://a/`.
  if (server.issuer !== issuer) throw new Error('The discovery document names another issuer.')
  if (!isSafe(server.authorization_endpoint ?? 'about:blank', issuer))
    throw new Error(
      'The authorization endpoint is missing, or neither of the issuer’s own host nor of a public name over https.',
    )
  return config
}

/** Our client where the endpoints are known and there is nothing to discover. */
export function configure(
  server: client.ServerMetadata,
  { clientId, clientSecret }: ClientSettings,
  fetch: client.CustomFetch,
): client.Configuration {
  const config = new client.Configuration(server, clientId, {}, clientAuth(clientSecret))
  config.timeout = timeoutSeconds
  config[client.customFetch] = fetch
  return config
}

const clientAuth = (secret: string): client.ClientAuth => {
  const basic = client.ClientSecretBasic(secret)
  const post = client.ClientSecretPost(secret)
  return (server, ...otherArguments) => {
    const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
    return (methods.includes('client_secret_basic') ? basic : post)(server, ...otherArguments)
  }
}
