import type { JsonObject } from './condition-values.ts'
import { invalidRequest } from './errors.ts'
import { createEvaluator } from './evaluate.ts'
import { getOrInsert } from './get-or-insert.ts'
import type { Model, Relation } from './model.ts'
import { typeOf } from './names.ts'
import type { Outcome } from './outcome.ts'
import { createSession, type Session } from './session.ts'
import type { Node, TupleKey, TupleView } from './tuples.ts'

/**
 * One question: has the user the relation to the object, in which context and with which contextual tuples?
 */
export interface CheckRequest {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly contextualTuples?: readonly TupleKey[] | undefined
  readonly context?: JsonObject | undefined
}

/**
 * Answers of one batch, shared between items with the same subject, contextual tuples and context. Valid only
 * as long as neither the tuples nor the model change: make one per batch, never keep it.
 */
export type Memo = Map<string, Asker>

interface Asker {
  readonly session: Session
  readonly ask: (relation: Relation, object: Node) => Outcome
}

/** An empty memo, for checks that share one model and one state of the tuples. */
export const createMemo = (): Memo => new Map()

/**
 * Whether the user has the relation to the object, as the server's Check decides. Throws FgaError when the
 * request names what the model does not know or when the depth limit (25 hops) is met, and
 * ConditionError when a condition that would decide cannot be evaluated. Neither is a no: deny, and do not
 * remember it as a denial. Contextual tuples must have been validated (`checkTuple`); they are not here.
 */
export function check(model: Model, tuples: TupleView, request: CheckRequest, memo?: Memo): boolean {
  const relation = relationOf(model, request)
  const makeAsker = (): Asker => {
    const session = createSession(model, tuples, request)
    return { session, ask: createEvaluator(session).ask }
  }
  const { user, contextualTuples, context } = request
  const asker =
    memo === undefined
      ? makeAsker()
      : getOrInsert(memo, JSON.stringify([user, contextualTuples, context]), makeAsker)
  const outcome = asker.ask(relation, asker.session.node(request.object))
  if (typeof outcome !== 'string') throw outcome
  return outcome === 'yes'
}

/** The relation that a request names; throws FgaError where the model has none. */
export function relationOf(model: Model, { object, relation }: CheckRequest): Relation {
  const found = model.types.get(typeOf(object))?.get(relation)
  if (found === undefined) throw invalidRequest(`relation '${typeOf(object)}#${relation}' not found`)
  return found
}
