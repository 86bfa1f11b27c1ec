import { check, createMemo } from '../core/check.ts'
import type { JsonObject } from '../core/condition-values.ts'
import type { Condition } from '../core/conditions.ts'
import { ConditionError } from '../core/errors.ts'
import { getOrInsert } from '../core/get-or-insert.ts'
import { reverseGraph } from '../core/list-objects.ts'
import type { Model, Relation } from '../core/model.ts'
import { leavesOf } from '../core/rule.ts'
import { createSession, type Session, type SessionInput } from '../core/session.ts'
import type { Node, Tuple, TupleView } from '../core/tuples.ts'
import { mapConditions, reachUnderRelaxed, rewritten } from './over-approximate.ts'
import { type RuleParts, rulePartsOf } from './rule-parts.ts'

/** A model made ready for {@link listAllowed}, once for all questions. */
export interface ListableModel {
  readonly model: Model
  /**
   * Every `but not` is an `or`: whatever has any bearing on an answer is reached in it, what takes away
   * included.
   */
  readonly widened: Model
  /** Whether whatever is reached in the widened model has the relation: no `but not` is behind it. */
  isPlain(relation: Relation): boolean
}

/**
 * Prepares a model for {@link listAllowed}: exclusions widened to unions, so that nothing that may be allowed
 * is missed.
 */
export function listable(model: Model): ListableModel {
  const widened = rewritten(model, ({ base, subtract }) => ({ kind: 'union', children: [base, subtract] }))
  const unconditional = new Map<Relation, boolean>()
  return {
    model,
    widened,
    isPlain: (relation) => getOrInsert(unconditional, relation, () => hasNoExclusion(model, relation)),
  }
}

function hasNoExclusion(model: Model, { type, name }: Relation): boolean {
  const relation = model.types.get(type)?.get(name)
  const behind = relation === undefined ? [] : [...reverseGraph(model).behind(relation)]
  return behind.every(({ rewrite }) => !leavesOf(rewrite).some(({ isSubtracted }) => isSubtracted))
}

/** Names, of which some may come several times. */
export interface ReachedNames extends Iterable<string> {
  readonly size: number
  /** A list is right until a tuple comes or goes whose user (without its relation) is one of these. */
  has(name: string): boolean
}

/** To what the subject has the relation. What could not be evaluated counts as allowed. */
export interface Allowed {
  /** Names of objects that walks come to, each once, in no order. */
  readonly objects: readonly string[]
  /**
   * Checks were asked on the way. Where tuples lead in a circle those may answer otherwise after a change of
   * something that is not `reached`: such a list is not to be kept for long.
   */
  readonly restsOnChecks: boolean
  /**
   * What the subject has any bearing relation to, itself and its type's wildcard included; also what takes
   * away.
   */
  readonly reached: ReachedNames
  /**
   * Whether this object is one, with the tuples that are on it now, everything else as it was. As `metBy` and
   * `standsWith`, only where `tuplesBehind` tells what counts.
   */
  holds(object: string): boolean
  /**
   * The parts of the relation's rule that such a tuple meets, on whichever object, as bits; 0: none, as for
   * all whose user is not `reached`. By the clock that the list was made with.
   */
  metBy(tuple: Tuple): number
  /** Whether an object on which tuples meet these parts together, and no others, is one. */
  standsWith(met: number): boolean
}

/** Whose answers are listed, over which tuples, and what only a request can tell. */
export interface AllowedInput extends SessionInput {
  /** By name; what they say of a tuple is asked here. Those of the model where left out. */
  readonly conditions?: ReadonlyMap<string, Condition>
}

/**
 * Whom the model in full allows, exclusions and conditions included: from the subject on, as `listCandidates`
 * does, and with a check of each object on the way (a group, a folder) whose own rule has an exclusion.
 * `tuples.standing` may leave out objects that have no tuples leading on from them.
 */
