import type { Condition } from '../core/conditions.ts'
import { getOrInsert } from '../core/get-or-insert.ts'
import { type Reached, reverseReach } from '../core/list-objects.ts'
import { type Leaf, linkModel, type Model, type Relation, type Rewrite } from '../core/model.ts'
import type { ModelAst, RewriteAst } from '../core/model-json.ts'
import { leavesOf } from '../core/rule.ts'
import { createSession, type Session, type SessionInput } from '../core/session.ts'
import { type Node, type Tuple, type TupleView, userOf } from '../core/tuples.ts'

/**
 * The model with every `but not` reduced to its base and every condition met: what it grants is a superset of
 * what the model grants, at any time and with any context. Not validated: a base alone may be what a model
 * may not say.
 */
export function overApproximate(model: Model): Model {
  const conditions = mapConditions(model.conditions, metCondition)
  return { ...rewritten(model, ({ base }) => base), conditions }
}

/** The conditions with each of them changed. */
export const mapConditions = (
  conditions: Model['conditions'],
  change: (condition: Condition) => Condition,
): Model['conditions'] => new Map([...conditions].map(([name, condition]) => [name, change(condition)]))

/** The model with something else in the place of every `but not`. Not validated. */
export function rewritten(
  model: Model,
  instead: (exclusion: RewriteAst & { kind: 'exclusion' }) => RewriteAst,
): Model {
  const overApproximated = (rewrite: RewriteAst): RewriteAst => {
    if (rewrite.kind === 'exclusion') return overApproximated(instead(rewrite))
    if (rewrite.kind !== 'union' && rewrite.kind !== 'intersection') return rewrite
    return { ...rewrite, children: rewrite.children.map(overApproximated) }
  }
  const types = model.ast.types.map((type) => ({
    ...type,
    relations: new Map([...type.relations].map(([name, rewrite]) => [name, overApproximated(rewrite)])),
  }))
  const ast: ModelAst = { ...model.ast, types }
  return { ...model, ast, ...linkModel(ast) }
}

const metCondition = (condition: Condition): Condition => ({
  ...condition,
  accepts: () => true,
  evaluate: () => true,
})

/**
 * Objects to which the subject has the relation under a relaxed model: the least fixpoint, from the subject
 * on, so that neither depth nor cycles nor the work of a question can lose one.
 */
export function listCandidates(
  relaxed: Model,
  tuples: TupleView,
  relation: Relation,
  input: SessionInput,
): readonly string[] {
  const reachedNodes = reachUnderRelaxed(createSession(relaxed, tuples, input), relation)
  return [...(reachedNodes.get(relation)?.keys() ?? [])].map(({ name }) => name)
}

/** The same for every relation that this one may rest on, in a session of the relaxed model. */
export const reachUnderRelaxed = (session: Session, target: Relation): Reached =>
  reverseReach(session, target, (relation, node, reached) => mayStand(relation, node, session, reached))

const gated = new WeakMap<Relation, boolean>()

/**
 * Whether a rule without exclusions holds by what was reached so far. Only where it has an `and` that is not
 * said by being asked.
 */
function mayStand(relation: Relation, node: Node, session: Session, reached: Reached): boolean {
  const isGated = getOrInsert(gated, relation, () => leavesOf(relation.rewrite).some(({ isSure }) => !isSure))
  return !isGated || stands(relation.rewrite, relation, node, session, reached)
}

/** Whether a rule holds by what was reached so far. */
function stands(rule: Rewrite, owner: Relation, node: Node, session: Session, reached: Reached): boolean {
  const operandStands = (operand: Rewrite): boolean => stands(operand, owner, node, session, reached)
  const has = (relation: Relation | undefined, onNode: Node): boolean =>
    relation !== undefined && (reached.get(relation)?.has(onNode) ?? false)
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
      return rule.children.some(operandStands)
    case 'intersection':
      return rule.children.every(operandStands)
    case 'exclusion':
      return operandStands(rule.base)
  }
}

