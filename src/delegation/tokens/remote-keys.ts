import { type CryptoKey, createLocalJWKSet, type JSONWebKeySet, type JWSHeaderParameters } from 'jose'
import { JWKSInvalid, JWKSMultipleMatchingKeys, JWKSNoMatchingKey } from 'jose/errors'
import { z } from 'zod'
import { ownElapsed } from '../../kernel/elapsed.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import { type Fetch, fetchJson } from './fetch-json.ts'

/** Finds the public key for a token's header; `kid` and `alg` are all that is read of it. */
export interface KeySource {
  (header: JWSHeaderParameters): Promise<Result<CryptoKey, 'unknown_key' | 'keys_unavailable'>>
  /**
   * The same object for as long as no key came or went; undefined while it would have to fetch them first.
   */
  edition(): object | undefined
}

export interface RemoteKeysOptions {
  readonly issuer: string
  /** Left out: found by discovery (RFC 8414, then OpenID Connect), whose document must name this issuer. */
  readonly jwksUri?: string | undefined
  readonly fetch: Fetch
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
  /** Milliseconds that one document may take. Default 5000. */
  readonly timeoutMs?: number
}

const cacheMs = 600_000
const unknownKidCooldownMs = 30_000
const failureCooldownMs = 1_000

/**
 * An issuer's keys over HTTP: cached 10 minutes since they were asked for; fetched again for an unknown `kid`
 * at most every 30 seconds, so that made-up ones cannot drive traffic; one fetch at a time. Keys that are too
 * old are not used when no newer ones can be had: that is `keys_unavailable`, a refusal. A token without
 * `kid` is served only where exactly one key fits.
 */
export function remoteKeys({
  issuer,
  jwksUri,
  fetch,
  elapsed = ownElapsed,
  timeoutMs = 5_000,
}: RemoteKeysOptions): KeySource {
  let cachedKeys:
    | { readonly find: ReturnType<typeof createLocalJWKSet>; readonly askedAt: number }
    | undefined
  let failedAt = Number.NEGATIVE_INFINITY
  let fetching: Promise<boolean> | undefined

  async function load(): Promise<boolean> {
    const askedAt = elapsed()
    const uri = jwksUri ?? (await discover(issuer, fetch, timeoutMs))
    const found = uri === undefined ? undefined : keySet(await fetchJson(uri, fetch, timeoutMs))
    if (found === undefined) {
      failedAt = elapsed()
      return false
    }
    cachedKeys = { find: found, askedAt }
    return true
  }

  const refresh = (): Promise<boolean> => {
    if (elapsed() - failedAt < failureCooldownMs) return Promise.resolve(false)
    fetching ??= load().finally(() => {
      fetching = undefined
    })
    return fetching
  }

  const isYounger = (ms: number) => cachedKeys !== undefined && elapsed() - cachedKeys.askedAt < ms
  const isFresh = () => isYounger(cacheMs)

  const source = async (header: JWSHeaderParameters) => {
    if (!isFresh() && !(await refresh())) return refuse('keys_unavailable')
    const keyFound = await find(cachedKeys?.find, header)
    if (keyFound !== undefined) return ok(keyFound)
    if (isYounger(unknownKidCooldownMs)) return refuse('unknown_key')
    if (!(await refresh())) return refuse('keys_unavailable')
    const second = await find(cachedKeys?.find, header)
    return second === undefined ? refuse('unknown_key') : ok(second)
  }
  return Object.assign(source, { edition: () => (isFresh() ? cachedKeys : undefined) })
}

/** Keys that this process holds itself. */
export function localKeys(jwks: JSONWebKeySet): KeySource {
  const set = createLocalJWKSet(jwks)
  const source = async (header: JWSHeaderParameters) => {
    const key = await find(set, header)
    return key === undefined ? refuse('unknown_key' as const) : ok(key)
  }
  return Object.assign(source, { edition: () => set })
}

async function find(
  set: ReturnType<typeof createLocalJWKSet> | undefined,
  { alg, kid }: JWSHeaderParameters,
): Promise<CryptoKey | undefined> {
  try {
    // Only these two: a `jku`, `x5u` or `jwk` in the header is the sender's own word about its key.
    return await set?.({ ...(alg === undefined ? {} : { alg }), ...(kid === undefined ? {} : { kid }) })
  } catch (error) {
    if (error instanceof JWKSNoMatchingKey || error instanceof JWKSMultipleMatchingKeys) return undefined
    if (error instanceof JWKSInvalid) return undefined
    throw error
  }
}

const jwksDocument = z.looseObject({ keys: z.array(z.looseObject({ kty: z.string() })).max(100) })

function keySet(document: unknown): ReturnType<typeof createLocalJWKSet> | undefined {
  const { data } = jwksDocument.safeParse(document)
  return data && createLocalJWKSet(data)
}

const discoveryDocument = z.looseObject({ issuer: z.string(), jwks_uri: z.url() })

async function discover(issuer: string, fetch: Fetch, timeoutMs: number): Promise<string | undefined> {
  for (const address of discoveryAddresses(issuer)) {
    const { data } = discoveryDocument.safeParse(await fetchJson(address, fetch, timeoutMs))
    // A document that names another issuer is not this issuer's (RFC 8414 §3.3).
    if (data?.issuer === issuer && isSafe(data.jwks_uri, issuer)) return data.jwks_uri
  }
  return undefined
}

/** RFC 8414 puts the well-known part before the issuer's path, OpenID Connect behind it. */
function discoveryAddresses(issuer: string): string[] {
  const url = new URL(issuer)
  const path = url.pathname === '/' ? '' : url.pathname.replace(/\/$/, '')
  return [
    `${url.origin}/.well-known/oauth-authorization-server${path}`,
    `${url.origin}${path}/.well-known/openid-configuration`,
  ]
}

/**
 * Whether what an issuer's document points to may be asked: its own host, or somebody's public name by https.
 * The settings name the issuer only; it must not be able to point into our own network. NOT checked: what a
 * name resolves to.
 */
export function isSafe(address: string, issuer: string): boolean {
  const [url, issuerUrl] = [new URL(address), new URL(issuer)]
  if (url.username !== '' || url.password !== '') return false
  if (url.hostname === issuerUrl.hostname) return url.protocol === issuerUrl.protocol
  // URL has spelled every number that stands for an IPv4 address with dots.
  const isNumber = /^\[|^[\d.]+$/.test(url.hostname)
  return url.protocol === 'https:' && !isNumber && !/(^|\.)(localhost|local|internal)\.?$/.test(url.hostname)
}