export function listAllowed(
  listed: ListableModel,
  tuples: Tuples,
  relation: Relation,
  input: AllowedInput,
): Allowed {
  const { model, widened } = listed
  const failed = new Set<JsonObject>()
  const conditions = mapConditions(input.conditions ?? model.conditions, (condition) =>
    metWhereItFails(condition, failed),
  )
  const session = createSession({ ...widened, conditions }, tuples.standing, input)
  const walked = walk(listed, tuples, relation, input, session, failed)
  const { objects, restsOnChecks, reached, may, must } = walked
  const { node: subject } = session.user
  const ruleParts = partsOf(model, relation)

  function metBy(tuple: Tuple, isHidden = false): number {
    let partsMet = 0
    for (const { bit, relation: read, targets, takesAway } of ruleParts?.reading(tuple.relation) ?? []) {
      if (isHidden && targets === undefined) continue
      if (!session.isValid(read, tuple) || session.holds(tuple) !== true) continue
      // A condition that cannot be evaluated holds where it gives, and does not where it takes away.
      if (takesAway && tuple.condition !== undefined && failed.has(tuple.condition.context)) continue
      if (bearsOn(tuple, targets, session, takesAway ? must : may)) partsMet |= bit
    }
    return partsMet
  }

  // Where nothing can be told by parts, each object is asked about.
  const standsWith = (partsMet: number): boolean => ruleParts === undefined || ruleParts.standsWith(partsMet)
  return {
    objects,
    restsOnChecks,
    reached: namesIn([new Set([subject.name, `${subject.type}:*`]), ...reached]),
    metBy: (tuple) => metBy(tuple),
    standsWith,
    holds(object) {
      let partsMet = 0
      const node = session.node(object)
      for (const name of ruleParts?.relations ?? []) {
        const counted = model.types.get(relation.type)?.get(name)
        if (counted === undefined) continue
        const hidden = hiddenBy(session, counted, node)
        for (const tuple of session.every(counted, node)) partsMet |= metBy(tuple, tuple === hidden)
      }
      return standsWith(partsMet)
    },
  }
}

interface Tuples {
  readonly standing: TupleView
  readonly all: TupleView
}

/** By `type#relation`: names of what the subject has it to. */
type Bearing = ReadonlyMap<string, ReadonlySet<string>>

/** What the subject reaches, and, where the widened model says too much, what a check says of it. */
function walk(
  { model, widened, isPlain }: ListableModel,
  tuples: Tuples,
  relation: Relation,
  input: AllowedInput,
  session: Session,
  failed: ReadonlySet<JsonObject>,
) {
  const asker = createAsker(model, tuples.all, input)
  const target = widened.types.get(relation.type)?.get(relation.name) ?? relation
  const reachedNodes = reachUnderRelaxed(session, target)
  const users = userTypes(widened)
  const reached: ReadonlySet<string>[] = []
  // What may be had counts where it gives, what is had for certain where it takes away.
  const may = new Map<string, ReadonlySet<string>>()
  const must = new Map<string, ReadonlySet<string>>()
  // The walk goes along both tuples of a key; a check sees one.
  const isCertain = failed.size === 0 && !hidesStored(session)
  for (const [relation, nodes] of reachedNodes) {
    if (!users.has(relation.type)) continue
    const names = new Set<string>()
    for (const { name } of nodes.keys()) names.add(name)
    reached.push(names)
    if (isPlain(relation) && isCertain) {
      may.set(relation.key, names)
      must.set(relation.key, names)
      continue
    }
    const verdicts = new Map([...names].map((name) => [name, asker.ask(relation.name, name)]))
    may.set(relation.key, new Set([...names].filter((name) => verdicts.get(name) !== false)))
    must.set(relation.key, new Set([...names].filter((name) => verdicts.get(name) === true)))
  }
  const objects = [...(reachedNodes.get(target)?.keys() ?? [])]
    .map(({ name }) => name)
    .filter((name) => asker.ask(relation.name, name) !== false)
  return { objects, restsOnChecks: asker.hasAsked, reached, may, must }
}

