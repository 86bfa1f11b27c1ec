import { createHash } from 'node:crypto'
import { tupleId } from '../fga.ts'
import type { Question } from '../gate.ts'

/** OpenFGA's own yes, kept for a moment. Whether it may be said again is for the replica (replica.ts). */
export interface HeldYes {
  /** Milliseconds since the epoch, before OpenFGA was asked. */
  readonly askedAt: number
  /** The earliest end among the expiring tuples that the replica met then. */
  readonly until?: number
}

/** Yeses of OpenFGA only: neither a denial nor an error can be put in. Bounded; those not used longest go first. */
export interface HeldVerdicts {
  /** Grows with every `drop`. */
  readonly generation: number
  /** When `drop` was called last; -Infinity before. */
  readonly droppedAt: number
  /** One that is not older than the time to live. */
  find(key: string, now: number): HeldYes | undefined
  /** Keeps nothing that was asked in an earlier generation: the answer may be from before the change. */
  hold(key: string, yes: HeldYes, generation: number): void
  /** Forgets everything. Call it when a change that went through this process is in, before its caller hears of it. */
  drop(): void
}

export interface HeldOptions {
  readonly now: () => number
  /** Milliseconds; 0: nothing is held. */
  readonly ttlMs: number
  /** Defaults to 50,000. */
  readonly entriesMax?: number
}

export function createHeldVerdicts({ now, ttlMs, entriesMax = 50_000 }: HeldOptions): HeldVerdicts {
  // In the order of their last use.
  const entries = new Map<string, HeldYes>()
  let generation = 0
  let droppedAt = Number.NEGATIVE_INFINITY
  return {
    get generation() {
      return generation
    },
    get droppedAt() {
      return droppedAt
    },
    find(key, at) {
      const yes = entries.get(key)
      if (yes === undefined) return undefined
      entries.delete(key)
      // A clock that was set back would make it younger than it is.
      const age = at - yes.askedAt
      if (age < 0 || age >= ttlMs) return undefined
      entries.set(key, yes)
      return yes
    },
    hold(key, yes, asked) {
      if (ttlMs === 0 || asked !== generation) return
      entries.delete(key)
      entries.set(key, yes)
      const [oldest] = entries.keys()
      if (entries.size > entriesMax && oldest !== undefined) entries.delete(oldest)
    },
    drop() {
      entries.clear()
      generation += 1
      droppedAt = now()
    },
  }
}

/**
 * What two questions must share to have one answer: store, model, person, relation and every contextual tuple. The
 * clock is left out, and it is all that is sent as context: whoever repeats a yes looks at the ends again.
 */
export function heldKey(
  { user, relation, contextual }: Question,
  { storeId, modelId }: { readonly storeId: string; readonly modelId: string },
): (documentId: string) => string {
  const shared = JSON.stringify([storeId, modelId, user, relation, contextual.map(tupleId).sort()])
  const digest = createHash('sha256').update(shared).digest('base64url')
  return (documentId) => `${digest} ${documentId}`
}
