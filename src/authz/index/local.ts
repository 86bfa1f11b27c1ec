import {
  type CheckPart,
  check,
  createDecomposeCheck,
  createMemo,
  type Model,
  type TupleStore,
} from '@remit/engine'
import { documentObject } from '../../kernel/ids.ts'
import { contextAt } from '../fga.ts'
import type { LocalQuestion, LocalVerdict } from '../permission-index.ts'
import { watchEnds } from './ends.ts'

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
      // Too deep, a condition without what it needs, a relation that is not there: whoever asks must ask OpenFGA.
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
