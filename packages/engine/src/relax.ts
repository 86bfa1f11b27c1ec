import type { Condition } from './conditions.ts'
import { createEvaluator } from './evaluate.ts'
import { reach } from './list-objects.ts'
import { linkModel, type Model, type Relation } from './model.ts'
import { analyseModel } from './model-graph.ts'
import type { ModelAst, RewriteAst } from './model-json.ts'
import { createSession, type SessionInput } from './session.ts'
import type { TupleStore } from './tuples.ts'

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
  // Without exclusions an answer is the least fixpoint wherever the question begins, so that memos may be kept.
  return { ...model, ast, types: linkModel(ast, analyseModel(ast)), conditions, isWeighted: true }
}

function withoutExclusions(rewrite: RewriteAst): RewriteAst {
  if (rewrite.kind === 'exclusion') return withoutExclusions(rewrite.base)
  if (rewrite.kind !== 'union' && rewrite.kind !== 'intersection') return rewrite
  return { ...rewrite, children: rewrite.children.map(withoutExclusions) }
}

const met = (condition: Condition): Condition => ({ ...condition, accepts: () => true, evaluate: () => true })

/** Deep enough for any real graph and shallow enough for the call stack; beyond it an object stays a candidate. */
const depthMax = 400

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
 * Objects to which the subject may have the relation, under a relaxed model: what cannot be evaluated, for its depth
 * or the work it takes, is in.
 */
export function listCandidates(
  relaxed: Model,
  tuples: TupleStore,
  relation: Relation,
  input: SessionInput,
): Candidates {
  const session = createSession(relaxed, tuples, input)
  const { ask } = createEvaluator(session, { depthMax, mode: 'list' })
  const seen = reach(session, relation)
  const objects: string[] = []
  for (const [node, isSure] of seen.get(relation) ?? []) {
    const outcome = isSure ? 'yes' : ask(relation, node)
    if (outcome !== 'no' && outcome !== 'cycle') objects.push(node.name)
  }
  const users = userTypes(relaxed)
  const reached = new Set([session.user.node.name, `${session.user.node.type}:*`])
  for (const nodes of seen.values())
    for (const { name, type } of nodes.keys()) if (users.has(type)) reached.add(name)
  return { objects, reached }
}

/** Types that a tuple's user may have: nothing is reached through the others. */
function userTypes(model: Model): ReadonlySet<string> {
  const relations = [...model.types.values()].flatMap((all) => [...all.values()])
  return new Set(relations.flatMap(({ restrictions }) => restrictions.map(({ type }) => type)))
}
