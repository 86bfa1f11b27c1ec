import { hash } from 'node:crypto'
import { ownElapsed } from '../../kernel/elapsed.ts'
import { createLru } from '../../kernel/lru.ts'
import { tupleId } from '../fga.ts'
import type { Guarded } from '../gate.ts'
import type { ReplicaView } from '../permission-index.ts'
import type { Question } from './question.ts'

/** OpenFGA's own yes, kept for a moment. Whether it may be said again is for the replica (replica.ts). */
export interface CachedAllow {
  /** Milliseconds since the epoch, before OpenFGA was asked. */
  readonly askedAt: number
  /** Of the cached verdicts, before OpenFGA was asked. */
  readonly generation: number
  /** The earliest end among the expiring tuples that the replica met then. */
  readonly until?: number
}

/**
 * The replica said of a cached yes that it stands, and says the same until a tuple comes or goes, or this is
 * over.
 */
export interface Confirmed {
  readonly tuples: ReplicaView['tuples']
  readonly revision: number
  readonly model: ReplicaView['model']
  readonly until: number | undefined
}

/**
 * Yeses of OpenFGA only: neither a denial nor an error can be put in. Bounded; those not used longest go
 * first.
 */
export interface VerdictCache {
  /** Grows with every change that may have taken something away. */
  readonly generation: number
  /**
   * When this process last wrote or dropped; -Infinity before, Infinity while a write is not gone through. At
   * most a second ahead: set back by more, the clock would keep the replica behind for as long.
   */
  readonly wroteAt: number
  /** One that is younger than the time to live by either clock, and that no `drop` came after. */
  find(key: string, now: number): CachedAllow | undefined
  /** Keeps none that was asked for later than it is now: the clock was set back. */
  put(key: string, yes: CachedAllow): void
  readonly confirmed: WeakMap<CachedAllow, Confirmed>
  /**
   * Notes a write of this process once it is in, or may be, before its caller hears of it. `objects` are
   * those on which it took a tuple away, or added one that takes away: what leads to any of them may not be
   * said again. Gives what to call when it is known that the replica has the write, or everything was
   * dropped.
   */
  wrote(objects: readonly string[]): () => void
  /** Objects on which this process took something away since a generation; undefined: too much to tell. */
  removedSince(generation: number): ReadonlySet<string> | undefined
  /** Forgets everything, and keeps nothing that was asked for before. */
  drop(): void
}

/** `ttlMs` is how long a yes counts, in milliseconds; 50,000 entries by default. */
export interface VerdictCacheOptions {
  readonly now: () => number
  /** For ages, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
  /** Milliseconds; 0: nothing is cached. */
  readonly ttlMs: number
  /** Defaults to 50,000. */
  readonly entriesMax?: number
}

// Objects of removals that are remembered, more than come in the time for which a yes is cached.
const takenMax = 10_000
// By then what the replica read before the clock was set back is too old to count (precheck.ts).
const setBackMs = 1_000

/** Makes an empty cache of OpenFGA's positive verdicts. It never holds a denial. */
export function createVerdictCache(options: VerdictCacheOptions): VerdictCache {
  const { now, elapsed = ownElapsed, ttlMs, entriesMax = 50_000 } = options
  // With the moment, by `elapsed`, at which OpenFGA was asked.
  const entries = createLru<{ readonly cachedAllow: CachedAllow; readonly since: number }>({ entriesMax })
  // By object, the latest last; the generation that it began.
  const removals = new Map<string, number>()
  let generation = 0
  let wroteAt = Number.NEGATIVE_INFINITY
  let pending = 0
  // Nothing of an earlier generation is said again.
  let oldest = 0
  return {
    get generation() {
      return generation
    },
    get wroteAt() {
      wroteAt = Math.min(wroteAt, now() + setBackMs)
      return pending > 0 ? Number.POSITIVE_INFINITY : wroteAt
    },
    find(key, nowMs) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      const { cachedAllow, since } = entry
      // A clock that was set back makes it younger than it is, and comes to that hour again.
      const age = nowMs - cachedAllow.askedAt
      const isYoung = age >= 0 && age < ttlMs && elapsed() - since < ttlMs
      if (isYoung && cachedAllow.generation >= oldest) return cachedAllow
      entries.delete(key)
      return undefined
    },
    confirmed: new WeakMap(),
    put(key, cachedAllow) {
      const age = now() - cachedAllow.askedAt
      if (ttlMs === 0 || age < 0 || cachedAllow.generation < oldest) return
      entries.set(key, { cachedAllow, since: elapsed() - age })
    },
    wrote(objects) {
      wroteAt = now()
      pending += 1
      if (objects.length > 0) generation += 1
      for (const object of objects) {
        removals.delete(object)
        removals.set(object, generation)
      }
      for (const [object, began] of removals) {
        if (removals.size <= takenMax) break
        removals.delete(object)
        oldest = began
      }
      return () => {
        pending -= 1
      }
    },
    removedSince(sinceGeneration) {
      if (sinceGeneration < oldest) return undefined
      const found = new Set<string>()
      for (const [object, began] of removals) if (began > sinceGeneration) found.add(object)
      return found
    },
    drop() {
      entries.clear()
      removals.clear()
      generation += 1
      oldest = generation
      wroteAt = now()
    },
  }
}

/**
 * What two questions must share to have one answer: store, model, person, relation, every contextual tuple,
 * and what the document had in force. The clock is left out, and it is all that is sent as context: whoever
 * repeats a yes looks at the ends again.
 */
export function verdictKey(
  question: Question,
  { storeId, modelId }: { readonly storeId: string; readonly modelId: string },
): (document: Guarded) => string {
  let knownDigest = digests.get(question)
  if (knownDigest?.storeId !== storeId || knownDigest.modelId !== modelId) {
    const { user, relation, contextual } = question
    const shared = JSON.stringify([storeId, modelId, user, relation, contextual.map(tupleId).sort()])
    knownDigest = { storeId, modelId, digest: hash('sha256', shared, 'base64url') }
    digests.set(question, knownDigest)
  }
  const { digest } = knownDigest
  return ({ documentId, publication = '' }) => `${digest} ${publication} ${documentId}`
}

// The same principal's question is the same object: digesting it took longer than looking up ten documents by
// it.
const digests = new WeakMap<
  Question,
  { readonly storeId: string; readonly modelId: string; readonly digest: string }
>()
