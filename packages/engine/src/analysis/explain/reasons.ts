import type { JsonObject } from '../../core/condition-values.ts'
import type { Relation, Rewrite } from '../../core/model.ts'
import { labelOf } from '../../core/model-json.ts'
import { isOperator } from '../../core/rule.ts'
import type { Session } from '../../core/session.ts'
import { keyOf, type Tuple, type TupleKey } from '../../core/tuples.ts'

/** `cycle`: it rests on a question that is still open. `error`: it could not be evaluated. Both deny. */
export type Holds = 'yes' | 'no' | 'cycle' | 'error'

/** Whether a check is allowed, and why. */
export interface Explanation {
  readonly allowed: boolean
  /** What check would have thrown: neither yes nor no. */
  readonly error: string | undefined
  readonly reason: Reason
  /** How many branches were left out for want of room. */
  readonly cut: number
}

/**
 * One step of the tree. Under a `relation` that holds stands the path that grants it, under one that does not
 * every branch that could have granted it.
 */
export type Reason =
  | Question
  | Part
  | Step
  | Lack
  /** The subject asked about is the userset itself. */
  | { readonly kind: 'self'; readonly holds: 'yes' }
  /**
   * Not followed: met on the way here (`cycle`), too many hops from the question (`depth`), or shown
   * elsewhere in the tree (`seen`).
   */
  | {
      readonly kind: 'cycle' | 'depth' | 'seen'
      readonly holds: Holds
      readonly relation: string
      readonly object: string
    }
  /** As many branches are not shown. */
  | { readonly kind: 'cut'; readonly holds: Holds; readonly count: number }

/** Whether the subject has the relation to the object. */
export interface Question {
  readonly kind: 'relation'
  readonly holds: Holds
  readonly relation: string
  readonly object: string
  readonly because: readonly Reason[]
}

/** A part of a rule with `and` or `but not`; for `not`, `holds` says whether nothing excludes the subject. */
export interface Part {
  readonly kind: 'rule' | 'not'
  readonly holds: Holds
  /** As the DSL has it: `viewer from parent`. */
  readonly rule: string
  readonly because: readonly Reason[]
}

/** A tuple that leads to the subject, or to the question under it. */
export interface Step {
  readonly kind: 'tuple'
  readonly holds: Holds
  readonly tuple: TupleKey
  /** It came with the request. */
  readonly contextual: boolean
  /** Milliseconds since the epoch, from its ULID; undefined for a contextual tuple. */
  readonly writtenAt: number | undefined
  readonly condition: ConditionState | undefined
  readonly because: readonly Reason[]
}

/** A condition on the way, and what its evaluation gave. */
export interface ConditionState {
  readonly name: string
  readonly expression: string
  /** What it was evaluated with: the request's context, overlaid by the tuple's. */
  readonly parameters: JsonObject
  readonly holds: Holds
  readonly error: string | undefined
}

/**
 * No such tuple, from none of these: `user:anne`, `user:*`, `group#member`, `folder`. Empty: the model knows
 * no way from the subject.
 */
export interface Lack {
  readonly kind: 'missing'
  readonly holds: 'no'
  readonly relation: string
  readonly object: string
  readonly users: readonly string[]
}

/** A tuple as a step, with the state of its condition. */
export function stepOf(
  session: Session,
  context: JsonObject,
  tuple: Tuple,
  holds: Holds,
  because: readonly Reason[],
): Step {
  return {
    kind: 'tuple',
    holds,
    tuple: keyOf(tuple),
    contextual: tuple.ulid === '',
    writtenAt: tuple.writtenAt,
    condition: conditionOf(session, context, tuple),
    because,
  }
}

function conditionOf(session: Session, context: JsonObject, tuple: Tuple): ConditionState | undefined {
  if (tuple.condition === undefined) return undefined
  const { name } = tuple.condition
  const declared = session.model.ast.conditions.get(name)
  const parameters = { ...context, ...tuple.condition.context }
  const verdict = session.holds(tuple)
  return {
    name,
    expression: declared?.expression ?? '',
    parameters: Object.fromEntries(Object.entries(parameters).filter(([key]) => declared?.params.has(key))),
    holds: typeof verdict === 'boolean' ? (verdict ? 'yes' : 'no') : 'error',
    error: typeof verdict === 'boolean' ? undefined : verdict.message,
  }
}

/** A rule as the DSL has it. */
export function ruleText(rule: Rewrite, relation: Relation): string {
  switch (rule.kind) {
    case 'this':
      return `[${relation.restrictions.map(restrictionText).join(', ')}]`
    case 'computed':
      return rule.relation.name
    case 'ttu':
      return `${rule.computed} from ${rule.tupleset}`
    case 'union':
      return rule.children.map((child) => nested(child, relation)).join(' or ')
    case 'intersection':
      return rule.children.map((child) => nested(child, relation)).join(' and ')
    case 'exclusion':
      return `${nested(rule.base, relation)} but not ${nested(rule.subtract, relation)}`
  }
}

const nested = (rule: Rewrite, relation: Relation): string =>
  isOperator(rule) ? `(${ruleText(rule, relation)})` : ruleText(rule, relation)

const restrictionText = (restriction: Relation['restrictions'][number]): string =>
  restriction.condition === ''
    ? labelOf(restriction)
    : `${labelOf(restriction)} with ${restriction.condition}`