/** Asks checks of the full model. */
function createAsker(model: Model, tuples: TupleView, input: AllowedInput) {
  let hasFailed = false
  const conditions = mapConditions(input.conditions ?? model.conditions, (condition) =>
    toldOf(condition, () => {
      hasFailed = true
    }),
  )
  const full: Model = { ...model, conditions }
  const memo = createMemo()
  const asker = {
    hasAsked: false,
    /**
     * undefined: it could not be evaluated. A check passes over such a tuple where another one can be, as the
     * server does, and what it remembers rests on that: after one failure nothing is certain.
     */
    ask(name: string, object: string): boolean | undefined {
      asker.hasAsked = true
      try {
        const verdict = check(full, tuples, { ...input, relation: name, object }, memo)
        return hasFailed ? undefined : verdict
      } catch {
        return undefined
      }
    },
  }
  return asker
}

const namesIn = (sets: readonly ReadonlySet<string>[]): ReachedNames => ({
  size: sets.reduce((sum, { size }) => sum + size, 0),
  has: (name) => sets.some((names) => names.has(name)),
  *[Symbol.iterator]() {
    for (const names of sets) yield* names
  },
})

/** A tuple that lacks what its condition needs fails one check, not every question. */
const metWhereItFails = (condition: Condition, failed: Set<JsonObject>): Condition => ({
  ...condition,
  evaluate(request, stored, tuple) {
    try {
      return condition.evaluate(request, stored, tuple)
    } catch (error) {
      if (!(error instanceof ConditionError)) throw error
      failed.add(stored)
      return true
    }
  },
})

const toldOf = (condition: Condition, tell: () => void): Condition => ({
  ...condition,
  evaluate(...args) {
    try {
      return condition.evaluate(...args)
    } catch (error) {
      tell()
      throw error
    }
  },
})

/**
 * Whether the subject stands behind the user of a tuple: as it assigns, or, for `x from y`, by having x. By
 * names: a node may be another one by now.
 */
function bearsOn(
  tuple: Tuple,
  targets: ReadonlyMap<string, Relation> | undefined,
  { model, user }: Session,
  bearing: Bearing,
): boolean {
  const bears = (relation: Relation | undefined): boolean =>
    relation !== undefined && (bearing.get(relation.key)?.has(tuple.user.name) ?? false)
  if (targets !== undefined) return bears(targets.get(tuple.user.type))
  if (tuple.userRelation !== '') return bears(model.types.get(tuple.user.type)?.get(tuple.userRelation))
  if (user.relation !== '') return false
  return tuple.user.wildcard ? tuple.user.type === user.node.type : tuple.user.name === user.node.name
}

/**
 * The stored tuple that a check does not see as the subject's own, since the question brings one with the
 * same key.
 */
function hiddenBy(session: Session, relation: Relation, node: Node): Tuple | undefined {
  // Of usersets and wildcards it reads both.
  if (session.user.relation !== '' || session.user.node.wildcard) return undefined
  const [, stored] = session.ownTuples(relation, node, false)
  return stored
}

/** Whether the question brings a tuple in the place of a stored one, on any object: see {@link hiddenBy}. */
function hidesStored(session: Session): boolean {
  for (const { object, relation } of session.contextual()) {
    const read = session.model.types.get(object.type)?.get(relation)
    if (read !== undefined && hiddenBy(session, read, object) !== undefined) return true
  }
  return false
}

const partsByRelation = new WeakMap<Relation, { readonly parts: RuleParts | undefined }>()

const partsOf = (model: Model, relation: Relation): RuleParts | undefined =>
  getOrInsert(partsByRelation, relation, () => ({ parts: rulePartsOf(model, relation) })).parts

/**
 * Names of the relations of its own type whose tuples the relation may rest on: objects with the same tuples
 * on these are alike to everybody. undefined: more than that counts, since a tuple may have an object of that
 * type for its user, or its rule has too many parts.
 */
export const tuplesBehind = (model: Model, relation: Relation): ReadonlySet<string> | undefined =>
  userTypes(model).has(relation.type) ? undefined : partsOf(model, relation)?.relations

/** Types that a tuple's user may have: nothing is reached through the others. */
function userTypes(model: Model): ReadonlySet<string> {
  const relations = [...model.types.values()].flatMap((typeRelations) => [...typeRelations.values()])
  return new Set(relations.flatMap(({ restrictions }) => restrictions.map(({ type }) => type)))
}
