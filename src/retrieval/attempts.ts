import { createLru } from '../kernel/lru.ts'
import { memoize } from '../kernel/memoize.ts'
import { callerOf, outermostActor, type Principal } from '../kernel/principal.ts'
import { type Approvals, mayAsk, namedBy, type Presented, type Presenting } from './approvals.ts'

/** One try to answer a question, and what it presents. */
export interface Attempt {
  readonly presented: readonly Presented[]
  /**
   * Nobody looked whether there is a grant to present: the statement of the record does
   * ({@link readRecorded}).
   */
  readonly isUnchecked: boolean
  /** The agent may be offered to ask now. */
  readonly mayOffer: boolean
  /** The next question of this principal looks for grants before it answers. */
  lookNextTime(): void
}

/**
 * Answers a question with the grants that count for it, and looks for none where there most likely are none.
 */
export interface Attempts {
  /** Begins beside what else the question needs; {@link BegunAttempts.answer} then tries. */
  begin(principal: Principal, approval: string | undefined): Promise<BegunAttempts>
}

/** Attempts that began for one question, to be finished with or without grants. */
export interface BegunAttempts {
  /**
   * Gives what `make` makes. Where that is undefined it rested on a grant that does not count, and is made
   * anew.
   */
  answer<T>(queryHmac: string, make: (attempt: Attempt) => Promise<T | undefined>): Promise<T>
}

/** The grants, and a clock in milliseconds. */
export interface AttemptsDeps {
  readonly approvals: Approvals
  readonly presenting: Presenting
  readonly now: () => number
}

// What other processes offered meanwhile is found then: an agent that may be offered no more is asked about
// as others are.
const keptMs = 60_000
const holdersMax = 10_000

/** Answers without grants first where somebody probably has none, and again where they had. */
export function createAttempts({ approvals, presenting, now }: AttemptsDeps): Attempts {
  // When the last look found no approval to present, and nothing against an offer. It only tells what is
  // worth looking for first: an answer that rests on it looks once more in the statement of its record
  // (`readRecorded`).
  const seenWithout = createLru<number>({ entriesMax: holdersMax })

  function isLikelyWithoutAny(principal: Principal): boolean {
    if (outermostActor(principal) === undefined) return true
    const age = now() - (seenWithout.peek(keyOf(callerOf(principal))) ?? Number.NEGATIVE_INFINITY)
    return age >= 0 && age < keptMs
  }

  return {
    async begin(principal, approval) {
      const named = namedBy(principal, approval)
      const isLikelyWithout = named.length === 0 && isLikelyWithoutAny(principal)
      const mayOffer = isLikelyWithout ? mayAsk(principal) : await approvals.mayOffer(principal)
      const lookNextTime = () => seenWithout.delete(keyOf(callerOf(principal)))
      return {
        async answer(queryHmac, make) {
          if (isLikelyWithout) {
            const answer = await make({ presented: [], isUnchecked: true, mayOffer, lookNextTime })
            if (answer !== undefined) return answer
            lookNextTime()
          }
          return presenting.answer(principal, { named, queryHmac }, (presentedGrants) => {
            if (named.length === 0 && presentedGrants.length === 0 && mayOffer === mayAsk(principal))
              seenWithout.set(keyOf(callerOf(principal)), now())
            return make({ presented: presentedGrants, isUnchecked: false, mayOffer, lookNextTime })
          })
        },
      }
    },
  }
}

const keyOf = memoize((principal: Principal): string =>
  JSON.stringify([
    principal.subject,
    outermostActor(principal),
    principal.delegation,
    principal.scopes.has('approvals.request'),
  ]),
)
