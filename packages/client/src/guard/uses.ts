import type { ReplayStore } from './proof.ts'

/** Counts uses, for all processes of an API together. */
export interface UseStore {
  /**
   * Takes one use of `max` and says whether there was one left, atomically: of twenty at once with one left, one is
   * true. What it counts may be forgotten after `until` (milliseconds since the epoch).
   */
  take(key: string, max: number, until: number): Promise<boolean>
}

/** For one process, and for tests: a second process, or a restart, counts from zero. Holds at most 100,000 keys. */
export function memoryStore({
  now = Date.now,
}: {
  readonly now?: () => number
} = {}): UseStore & ReplayStore {
  const held = new Map<string, { used: number; readonly until: number }>()
  const take = async (key: string, max: number, until: number): Promise<boolean> => {
    const entry = held.get(key)
    if (entry !== undefined && entry.until > now()) {
      entry.used += 1
      return entry.used <= max
    }
    if (held.size >= keysMax) for (const [old, { until: end }] of held) if (end <= now()) held.delete(old)
    // Full of what still counts: forgetting any of it would let something be used again.
    if (held.size >= keysMax) return false
    held.set(key, { used: 1, until })
    return max >= 1
  }
  return { take, isFirst: (key, until) => take(`proof ${key}`, 1, until) }
}

const keysMax = 100_000
