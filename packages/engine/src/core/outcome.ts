import { ConditionError, type FgaError } from './errors.ts'
import type { Leaf, Rewrite } from './model.ts'

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

/** Answers a leaf of a rule. */
type Ask = (leaf: Leaf) => Outcome

/** The answer to a rule by the answers to its leaves, of which no more are asked for than decide. */
export function outcomeOf(rule: Rewrite, ask: Ask): Outcome {
  switch (rule.kind) {
    case 'union':
      return anyOf(rule.children, ask)
    case 'intersection':
      return allOf(rule.children, ask)
    case 'exclusion':
      return except(rule.base, rule.subtract, ask)
    default:
      return ask(rule)
  }
}

/** Union of answers, asked one by one until one is a yes. */
function anyOf(operands: readonly Rewrite[], ask: Ask): Outcome {
  let sum: Outcome = 'no'
  for (const operand of operands) {
    sum = worse(sum, outcomeOf(operand, ask))
    if (sum === 'yes') return sum
  }
  return sum
}

/**
 * A no wins over everything, so asking goes on after an error and after a cycle: a cycle says less than a no.
 * (The server stops at whichever comes first; where it meets the cycle first it denies more under `but not`.)
 */
function allOf(operands: readonly Rewrite[], ask: Ask): Outcome {
  let worst: Outcome = 'yes'
  for (const operand of operands) {
    const outcome = outcomeOf(operand, ask)
    if (outcome === 'no') return outcome
    if (worst === 'yes' || outcome === 'cycle') worst = outcome === 'yes' ? worst : outcome
  }
  return worst
}

/** A no of the base and a yes of the subtracted side win over errors; a cycle on either side denies. */
function except(base: Rewrite, subtract: Rewrite, ask: Ask): Outcome {
  const baseOutcome = outcomeOf(base, ask)
  if (baseOutcome === 'no') return baseOutcome
  const subtractOutcome = outcomeOf(subtract, ask)
  if (subtractOutcome === 'yes') return 'no'
  if (baseOutcome === 'cycle' || subtractOutcome === 'cycle') return 'cycle'
  return baseOutcome !== 'yes' ? baseOutcome : subtractOutcome === 'no' ? 'yes' : subtractOutcome
}
