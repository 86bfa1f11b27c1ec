import type { ConditionError, FgaError } from './errors.ts'
import { createEvaluator } from './evaluate.ts'
import { getOrInsert } from './get-or-insert.ts'
import { groupBy } from './group-by.ts'
import type { Model, Relation } from './model.ts'
import type { Outcome } from './outcome.ts'
import { leavesOf } from './rule.ts'
import { createSession, type Session, type SessionInput } from './session.ts'
import type { Node, Tuple, TupleView } from './tuples.ts'

/** How deep a list goes before it errs. The server's has no limit; this one keeps the call stack. */
const depthMax = 400

/**
 * The objects of the relation's type to which the subject has the relation, in no order, each once. Like the
 * server's pipeline: a least fixpoint without the check's depth limit, and a condition that cannot be
 * evaluated on any tuple met on the way fails the whole call (throws ConditionError). `FgaError` on depth.
 * For userset and wildcard subjects, and for models that the weighted graph cannot hold, the rules of a check
 * apply (cycles taint) to what lies behind `and` or `but not`, as there.
 */
export function* listObjects(
  model: Model,
  tuples: TupleView,
  relation: Relation,
  input: SessionInput,
): Generator<string> {
  const session = createSession(model, tuples, input)
  const isPlain = model.isWeighted && session.user.relation === '' && !session.user.node.wildcard
  const { ask } = createEvaluator(session, isPlain ? 'list' : 'check', depthMax)
  for (const [node, isSure] of reverseReach(session, relation).get(relation) ?? []) {
    const outcome: Outcome = isSure && !isPlain ? 'yes' : ask(relation, node)
    if (outcome === 'yes') yield node.name
    else if (outcome !== 'no' && outcome !== 'cycle') throw outcome
  }
}

/**
 * Objects by relation. True for those with a chain on which no rule has an `and` or a `but not`: they have it
 * for certain.
 */
export type Reached = ReadonlyMap<Relation, ReadonlyMap<Node, boolean>>

/**
 * Objects that some chain of tuples from the subject leads to, for every relation that the target may rest
 * on; a superset of those that have the relation. `admits` is asked each time something speaks for an object,
 * about what was reached by then; what it keeps out leads nowhere.
 */
export function reverseReach(
  session: Session,
  target: Relation,
  admits: (relation: Relation, node: Node, reached: Reached) => boolean = () => true,
): Reached {
  const graph = reverseGraph(session.model)
  const useful = graph.behind(target)
  const sureByNode = new Map<Relation, Map<Node, boolean>>()
  const queue: { relation: Relation; node: Node; isSure: boolean }[] = []

  function visit(relation: Relation | undefined, node: Node, isSure: boolean): void {
    if (relation === undefined || !useful.has(relation)) return
    const nodes = getOrInsert(sureByNode, relation, () => new Map<Node, boolean>())
    const wasSure = nodes.get(node)
    if (wasSure !== undefined && (wasSure || !isSure)) return
    if (wasSure === undefined && !admits(relation, node, sureByNode)) return
    nodes.set(node, isSure)
    queue.push({ relation, node, isSure })
  }

  function follow(tuple: Tuple, isSure: boolean): void {
    const relation = session.model.types.get(tuple.object.type)?.get(tuple.relation)
    if (relation === undefined || !useful.has(relation)) return
    const granting = graph.byTuple(relation)
    if (granting === 'none' || !holds(session, relation, tuple)) return
    visit(relation, tuple.object, isSure && granting === 'sure')
  }

  function step(relation: Relation, node: Node, isSure: boolean): void {
    for (const edge of graph.computedFrom(relation)) visit(edge.to, node, isSure && edge.isSure)
    for (const tuple of incoming(node)) {
      if (tuple.userRelation === relation.name) follow(tuple, isSure)
      if (tuple.userRelation !== '') continue
      const tupleset = session.model.types.get(tuple.object.type)?.get(tuple.relation)
      if (tupleset === undefined) continue
      for (const edge of graph.through(tupleset, relation)) {
        if (!useful.has(edge.to) || !holds(session, tupleset, tuple)) continue
        visit(edge.to, tuple.object, isSure && edge.isSure)
      }
    }
  }

  const incoming = createIncoming(session)
  const { node: subject, relation: subjectRelation } = session.user
  if (subjectRelation !== '')
    visit(session.model.types.get(subject.type)?.get(subjectRelation), subject, true)
  for (const tuple of incoming(subject)) if (tuple.userRelation === subjectRelation) follow(tuple, true)
  if (subjectRelation === '' && !subject.wildcard) {
    for (const tuple of incoming(session.node(`${subject.type}:*`))) follow(tuple, true)
  }
  for (let queued = queue.pop(); queued !== undefined; queued = queue.pop())
    step(queued.relation, queued.node, queued.isSure)
  return sureByNode
}