/** Subjects that may have a relation to an object, found by tuples alone. */
export interface SubjectUpperBound {
  /**
   * `user:anne`: every one that a chain of tuples leads to. A superset: exclusions and conditions are left
   * out.
   */
  readonly users: ReadonlySet<string>
  /** The wildcard of the type is among them. */
  readonly everyone: boolean
  /** Those that some exclusion names, whether or not it excludes them here. */
  readonly excluded: ReadonlySet<string>
  /** False: it stopped at `usersMax`, and the sets lack some. */
  readonly complete: boolean
}

/** Bounds of {@link subjectUpperBound}. */
interface SubjectUpperBoundOptions {
  /** Most users collected. */
  readonly usersMax: number
}

/**
 * Whom a check of this relation could allow, of one subject type: to be asked about one by one. Never throws.
 */
export function subjectUpperBound(
  model: Model,
  tuples: TupleView,
  relation: Relation,
  object: string,
  type: string,
  { usersMax }: SubjectUpperBoundOptions,
): SubjectUpperBound {
  const walk = createWalk(model, tuples, type, usersMax)
  const objectNode = tuples.node(object)
  const granted =
    objectNode === undefined ? new Set<string>() : walk.collect([[relation, objectNode]], 'granted')
  const everyone = granted.delete(`${type}:*`)
  // Without everyone nobody has to be named as left out.
  const excluded = everyone ? walk.collect(walk.subtracted, 'any') : new Set<string>()
  excluded.delete(`${type}:*`)
  return { users: granted, everyone, excluded, complete: walk.complete }
}

type Question = readonly [Relation, Node]

function createWalk(model: Model, tuples: TupleView, type: string, usersMax: number) {
  const subtracted: Question[] = []
  let isComplete = true

  /** `granted` leaves what is subtracted for later; `any` follows it too. */
  function collect(startQuestions: Iterable<Question>, bound: 'granted' | 'any'): Set<string> {
    const users = new Set<string>()
    const visited = new Map<Relation, Set<Node>>()
    const pending: Question[] = []

    function visit(relation: Relation | undefined, node: Node): void {
      if (relation === undefined || !relation.strategy(type).reachable) return
      const nodes = getOrInsert(visited, relation, () => new Set<Node>())
      if (nodes.has(node)) return
      nodes.add(node)
      pending.push([relation, node])
    }

    function assigned(relation: Relation, node: Node): void {
      const bucket = tuples.at(node, relation.name)
      for (const tuple of bucket?.concrete ?? []) if (tuple.user.type === type) add(userOf(tuple))
      for (const tuple of bucket?.usersets ?? []) {
        if (tuple.userRelation !== '') visit(relationOf(tuple), tuple.user)
        else if (tuple.user.type === type) add(userOf(tuple))
      }
    }

    function add(user: string): void {
      if (users.size < usersMax) users.add(user)
      else if (!users.has(user)) isComplete = false
    }

    function follow(relation: Relation, node: Node): void {
      for (const { leaf, isSubtracted } of leavesOf(relation.rewrite)) {
        if (isSubtracted && bound === 'granted') subtracted.push(...questionsOf(leaf, relation, node, tuples))
        else if (leaf.kind === 'this') assigned(relation, node)
        else for (const question of questionsOf(leaf, relation, node, tuples)) visit(...question)
      }
    }

    for (const [relation, node] of startQuestions) visit(relation, node)
    for (let question = pending.pop(); question !== undefined && isComplete; question = pending.pop())
      follow(...question)
    return users
  }

  const relationOf = (tuple: Tuple): Relation | undefined =>
    model.types.get(tuple.user.type)?.get(tuple.userRelation)

  return {
    collect,
    subtracted,
    get complete() {
      return isComplete
    },
  }
}

/** The questions that a leaf of the relation's rule puts. */
function questionsOf(leaf: Leaf, relation: Relation, node: Node, tuples: TupleView): Question[] {
  if (leaf.kind === 'this') return [[relation, node]]
  if (leaf.kind === 'computed') return [[leaf.relation, node]]
  return (tuples.at(node, leaf.tupleset)?.concrete ?? []).flatMap(({ user }): Question[] => {
    const target = leaf.targets.get(user.type)
    return target === undefined ? [] : [[target, user]]
  })
}
