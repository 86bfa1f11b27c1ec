import type { Condition, JsonObject, Model } from '@remit/engine'

/** Whether it can only end, and its tuple says when: by its whole text, since a model may mean something else by the name. */
const isEnding = ({ ast }: Model, { name, params }: Condition): boolean =>
  name === 'until' &&
  ast.conditions.get(name)?.expression.replaceAll(/\s/g, '') === 'current_time<expires_at' &&
  params.get('current_time')?.kind === 'timestamp' &&
  params.get('expires_at')?.kind === 'timestamp'

/** Conditions that note the ends of the tuples that they evaluate. */
export interface Watched {
  readonly conditions: Model['conditions']
  /** Milliseconds since the epoch: the earliest end among the tuples that were looked at. */
  until(): number | undefined
}

/**
 * The model's conditions, noting the earliest end among the tuples that were looked at. Answers share what they rest on,
 * so one end counts for all of them: for some it is too early, which only costs asking again.
 */
export function watchEnds(model: Model, now: number): Watched {
  let earliestEnd = Number.POSITIVE_INFINITY
  const watch = (condition: Condition): Condition => {
    const ends = isEnding(model, condition)
    return {
      ...condition,
      evaluate(request, stored, tuple) {
        // What a condition of another kind says a moment later, nobody knows.
        if (!ends) earliestEnd = now
        const isMet = condition.evaluate(request, stored, tuple)
        if (isMet && ends) earliestEnd = Math.min(earliestEnd, endOf(stored) ?? now)
        return isMet
      },
    }
  }
  return {
    conditions: new Map([...model.conditions].map(([name, condition]) => [name, watch(condition)])),
    until: () => (earliestEnd === Number.POSITIVE_INFINITY ? undefined : earliestEnd),
  }
}

function endOf({ expires_at }: JsonObject): number | undefined {
  const endMs = typeof expires_at === 'string' ? Date.parse(expires_at) : Number.NaN
  return Number.isNaN(endMs) ? undefined : endMs
}

/** As OpenFGA is asked: rounded up, so that what ends within this second is over. */
export const isOver = (earliestEnd: number | undefined, nowMs: number): boolean =>
  earliestEnd !== undefined && Math.ceil(nowMs / 1_000) * 1_000 >= earliestEnd
