import {
  type CheckPart,
  type Condition,
  check,
  createDecomposeCheck,
  createMemo,
  type JsonObject,
  type Model,
  type TupleStore,
} from '@remit/engine'
import { documentObject } from '../../kernel/ids.ts'
import { contextAt } from '../fga.ts'
import type { LocalQuestion, LocalVerdict } from '../permission-index.ts'

/** Answers with the full model on the replica. Absent: it could not be evaluated. Never throws. */
export function evaluateLocally(
  model: Model,
  tuples: TupleStore,
  { user, relation, contextual, type = 'document' }: LocalQuestion,
  ids: readonly string[],
  now: number,
): ReadonlyMap<string, LocalVerdict> {
  const { conditions, until: earliest } = watchEnds(model, now)
  const watched = { ...model, conditions }
  const memo = createMemo()
  const context = contextAt(now)
  const allowed = new Map<string, boolean>()
  for (const id of ids) {
    try {
      const request = { user, relation, object: `${type}:${id}`, contextualTuples: contextual, context }
      allowed.set(id, check(watched, tuples, request, memo))
    } catch {
      // Too deep, a condition without what it needs, a relation that is not there: OpenFGA has no yes either.
    }
  }
  const validUntil = earliest()
  return new Map(
    [...allowed].map(([id, isAllowed]) => [
      id,
      { allowed: isAllowed, ...(validUntil !== undefined && { until: validUntil }) },
    ]),
  )
}

/** The smaller questions by whose answers a yes follows: see `LocalChecks.decompose`. */
export function decomposeLocally(
  model: Model,
  tuples: TupleStore,
  { user, relation, contextual }: LocalQuestion,
  documentIds: readonly string[],
  now: number,
): ReadonlyMap<string, readonly CheckPart[]> {
  const decomposeCheck = createDecomposeCheck(model, tuples, {
    user,
    contextualTuples: contextual,
    context: contextAt(now),
  })
  const found = documentIds.map((id) => [id, decomposeCheck(relation, documentObject(id))] as const)
  return new Map(found.flatMap(([id, subChecks]) => (subChecks === undefined ? [] : [[id, subChecks]])))
}

/**
 * Whether it can only end, and its tuple says when: by its whole text, since a model may mean something else
 * by the name.
 */
const isEnding = ({ ast }: Model, { name, params }: Condition): boolean =>
  name === 'until' &&
  ast.conditions.get(name)?.expression.replaceAll(/\s/g, '') === 'current_time<expires_at' &&
  params.get('current_time')?.kind === 'timestamp' &&
  params.get('expires_at')?.kind === 'timestamp'

/** Conditions that note the ends of the tuples that they evaluate. */
interface Watched {
  readonly conditions: Model['conditions']
  /** Milliseconds since the epoch: the earliest end among the tuples that were looked at. */
  until(): number | undefined
}

/**
 * The model's conditions, noting the earliest end among the tuples that were looked at. Answers share what
 * they rest on, so one end counts for all of them: for some it is too early, which only costs asking again.
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
