import { type CryptoKey, importJWK, type JWK } from 'jose'
import { type Fetch, fetchJson, isSafe } from '../shared/fetch-json.ts'
import { readIssuerDocument } from '../shared/issuer-document.ts'
import { isObject } from '../shared/json.ts'

/** `unavailable`: nothing is known about the key, since the issuer's keys cannot be had. */
export type FoundKey = CryptoKey | 'unknown' | 'unavailable'

/** Finds the issuer's public key by its `kid`. */
export type KeySource = (kid: string) => Promise<FoundKey>

/** Settings of `issuerKeys` for one issuer. */
export interface IssuerKeysOptions {
  readonly issuer: string
  readonly fetch: Fetch
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

const cacheMs = 600_000
const unknownCooldownMs = 30_000
const failureCooldownMs = 1_000

/** Keys that the API holds itself. */
export function fixedKeys(jwks: { readonly keys: readonly JWK[] }): KeySource {
  const keys = importAll(jwks.keys)
  return async (kid) => (await keys).get(kid) ?? 'unknown'
}

/**
 * The issuer's keys by its metadata (RFC 8414): kept 10 minutes, read again for an unknown `kid` at most
 * every 30 seconds, one read at a time. Keys that are too old are not used where no newer ones can be had.
 */
export function issuerKeys({ issuer, fetch, now }: IssuerKeysOptions): KeySource {
  let cached: { readonly keys: ReadonlyMap<string, CryptoKey>; readonly at: number } | undefined
  let failedAt = Number.NEGATIVE_INFINITY
  let reading: Promise<void> | undefined

  async function load(): Promise<void> {
    const uri = await discover(issuer, fetch)
    const document = uri === undefined ? undefined : await fetchJson(fetch, uri)
    if (!isObject(document) || !Array.isArray(document['keys'])) {
      failedAt = now()
      return
    }
    cached = { keys: await importAll(document['keys'].slice(0, 100)), at: now() }
  }

  const read = (): Promise<void> => {
    if (now() - failedAt < failureCooldownMs) return Promise.resolve()
    reading ??= load().finally(() => {
      reading = undefined
    })
    return reading
  }

  const age = (): number => (cached === undefined ? Number.POSITIVE_INFINITY : now() - cached.at)

  return async (kid) => {
    if (age() >= cacheMs) await read()
    if (age() >= cacheMs) return 'unavailable'
    const cachedKey = cached?.keys.get(kid)
    if (cachedKey !== undefined || age() < unknownCooldownMs) return cachedKey ?? 'unknown'
    const previous = cached
    await read()
    return cached === previous ? 'unavailable' : (cached?.keys.get(kid) ?? 'unknown')
  }
}

/** Those of ES256 alone, by `kid`: whatever else a set holds signs nothing here. */
async function importAll(jwks: readonly unknown[]): Promise<ReadonlyMap<string, CryptoKey>> {
  const keys = new Map<string, CryptoKey>()
  for (const jwk of jwks) {
    if (!isObject(jwk) || jwk['kty'] !== 'EC' || jwk['crv'] !== 'P-256' || 'd' in jwk) continue
    if (typeof jwk['kid'] !== 'string' || (jwk['use'] !== undefined && jwk['use'] !== 'sig')) continue
    const { x, y, kid } = jwk
    if (typeof x !== 'string' || typeof y !== 'string') continue
    try {
      const key = await importJWK({ kty: 'EC', crv: 'P-256', x, y }, 'ES256')
      if (!(key instanceof Uint8Array)) keys.set(kid, key)
    } catch {
      // A broken key in a set takes the others nothing away.
    }
  }
  return keys
}

const discover = (issuer: string, fetch: Fetch): Promise<string | undefined> =>
  readIssuerDocument(issuer, fetch, ({ jwks_uri: uri }) =>
    typeof uri === 'string' && isSafe(uri) ? uri : undefined,
  )
