import type { Condition } from './conditions.ts'
import { type Reached, reach } from './list-objects.ts'
import { linkModel, type Model, type Relation, type Rewrite } from './model.ts'
import { analyseModel } from './model-graph.ts'
import type { ModelAst, RewriteAst } from './model-json.ts'
import { type RuleParts, rulePartsOf } from './rule-parts.ts'
import { createSession, type Session, type SessionInput } from './session.ts'
import type { Node, Tuple, TupleView } from './tuples.ts'

/**
 * The model with every `but not` reduced to its base and every condition met: what it grants is a superset of what
 * the model grants, at any time and with any context. Not validated: a base alone may be what a model may not say.
 */
export function relaxModel(model: Model): Model {
  const types = model.ast.types.map((type) => ({
    ...type,
    relations: new Map([...type.relations].map(([name, rewrite]) => [name, withoutExclusions(rewrite)])),
  }))
  const ast: ModelAst = { ...model.ast, types }
  const conditions = new Map([...model.conditions].map(([name, condition]) => [name, met(condition)]))
  const analysis = analyseModel(ast)
  return { ...model, ast, types: linkModel(ast, analysis), conditions, isWeighted: analysis.isWeighted }
}

function withoutExclusions(rewrite: RewriteAst): RewriteAst {
  if (rewrite.kind === 'exclusion') return withoutExclusions(rewrite.base)
  if (rewrite.kind !== 'union' && rewrite.kind !== 'intersection') return rewrite
  return { ...rewrite, children: rewrite.children.map(withoutExclusions) }
}

const met = (condition: Condition): Condition => ({ ...condition, accepts: () => true, evaluate: () => true })

/** Names, of which some may come several times. */
export interface ReachedNames extends Iterable<string> {
  readonly size: number
  /**
   * A list stays a superset until a tuple is added whose user (without its relation) is one of these.
   */
  has(name: string): boolean
}

export interface Candidates {
  /** Names of objects, each once, in no order. */
  readonly objects: readonly string[]
  /** What the subject has some bearing relation to, itself and its type's wildcard included. */
  readonly reached: ReachedNames
  /**
   * Whether the list would hold this object with the tuples that are on it now, everything else as it was: a superset
   * for as long as the list is one. As `metBy` and `standsWith`, only where `tuplesBehind` tells what counts.
   */
  holds(object: string): boolean
  /**
   * The parts of the relation's rule that a tuple with this relation and user meets, on whichever object, as bits; 0: none,
   * as for all whose user is not `reached`. A superset for as long as the list is one.
   */
  metBy(tuple: Tuple): number
  /** Whether the list holds an object on which tuples meet these parts together. */
  standsWith(met: number): boolean
}

/**
 * Objects to which the subject has the relation under a relaxed model: the least fixpoint, from the subject on, so
 * that neither depth nor cycles nor the work of a question can lose one.
 */
export function listCandidates(
  relaxed: Model,
  tuples: TupleView,
  relation: Relation,
  input: SessionInput,
): Candidates {
  const session = createSession(relaxed, tuples, input)
  const gated = new Map<Relation, boolean>()
  const isGated = (one: Relation): boolean => {
    const known = gated.get(one) ?? hasIntersection(one.rewrite)
    gated.set(one, known)
    return known
  }
  const seen = reach(
    session,
    relation,
    (one, node, reached) => !isGated(one) || stands(one.rewrite, one, node, session, reached),
  )
  const users = userTypes(relaxed)
  const { node: subject } = session.user
  const bearing = new Map<Relation, Set<string>>()
  for (const [one, nodes] of seen) {
    if (!users.has(one.type)) continue
    const names = new Set<string>()
    for (const { name } of nodes.keys()) names.add(name)
    bearing.set(one, names)
  }
  const parts = partsOf(relaxed, relation)
  const metBy = (tuple: Tuple): number => (parts === undefined ? 0 : metParts(tuple, parts, session, bearing))
  // Where nothing can be told by parts, everything may stand.
  const standsWith = (met: number): boolean => parts === undefined || parts.standsWith(met)
  return {
    objects: [...(seen.get(relation)?.keys() ?? [])].map(({ name }) => name),
    reached: namesIn([new Set([subject.name, `${subject.type}:*`]), ...bearing.values()]),
    metBy,
    standsWith,
    holds(object) {
      let met = 0
      const node = session.node(object)
      for (const name of parts?.relations ?? []) {
        const counted = relaxed.types.get(relation.type)?.get(name)
        for (const tuple of counted ? session.every(counted, node) : []) met |= metBy(tuple)
      }
      return standsWith(met)
    },
  }
}

