import { createHmac, createSecretKey } from 'node:crypto'
import { callerOf, type Principal } from '../kernel/principal.ts'
import type { Question } from './question.ts'

/** Digests under the server's key: equal inputs are recognised, none can be guessed from outside. */
export interface Keyed {
  /** Of the canonical query; the record keeps this instead of the words. */
  query(question: Question): string
  /**
   * Lets a cache below the service keep scopes apart. Holds no tuple state: it does not tell of revocations.
   */
  scope(principal: Principal, under: AnswerConditions): string
}

/** What an answer was made under beside its principal. */
export interface AnswerConditions {
  readonly modelId: string
  /** Grants of approvals that were presented. */
  readonly grants: readonly string[]
}

/** Makes keyed digests, so that what they are made of cannot be guessed from them. */
export function createKeyed(key: Uint8Array): Keyed {
  const secret = createSecretKey(key)
  // Of the last model: making a digest ready takes ten times what it digests here.
  const scopes = new WeakMap<Principal, { readonly modelId: string; readonly key: string }>()
  const digest = (purpose: string, value: unknown, vectors: readonly Float32Array[] = []): string => {
    const hmac = createHmac('sha256', secret).update(`${purpose}\n${JSON.stringify(value)}`)
    for (const vector of vectors) hmac.update(vector)
    return hmac.digest('base64url')
  }
  return {
    query: ({ query, embedding, topK, mode, collections, filter }) =>
      digest(
        'query',
        [
          query ?? null,
          // Its numbers follow as they lie: written out they took longer than all the rest.
          embedding?.length ?? null,
          topK,
          mode,
          collections === undefined ? null : [...collections].sort(),
          filter === undefined ? null : canonical(filter),
        ],
        embedding === undefined ? [] : [embedding],
      ),
    scope: (principal, { modelId, grants }) => {
      const caller = callerOf(principal)
      const cachedScope = grants.length === 0 ? scopes.get(caller) : undefined
      if (cachedScope?.modelId === modelId) return cachedScope.key
      const { subject, actors, delegation, authorizationDetails } = principal
      const key = digest('scope', [
        subject,
        actors,
        delegation ?? null,
        [...grants].sort(),
        [...principal.scopes].sort(),
        authorizationDetails.map(({ type, collections }) => [type, [...collections].sort()]),
        modelId,
      ])
      if (grants.length === 0) scopes.set(caller, { modelId, key })
      return key
    },
  }
}

/**
 * The collections that a request may touch: those it asks for, within every narrowing of its token.
 * Absent on both sides = no narrowing; an unknown collection simply matches nothing.
 */
export function narrowedCollections(
  { authorizationDetails }: Principal,
  askedCollections?: readonly string[],
): { readonly collections?: readonly string[] } {
  const sets = authorizationDetails.map(({ collections }) => collections)
  if (askedCollections !== undefined) sets.push(askedCollections)
  const [firstSet, ...otherSets] = sets
  if (firstSet === undefined) return {}
  return { collections: firstSet.filter((id) => otherSets.every((set) => set.includes(id))) }
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical)
  if (typeof value !== 'object' || value === null) return value
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => [name, canonical(member)])
}
