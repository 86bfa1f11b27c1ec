import type { Condition } from './conditions.ts'
import { type Reached, reach } from './list-objects.ts'
import { linkModel, type Model, type Relation, type Rewrite } from './model.ts'
import { analyseModel } from './model-graph.ts'
import type { ModelAst, RewriteAst } from './model-json.ts'
import { createSession, type Session, type SessionInput } from './session.ts'
import type { Node, TupleView } from './tuples.ts'

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
  const names = new Set([session.user.node.name, `${session.user.node.type}:*`])
  for (const nodes of seen.values())
    for (const { name, type } of nodes.keys()) if (users.has(type)) names.add(name)
  return { objects: [...(seen.get(relation)?.keys() ?? [])].map(({ name }) => name), reached: names }
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