const namesIn = (sets: readonly ReadonlySet<string>[]): ReachedNames => ({
  size: sets.reduce((sum, { size }) => sum + size, 0),
  has: (name) => sets.some((names) => names.has(name)),
  *[Symbol.iterator]() {
    for (const names of sets) yield* names
  },
})

/** By names: a node may be another one by now. */
function metParts(
  tuple: Tuple,
  parts: RuleParts,
  { model, user, isValid }: Session,
  bearing: ReadonlyMap<Relation, ReadonlySet<string>>,
): number {
  const bears = (relation: Relation | undefined): boolean =>
    relation !== undefined && (bearing.get(relation)?.has(tuple.user.name) ?? false)

  function isAssigned(): boolean {
    if (tuple.userRelation !== '') return bears(model.types.get(tuple.user.type)?.get(tuple.userRelation))
    if (user.relation !== '') return false
    return tuple.user.wildcard ? tuple.user.type === user.node.type : tuple.user.name === user.node.name
  }

  let met = 0
  for (const { bit, relation, targets } of parts.reading(tuple.relation)) {
    if (!isValid(relation, tuple)) continue
    if (targets === undefined ? isAssigned() : bears(targets.get(tuple.user.type))) met |= bit
  }
  return met
}

const partsOfModels = new WeakMap<Model, Map<Relation, RuleParts | undefined>>()

function partsOf(model: Model, relation: Relation): RuleParts | undefined {
  const known = partsOfModels.get(model) ?? new Map<Relation, RuleParts | undefined>()
  partsOfModels.set(model, known)
  if (!known.has(relation)) known.set(relation, rulePartsOf(model, relation))
  return known.get(relation)
}

/**
 * Names of the relations of its own type whose tuples the relation may rest on: objects with the same tuples on these
 * are alike to everybody. undefined: more than that counts, since a tuple may have an object of that type for its user, or
 * its rule has too many parts.
 */
export const tuplesBehind = (relaxed: Model, relation: Relation): ReadonlySet<string> | undefined =>
  userTypes(relaxed).has(relation.type) ? undefined : partsOf(relaxed, relation)?.relations

function hasIntersection(rewrite: Rewrite): boolean {
  if (rewrite.kind === 'union') return rewrite.children.some(hasIntersection)
  return rewrite.kind === 'intersection'
}

/** Whether a rule holds by what was reached so far. */
function stands(rule: Rewrite, owner: Relation, node: Node, session: Session, reached: Reached): boolean {
  const again = (part: Rewrite): boolean => stands(part, owner, node, session, reached)
  const has = (relation: Relation | undefined, at: Node): boolean =>
    relation !== undefined && (reached.get(relation)?.has(at) ?? false)
  const relationOf = (type: string, name: string) => session.model.types.get(type)?.get(name)
  switch (rule.kind) {
    case 'this': {
      if (session.direct(owner, node, false) === true) return true
      const { user } = session
      return session
        .usersets(owner, node, () => true)
        .tuples.some((tuple) =>
          tuple.user.wildcard
            ? user.relation === '' && tuple.user.type === user.node.type
            : has(relationOf(tuple.user.type, tuple.userRelation), tuple.user),
        )
    }
    case 'computed':
      return has(rule.relation, node)
    case 'ttu': {
      const tupleset = relationOf(node.type, rule.tupleset)
      if (tupleset === undefined) return false
      return session
        .concrete(tupleset, node)
        .tuples.some(({ user }) => has(rule.targets.get(user.type), user))
    }
    case 'union':
      return rule.children.some(again)
    case 'intersection':
      return rule.children.every(again)
    case 'exclusion':
      return again(rule.base)
  }
}

/** Types that a tuple's user may have: nothing is reached through the others. */
function userTypes(model: Model): ReadonlySet<string> {
  const relations = [...model.types.values()].flatMap((all) => [...all.values()])
  return new Set(relations.flatMap(({ restrictions }) => restrictions.map(({ type }) => type)))
}
