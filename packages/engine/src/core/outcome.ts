import { ConditionError, type FgaError } from './errors.ts'

/** `cycle` is a no that came from meeting a question that is still open: it denies under `but not` too. */
export type Outcome = 'yes' | 'no' | 'cycle' | ConditionError | FgaError

export const isDepthError = (outcome: Outcome): boolean =>
  typeof outcome !== 'string' && !(outcome instanceof ConditionError)

export const toOutcome = (verdict: boolean | ConditionError): Outcome =>
  typeof verdict === 'boolean' ? (verdict ? 'yes' : 'no') : verdict

/** Union of two answers: a yes wins, then an error, then a cycle. */
export function worse(left: Outcome, right: Outcome): Outcome {
  if (left === 'yes' || right === 'yes') return 'yes'
  if (typeof left !== 'string') return left
  if (typeof right !== 'string') return right
  return left === 'cycle' || right === 'cycle' ? 'cycle' : 'no'
}

export function anyOf(count: number, ask: (index: number) => Outcome): Outcome {
  let sum: Outcome = 'no'
  for (let i = 0; i < count && sum !== 'yes'; i++) sum = worse(sum, ask(i))
  return sum
}

/**
 * A no wins over everything, so asking goes on after an error and after a cycle: a cycle says less than a no.
 * (The server stops at whichever comes first; where it meets the cycle first it denies more under `but not`.)
 */
export function allOf(count: number, ask: (index: number) => Outcome): Outcome {
  let worst: Outcome = 'yes'
  for (let i = 0; i < count; i++) {
    const outcome = ask(i)
    if (outcome === 'no') return outcome
    if (worst === 'yes' || outcome === 'cycle') worst = outcome === 'yes' ? worst : outcome
  }
  return worst
}

/** A no of the base and a yes of the subtracted side win over errors; a cycle on either side denies. */
export function except(base: () => Outcome, subtract: () => Outcome): Outcome {
  const kept = base()
  if (kept === 'no') return kept
  const taken = subtract()
  if (taken === 'yes') return 'no'
  if (kept === 'cycle' || taken === 'cycle') return 'cycle'
  return kept !== 'yes' ? kept : taken === 'no' ? 'yes' : taken
}
