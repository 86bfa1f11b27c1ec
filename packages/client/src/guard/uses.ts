import type { ReplayStore } from './proof.ts'

/** Counts uses, for all processes of an API together. */
export interface UseStore {
  /**
   * Takes one use of `max` and says whether there was one left, atomically: of twenty at once with one left,
   * one is true. What it counts may be forgotten after `until` (milliseconds since the epoch).
   */
  take(key: string, max: number, until: number): Promise<boolean>
}

/**
 * For one process, and for tests: a second process, or a restart, counts from zero. Holds at most 100,000
 * keys.
 */
export function memoryStore({
  now = Date.now,
}: {
  readonly now?: () => number
} = {}): UseStore & ReplayStore {
  const uses = new Map<string, { used: number; readonly until: number }>()
  const take = async (key: string, max: number, expiresAt: number): Promise<boolean> => {
    const entry = uses.get(key)
    if (entry !== undefined && entry.until > now()) {
      entry.used += 1
      return entry.used <= max
    }
    if (uses.size >= keysMax)
      for (const [old, { until: expiry }] of uses) if (expiry <= now()) uses.delete(old)
    // Full of what still counts: forgetting any of it would let something be used again.
    if (uses.size >= keysMax) return false
    uses.set(key, { used: 1, until: expiresAt })
    return max >= 1
  }
  return { take, isFirst: (key, expiresAt) => take(`proof ${key}`, 1, expiresAt) }
}

const keysMax = 100_000