function holds(session: Session, relation: Relation, tuple: Tuple): boolean {
  if (!session.isValid(relation, tuple)) return false
  const verdict: boolean | ConditionError | FgaError = session.holds(tuple)
  if (typeof verdict !== 'boolean') throw verdict
  return verdict
}

function createIncoming(session: Session): (node: Node) => Iterable<Tuple> {
  const extra = groupBy(session.contextual(), (tuple) => tuple.user)
  return (node) => {
    const extraTuples = extra.get(node)
    return extraTuples === undefined ? session.into(node) : [...session.into(node), ...extraTuples]
  }
}

interface Edge {
  readonly to: Relation
  /** Whether the rule alone grants: it stands under no `and` and no `but not`. */
  readonly isSure: boolean
}

/** Which relations rest on which. */
export interface ReverseGraph {
  computedFrom(relation: Relation): readonly Edge[]
  /** Relations `x from tupleset` of its type, where x is the given relation of the parent. */
  through(tupleset: Relation, computed: Relation): readonly Edge[]
  /**
   * Whether a tuple on the relation grants it: alone, perhaps, or not at all, as in a relaxed model whose
   * rule lost that part.
   */
  byTuple(relation: Relation): 'sure' | 'perhaps' | 'none'
  /** Relations that the target may rest on, itself included. */
  behind(target: Relation): ReadonlySet<Relation>
}

// By its rules: a model with other conditions over them has the same.
const graphs = new WeakMap<Model['types'], ReverseGraph>()

/** Which rules read which relation, cached for each model. */
export const reverseGraph = (model: Model): ReverseGraph =>
  getOrInsert(graphs, model.types, () => buildGraph(model))

const noEdges: readonly Edge[] = []

function buildGraph(model: Model): ReverseGraph {
  const computed = new Map<Relation, Edge[]>()
  // By the relation of the parent, then by tupleset.
  const through = new Map<Relation, Map<Relation, Edge[]>>()
  const behind = new Map<Relation, ReadonlySet<Relation>>()
  const granting = new Map<Relation, 'sure' | 'perhaps'>()
  for (const relations of model.types.values()) {
    for (const relation of relations.values()) {
      for (const { leaf, isSure } of leavesOf(relation.rewrite)) {
        const edge = { to: relation, isSure }
        if (leaf.kind === 'this' && granting.get(relation) !== 'sure')
          granting.set(relation, isSure ? 'sure' : 'perhaps')
        if (leaf.kind === 'computed') getOrInsert(computed, leaf.relation, (): Edge[] => []).push(edge)
        const tupleset = leaf.kind === 'ttu' ? relations.get(leaf.tupleset) : undefined
        if (leaf.kind !== 'ttu' || tupleset === undefined) continue
        for (const target of leaf.targets.values()) {
          const edges = getOrInsert(through, target, () => new Map<Relation, Edge[]>())
          getOrInsert(edges, tupleset, (): Edge[] => []).push(edge)
        }
      }
    }
  }
  return {
    computedFrom: (relation) => computed.get(relation) ?? noEdges,
    through: (tupleset, relation) => through.get(relation)?.get(tupleset) ?? noEdges,
    byTuple: (relation) => granting.get(relation) ?? 'none',
    behind: (target) => getOrInsert(behind, target, () => collectBehind(model, target)),
  }
}

function collectBehind(model: Model, target: Relation): ReadonlySet<Relation> {
  const found = new Set<Relation>([target])
  for (const relation of found) {
    for (const { leaf } of leavesOf(relation.rewrite)) {
      if (leaf.kind === 'computed') found.add(leaf.relation)
      if (leaf.kind === 'ttu') for (const parent of leaf.targets.values()) found.add(parent)
    }
    for (const restriction of relation.restrictions) {
      const userset = model.types.get(restriction.type)?.get(restriction.relation ?? '')
      if (userset !== undefined) found.add(userset)
    }
  }
  return found
}
