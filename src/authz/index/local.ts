import {
  type CheckPart,
  type Condition,
  check,
  createMemo,
  createTakeApart,
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
  question: LocalQuestion,
  documentIds: readonly string[],
  now: number,
): ReadonlyMap<string, LocalVerdict> {
  const watched = watchEnds(model, now)
  const memo = createMemo()
  const context = contextAt(now)
  const allowed = new Map<string, boolean>()
  for (const id of documentIds) {
    const { user, relation, contextual } = question
    try {
      const request = { user, relation, object: documentObject(id), contextualTuples: contextual, context }
      allowed.set(id, check(watched.model, tuples, request, memo))
    } catch {
      // Too deep, a condition without what it needs, a relation that is not there: whoever asks must ask OpenFGA.
    }
  }
  const until = watched.until()
  return new Map(
    [...allowed].map(([id, isAllowed]) => [
      id,
      { allowed: isAllowed, ...(until !== undefined && { until }) },
    ]),
  )
}

/** See `PermissionIndex`. */
export function takeApartLocally(
  model: Model,
  tuples: TupleStore,
  { user, relation, contextual }: LocalQuestion,
  documentIds: readonly string[],
  now: number,
): ReadonlyMap<string, readonly CheckPart[]> {
  const takeApart = createTakeApart(model, tuples, {
    user,
    contextualTuples: contextual,
    context: contextAt(now),
  })
  const found = documentIds.map((id) => [id, takeApart(relation, documentObject(id))] as const)
  return new Map(found.flatMap(([id, parts]) => (parts === undefined ? [] : [[id, parts]])))
}

/**
 * The model, noting the earliest end among the tuples that were looked at. Answers share what they rest on, so one
 * end counts for all of a call: for some of them it is too early, which only costs asking again.
 */
function watchEnds(model: Model, now: number): { readonly model: Model; until(): number | undefined } {
  let until = Number.POSITIVE_INFINITY
  const watch = (condition: Condition): Condition => {
    const isKnown = isUntil(model, condition)
    return {
      ...condition,
      evaluate(request, stored, tuple) {
        // What a condition of another kind says a moment later, nobody knows.
        if (!isKnown) until = now
        const isMet = condition.evaluate(request, stored, tuple)
        if (isMet && isKnown) until = Math.min(until, endOf(stored) ?? now)
        return isMet
      },
    }
  }
  const conditions = new Map([...model.conditions].map(([name, condition]) => [name, watch(condition)]))
  return {
    model: { ...model, conditions },
    until: () => (until === Number.POSITIVE_INFINITY ? undefined : until),
  }
}

/** It can only end, and its tuple says when: by its whole text, since a model may mean something else by the name. */
const isUntil = ({ ast }: Model, { name, params }: Condition): boolean =>
  name === 'until' &&
  ast.conditions.get(name)?.expression.replaceAll(/\s/g, '') === 'current_time<expires_at' &&
  params.get('current_time')?.kind === 'timestamp' &&
  params.get('expires_at')?.kind === 'timestamp'

function endOf({ expires_at }: JsonObject): number | undefined {
  const end = typeof expires_at === 'string' ? Date.parse(expires_at) : Number.NaN
  return Number.isNaN(end) ? undefined : end
}
