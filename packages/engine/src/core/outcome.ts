import { ConditionError, type FgaError } from './errors.ts'

/** `cycle` is a no that came from meeting a question that is still open: it denies under `but not` too. */
export type Outcome = 'yes' | 'no' | 'cycle' | ConditionError | FgaError

/** Whether an evaluation ended because it went too deep. */
export const isDepthError = (outcome: Outcome): boolean =>
  typeof outcome !== 'string' && !(outcome instanceof ConditionError)

/** What the verdict of a condition makes of a tuple. */
export const toOutcome = (verdict: boolean | ConditionError): Outcome =>
  typeof verdict === 'boolean' ? (verdict ? 'yes' : 'no') : verdict

/** Union of two answers: a yes wins, then an error, then a cycle. */
export function worse(a: Outcome, b: Outcome): Outcome {
  if (a === 'yes' || b === 'yes') return 'yes'
  if (typeof a !== 'string') return a
  if (typeof b !== 'string') return b
  return a === 'cycle' || b === 'cycle' ? 'cycle' : 'no'
}

/** Union of `count` answers, asked one by one until one is a yes. */
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
  const baseOutcome = base()
  if (baseOutcome === 'no') return baseOutcome
  const subtractOutcome = subtract()
  if (subtractOutcome === 'yes') return 'no'
  if (baseOutcome === 'cycle' || subtractOutcome === 'cycle') return 'cycle'
  return baseOutcome !== 'yes' ? baseOutcome : subtractOutcome === 'no' ? 'yes' : subtractOutcome
}
