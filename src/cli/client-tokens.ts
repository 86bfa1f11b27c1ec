import { type CryptoKey, importJWK, type JWK } from 'jose'
import * as client from 'openid-client'
import { z } from 'zod'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import { parseJson, readPrivate } from '../store/private-file.ts'
import { isNotAnswering, NotAnsweringError } from './not-answering.ts'
import type { TokenSource } from './remit-http.ts'
import { type Issued, renewed } from './renewed.ts'
import { isLoopback } from './sign-ins.ts'

/** How a client gets its tokens: server, resource, key. */
export interface ClientTokensOptions {
  /** Address of the service, without a trailing slash, exactly as its `PUBLIC_URL`. */
  readonly url: string
  readonly clientId: string
  /** A private JWK (0600), as `npm run -s example -- key-pair` makes it. Its public half is registered with the client. */
  readonly keyFile: string
  readonly scope: string
}

// What a server that says nothing of it gives is renewed soon.
const secondsUnsaid = 60

/**
 * Tokens of a service's own client (RFC 6749 §4.4) by its key (`private_key_jwt`), a new one before the last one ends. Throws where the
 * file holds no private key or others can read it, and with what the authorization server says where it refuses.
 */
export function clientTokens(
  { url, clientId, keyFile, scope }: ClientTokensOptions,
  { fetch, now }: { readonly fetch: Fetch; readonly now: () => number },
): TokenSource {
  const fetchWithBody: client.CustomFetch = (url, init) => fetch(url, { ...init, body: init.body ?? null })
  let found: Promise<client.Configuration> | undefined

  async function discover(): Promise<client.Configuration> {
    const isPlain = new URL(url).protocol === 'http:'
    if (isPlain && !isLoopback(url))
      throw new Error(`${url} is plain http: tokens would travel in the clear. Use https.`)
    const auth = client.PrivateKeyJwt(await readKey(keyFile))
    return client.discovery(new URL(`${url}/oauth`), clientId, undefined, auth, {
      algorithm: 'oauth2',
      [client.customFetch]: fetchWithBody,
      execute: isPlain ? [client.allowInsecureRequests] : [],
    })
  }

  async function ask(): Promise<Issued> {
    try {
      found ??= discover()
      const { access_token, expires_in } = await client.clientCredentialsGrant(await found, {
        scope,
        resource: url,
      })
      return { token: access_token, seconds: expires_in ?? secondsUnsaid }
    } catch (error) {
      found = undefined
      throw registrationError(error, url)
    }
  }
  return renewed(ask, now)
}

const privateJwk = z.looseObject({ kty: z.string(), d: z.string(), kid: z.string().optional() })

async function readKey(path: string): Promise<client.PrivateKey | CryptoKey> {
  const read = privateJwk.safeParse(parseJson((await readPrivate(path)) ?? ''))
  const key = read.success
    ? await importJWK(read.data as JWK, String(read.data['alg'] ?? 'ES256')).catch(() => undefined)
    : undefined
  if (key === undefined || key instanceof Uint8Array)
    throw new Error(`There is no private key (a JWK) in ${path}.`)
  const kid = read.data?.kid
  return kid === undefined ? key : { key, kid }
}

function registrationError(error: unknown, url: string): unknown {
  if (error instanceof client.ResponseBodyError && error.status < 500)
    return new Error(`${error.error}: ${error.error_description ?? 'the authorization server refused.'}`, {
      cause: error,
    })
  const { cause } = error instanceof client.ClientError ? error : {}
  const isDown =
    error instanceof client.ResponseBodyError ||
    (cause instanceof Response && cause.status >= 500) ||
    (error instanceof client.ClientError && isOfNoAnswer(cause))
  return isDown ? new NotAnsweringError(`The authorization server of ${url} does not answer.`, error) : error
}

/** Whether it rests on an answer that did not come in time, or broke off. */
const isOfNoAnswer = (error: unknown): boolean =>
  isNotAnswering(error) ||
  (error instanceof Error && (error.name === 'TimeoutError' || isOfNoAnswer(error.cause)))
