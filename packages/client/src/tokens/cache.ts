import { abandonable } from '../shared/abandon.ts'
import { canonicalJson } from '../shared/json.ts'
import { keepLatest } from '../shared/keep-latest.ts'
import type { IssuerClient } from './issuer-client.ts'
import type { AccessToken, TokenRequest } from './token.ts'

const made: unique symbol = Symbol('made by createTokenCache')

/**
 * Access tokens in memory, of whatever people, agents and APIs. Made by `createTokenCache` alone: what it
 * does is for the sources that share it, and may change in any version.
 */
export interface TokenCache {
  readonly [made]: true
  /** The one that is held under the key and is good for a while yet. */
  held(key: string): AccessToken | undefined
  /**
   * The one that is held under the key, or the one that `obtain` brings: asked for once, however many wait.
   */
  get(key: string, signal: AbortSignal | undefined, obtain: () => Promise<AccessToken>): Promise<AccessToken>
  /** Forgets this token, and no other that has taken its place. */
  drop(key: string, token: AccessToken): void
  put(key: string, token: AccessToken): void
}

/**
 * Person and agent and audience, and whatever else makes two tokens different ones: the issuer, the key that
 * they are bound to, scopes and details.
 */
export const cacheKey = async (
  { issuer, agent, prover }: Pick<IssuerClient, 'issuer' | 'agent' | 'prover'>,
  { person, audience, scopes, details = [] }: TokenRequest,
): Promise<string> =>
  canonicalJson([
    issuer,
    agent,
    (await prover?.thumbprint()) ?? null,
    person.subject,
    audience,
    [...new Set(scopes)].sort(),
    details,
  ])

const heldMax = 10_000
const aheadMsMax = 30_000

/**
 * Holds at most 10,000 tokens, those asked for last. A token is renewed 30 seconds before it ends, or in the
 * last fifth of its life where that is shorter. What failed is not held: the next one asks anew.
 */
export function createTokenCache({ now = Date.now }: { readonly now?: () => number } = {}): TokenCache {
  const entries = new Map<string, { readonly token: AccessToken; readonly until: number }>()
  const coming = new Map<string, Promise<AccessToken>>()

  function store(key: string, token: AccessToken): void {
    const remainingMs = token.facts.expiresAt - now()
    const renewAt = token.facts.expiresAt - Math.min(aheadMsMax, remainingMs / 5)
    keepLatest(entries, key, { token, until: renewAt }, heldMax)
  }

  function obtainOnce(key: string, obtain: () => Promise<AccessToken>): Promise<AccessToken> {
    const going = coming.get(key)
    if (going !== undefined) return going
    const pending = obtain()
      .then((token) => {
        store(key, token)
        return token
      })
      .finally(() => coming.delete(key))
    coming.set(key, pending)
    return pending
  }

  function held(key: string): AccessToken | undefined {
    const entry = entries.get(key)
    return entry !== undefined && entry.until > now() ? entry.token : undefined
  }

  return {
    [made]: true,
    held,
    async get(key, signal, obtain) {
      signal?.throwIfAborted()
      // Whoever gives up waiting leaves it to the others.
      return held(key) ?? abandonable(obtainOnce(key, obtain), signal)
    },
    put: store,
    drop(key, token) {
      if (entries.get(key)?.token === token) entries.delete(key)
    },
  }
}
