import { ConversionError } from './condition-values.ts'
import { findForbidden } from './context.ts'
import type { Model, Relation } from './model.ts'
import type { RestrictionAst } from './model-json.ts'
import {
  hasControl,
  isObject,
  isRelationName,
  isTypedWildcard,
  isUser,
  isUserset,
  splitUser,
  typeOf,
} from './names.ts'
import type { TupleCondition, TupleKey } from './tuples.ts'

/**
 * Why a request or tuple does not fit the model. `form` = malformed or unknown names (the server's
 * InvalidTupleError and kin), `condition` = its condition (InvalidConditionalTupleError).
 */
export interface Misfit {
  readonly kind: 'form' | 'condition' | 'type' | 'relation'
  readonly reason: string
}

const misfit = (reason: string, kind: Misfit['kind'] = 'form'): Misfit => ({ kind, reason })

/** The user of a request or tuple; undefined when it fits. */
export function checkUser(model: Model, user: string): Misfit | undefined {
  if (!isUser(user)) return misfit("the 'user' field is malformed")
  const userset = isUserset(user)
  if (!userset && !isObject(user)) {
    return misfit(
      "the 'user' field must be an object (e.g. document:1) or an 'object#relation' or a typed wildcard (e.g. group:*)",
    )
  }
  const userParts = splitUser(user)
  const relations = model.types.get(userParts.type)
  if (relations === undefined) return misfit(`type '${userParts.type}' not found`, 'type')
  if (userset && !relations.has(userParts.relation))
    return misfit(`relation '${userParts.type}#${userParts.relation}' not found`, 'relation')
  return undefined
}

/** User, object and relation in the server's order: what Check asks of its tuple key. */
export function checkKey(model: Model, key: TupleKey): Misfit | undefined {
  const user = checkUser(model, key.user)
  if (user !== undefined) return user
  if (!isObject(key.object)) return misfit("invalid 'object' field format")
  if (isTypedWildcard(key.object)) return misfit("the 'object' field cannot reference a typed wildcard")
  const type = typeOf(key.object)
  const relations = model.types.get(type)
  if (relations === undefined) return misfit(`type '${type}' not found`, 'type')
  if (!isRelationName(key.relation)) return misfit("the 'relation' field is malformed")
  if (!relations.has(key.relation)) return misfit(`relation '${type}#${key.relation}' not found`, 'relation')
  return undefined
}

/** What a tuple must pass to be written or to come along as a contextual tuple. */
export function checkTuple(model: Model, key: TupleKey): Misfit | undefined {
  const form = checkKey(model, key)
  if (form !== undefined) return { kind: 'form', reason: form.reason }
  const relation = model.types.get(typeOf(key.object))?.get(key.relation)
  return relation === undefined
    ? misfit('undefined relation')
    : fits(model, relation, key.user, key.condition)
}

/** The half that also holds at read time: stored tuples that fail it under the model in use are not seen. */
export function fits(
  model: Model,
  relation: Relation,
  user: string,
  condition: TupleCondition | undefined,
): Misfit | undefined {
  if (relation.isTupleset && (isTypedWildcard(user) || !isObject(user))) {
    const problem = isTypedWildcard(user) ? 'unexpected wildcard relationship' : `unexpected user '${user}'`
    return misfit(`${problem} with tupleset relation '${relation.key}'`)
  }
  const userParts = splitUser(user)
  const facet = relation.restrictions.filter((restriction) =>
    sameFacet(restriction, userParts.type, userParts.id, userParts.relation),
  )
  if (facet.length === 0) return misfit(notAllowed(relation, user, userParts.type, userParts.relation))
  return condition === undefined ? unconditional(facet) : conditional(model, facet, condition)
}

const sameFacet = (restriction: RestrictionAst, type: string, id: string, relation: string): boolean =>
  restriction.type === type &&
  (restriction.relation ?? '') === relation &&
  (restriction.wildcard !== undefined) === (relation === '' && id === '*')

function notAllowed(relation: Relation, user: string, type: string, userRelation: string): string {
  if (isUserset(user))
    return `'${type}#${userRelation}' is not an allowed type restriction for '${relation.key}'`
  if (isTypedWildcard(user))
    return `the typed wildcard '${user}' is not an allowed type restriction for '${relation.key}'`
  return `type '${type}' is not an allowed type restriction for '${relation.key}'`
}

const unconditional = (facet: readonly RestrictionAst[]): Misfit | undefined =>
  facet.some((restriction) => restriction.condition === '')
    ? undefined
    : misfit('condition is missing', 'condition')

function conditional(
  model: Model,
  facet: readonly RestrictionAst[],
  condition: TupleCondition,
): Misfit | undefined {
  if (hasControl(condition.name)) return misfit('condition name contains forbidden characters', 'condition')
  const declared = model.conditions.get(condition.name)
  if (declared === undefined) return misfit('undefined condition', 'condition')
  if (!facet.some((restriction) => restriction.condition === condition.name))
    return misfit('invalid condition for type restriction', 'condition')
  const forbidden = findForbidden(condition.context)
  if (forbidden !== undefined) return misfit(forbidden, 'condition')
  try {
    declared.assertContext(condition.context)
    return undefined
  } catch (error) {
    if (error instanceof ConversionError) return misfit(error.message, 'condition')
    throw error
  }
}
