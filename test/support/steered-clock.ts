import { setTimeout as sleep } from 'node:timers/promises'
import type { Timer } from '../../src/kernel/timer.ts'

/** A clock that goes on only when told to, with its timers. Starts at 1,000,000 ms. */
export function steeredClock() {
  let now = 1_000_000
  const due = new Set<{ readonly at: number; readonly then: () => void }>()
  const timer: Timer = (ms, then) => {
    const entry = { at: now + ms, then }
    due.add(entry)
    return () => void due.delete(entry)
  }
  return {
    options: { now: () => now, elapsed: () => now, timer, random: () => 1 },
    /** Runs what is due until then, in turn. */
    advance(ms: number): void {
      now += ms
      for (const entry of [...due].sort((a, b) => a.at - b.at)) {
        if (entry.at <= now && due.delete(entry)) entry.then()
      }
    },
    /** Gives what is under way time to come to its end; what waits for this clock does not. */
    settled: () => sleep(50),
  }
}
