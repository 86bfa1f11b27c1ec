import { ofEach } from '../kernel/of-each.ts'
import { callerOf, outermostActor, type Principal } from '../kernel/principal.ts'

/**
 * Holders for whom the last look found no approval to present, and nothing against an offer. It only tells what is worth
 * looking for first: an answer that rests on it looks once more in the statement of its record ({@link readRecorded}).
 */
export interface PlainHolders {
  has(principal: Principal): boolean
  note(principal: Principal): void
  forget(principal: Principal): void
}

// What other processes offered meanwhile is found then: an agent that may be offered no more is asked about as others are.
const keptMs = 60_000
const holdersMax = 10_000

export function createPlainHolders(now: () => number): PlainHolders {
  // The latest last.
  const seen = new Map<string, number>()
  return {
    has(principal) {
      if (outermostActor(principal) === undefined) return true
      const age = now() - (seen.get(keyOf(callerOf(principal))) ?? Number.NEGATIVE_INFINITY)
      return age >= 0 && age < keptMs
    },
    note(principal) {
      const key = keyOf(callerOf(principal))
      seen.delete(key)
      seen.set(key, now())
      const [oldest] = seen.keys()
      if (seen.size > holdersMax && oldest !== undefined) seen.delete(oldest)
    },
    forget: (principal) => void seen.delete(keyOf(callerOf(principal))),
  }
}

const keyOf = ofEach((principal: Principal): string =>
  JSON.stringify([
    principal.subject,
    outermostActor(principal),
    principal.delegation,
    principal.scopes.has('approvals.request'),
  ]),
)
