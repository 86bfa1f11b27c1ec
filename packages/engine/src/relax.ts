import type { Condition } from './conditions.ts'
import { type Reached, reach } from './list-objects.ts'
import { linkModel, type Model, type Relation, type Rewrite } from './model.ts'
import { analyseModel } from './model-graph.ts'
import type { ModelAst, RewriteAst } from './model-json.ts'
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

export interface Candidates {
  /** Names of objects, each once, in no order. */
  readonly objects: readonly string[]
  /**
   * Names of all that the subject has some bearing relation to, itself and its type's wildcard included. The list
   * stays a superset until a tuple is added whose user (without its relation) is one of these.
   */
  readonly reached: ReadonlySet<string>
  /**
   * Whether the list would hold this object with the tuples that are on it now, everything else as it was: a superset
   * for as long as the list is one. Only for a type that no tuple may have for its user.
   */
  holds(object: string): boolean
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
  const reached = new Set([session.user.node.name, `${session.user.node.type}:*`])
  const bearing = new Map<Relation, Set<string>>()
  for (const [one, nodes] of seen) {
    const names = [...nodes.keys()].filter(({ type }) => users.has(type)).map(({ name }) => name)
    if (names.length > 0) bearing.set(one, new Set(names))
    for (const name of names) reached.add(name)
  }
  return {
    objects: [...(seen.get(relation)?.keys() ?? [])].map(({ name }) => name),
    reached,
    holds: (object) => standsAt(relation, session.node(object), session, bearing),
  }
}

/**
 * Whether the relation stands at an object, by the tuples on it and by what was reached. By names: a node may be
 * another one by now.
 */
function standsAt(
  target: Relation,
  node: Node,
  session: Session,
  bearing: ReadonlyMap<Relation, ReadonlySet<string>>,
): boolean {
  const { user } = session
  // A relation that comes up again on the way to itself adds nothing.
  const open = new Set<Relation>()

  function has(relation: Relation): boolean {
    if (open.has(relation)) return false
    open.add(relation)
    const found = isMet(relation.rewrite, relation)
    open.delete(relation)
    return found
  }

  function bears(tuple: Tuple, relation: Relation | undefined): boolean {
    return relation !== undefined && (bearing.get(relation)?.has(tuple.user.name) ?? false)
  }

  function isAssigned(tuple: Tuple): boolean {
    if (tuple.userRelation !== '')
      return bears(tuple, session.model.types.get(tuple.user.type)?.get(tuple.userRelation))
    if (user.relation !== '') return false
    return tuple.user.wildcard ? tuple.user.type === user.node.type : tuple.user.name === user.node.name
  }

  function isMet(rule: Rewrite, owner: Relation): boolean {
    switch (rule.kind) {
      case 'this':
        return some(session.every(owner, node), isAssigned)
      case 'computed':
        return has(rule.relation)
      case 'ttu': {
        const tupleset = session.model.types.get(node.type)?.get(rule.tupleset)
        if (tupleset === undefined) return false
        return some(session.every(tupleset, node, ['concrete']), (tuple) =>
          bears(tuple, rule.targets.get(tuple.user.type)),
        )
      }
      case 'union':
        return rule.children.some((part) => isMet(part, owner))
      case 'intersection':
        return rule.children.every((part) => isMet(part, owner))
      case 'exclusion':
        return isMet(rule.base, owner)
    }
  }

  return has(target)
}

function some(tuples: Iterable<Tuple>, test: (tuple: Tuple) => boolean): boolean {
  for (const tuple of tuples) if (test(tuple)) return true
  return false
}

/**
 * Names of the relations of its own type whose tuples the relation may rest on: objects with the same tuples on these
 * are alike to everybody. undefined: a tuple may have an object of that type for its user, so that more counts.
 */
export function tuplesBehind(relaxed: Model, relation: Relation): ReadonlySet<string> | undefined {
  if (userTypes(relaxed).has(relation.type)) return undefined
  const names = new Set<string>()
  const seen = new Set([relation])
  function note(rule: Rewrite, owner: Relation): void {
    if (rule.kind === 'this') names.add(owner.name)
    else if (rule.kind === 'ttu') names.add(rule.tupleset)
    else if (rule.kind === 'computed') seen.add(rule.relation)
    else if (rule.kind === 'exclusion') note(rule.base, owner)
    else for (const part of rule.children) note(part, owner)
  }
  for (const one of seen) note(one.rewrite, one)
  return names
}

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
