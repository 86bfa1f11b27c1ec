import { clocksApartMs } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'

/** Whether this process's clock and the database's are apart. Clocks are in milliseconds since the epoch. */
export interface ClockComparison {
  /** As of the last comparison that was certain. False before the first. */
  readonly areApart: boolean
  /** The database said `there` at some moment between `before` and `after`, both by this process. */
  compare(before: number, there: number, after: number): void
}

/**
 * They are apart once they are certain to differ by more than `clocksApartMs`, and no more once they are
 * certain not to. So a slow read changes nothing. What is no number counts as apart. Logs `clocks_apart`
 * with the seconds that are certain, and `clocks_together`.
 */
export function createClockComparison(log: Log): ClockComparison {
  let areApart = false
  return {
    get areApart() {
      return areApart
    },
    compare(before, there, after) {
      const [aheadMs, behindMs] = [before - there, there - after]
      const leastMs = Math.max(aheadMs, behindMs)
      const mostMs = Math.max(there - before, after - there)
      if (!areApart && !(leastMs <= clocksApartMs)) {
        areApart = true
        const own = aheadMs > behindMs ? 'ahead' : 'behind'
        log('clocks_apart', { own, seconds: Math.round(leastMs / 1_000) })
      } else if (areApart && mostMs <= clocksApartMs) {
        areApart = false
        log('clocks_together')
      }
    },
  }
}
