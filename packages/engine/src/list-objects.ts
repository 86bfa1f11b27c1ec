import type { ConditionError, FgaError } from './errors.ts'
import { createEvaluator, type Outcome } from './evaluate.ts'
import type { Model, Relation, Rewrite } from './model.ts'
import { createSession, type Session, type SessionInput } from './session.ts'
import type { Node, Tuple, TupleStore } from './tuples.ts'

/** How deep a list goes before it errs. The server's has no limit; this one keeps the call stack. */
const depthMax = 400

/**
 * The objects of the relation's type to which the subject has the relation, in no order, each once.
 * Like the server's pipeline: a least fixpoint without the check's depth limit, and a condition that cannot be
 * evaluated on any tuple met on the way fails the whole call (throws ConditionError). `FgaError` on depth.
 * For userset and wildcard subjects, and for models that the weighted graph cannot hold, the rules of a check
 * apply (cycles taint), as there.
 */
export function* listObjects(
  model: Model,
  tuples: TupleStore,
  relation: Relation,
  input: SessionInput,
): Generator<string> {
  const session = createSession(model, tuples, input)
  const isPlain = model.isWeighted && session.user.relation === '' && !session.user.node.wildcard
  const ask = createEvaluator(session, { depthMax, mode: isPlain ? 'list' : 'check' })
  for (const node of candidates(session, relation)) {
    const outcome: Outcome = ask(relation, node)
    if (outcome === 'yes') yield node.name
    else if (outcome !== 'no' && outcome !== 'cycle') throw outcome
  }
}

/** Objects that some chain of tuples from the subject leads to; a superset of the answer. */
export function candidates(session: Session, target: Relation): readonly Node[] {
  const graph = reverseGraph(session.model)
  const useful = graph.behind(target)
  const seen = new Map<Relation, Set<Node>>()
  const queue: { relation: Relation; node: Node }[] = []

  function reach(relation: Relation | undefined, node: Node): void {
    if (relation === undefined || !useful.has(relation)) return
    const nodes = seen.get(relation) ?? new Set<Node>()
    seen.set(relation, nodes)
    if (nodes.has(node)) return
    nodes.add(node)
    queue.push({ relation, node })
  }

  function follow(tuple: Tuple): void {
    const relation = session.model.types.get(tuple.object.type)?.get(tuple.relation)
    if (relation === undefined || !useful.has(relation) || !holds(session, relation, tuple)) return
    reach(relation, tuple.object)
  }

  const incoming = createIncoming(session)
  const { node: subject, relation: subjectRelation } = session.user
  if (subjectRelation !== '') reach(session.model.types.get(subject.type)?.get(subjectRelation), subject)
  for (const tuple of incoming(subject)) if (tuple.userRelation === subjectRelation) follow(tuple)
  if (subjectRelation === '' && !subject.wildcard)
    for (const tuple of incoming(session.node(`${subject.type}:*`))) follow(tuple)

  for (let step = queue.pop(); step !== undefined; step = queue.pop()) {
    const { relation, node } = step
    for (const computed of graph.computedFrom(relation)) reach(computed, node)
    for (const tuple of incoming(node)) {
      if (tuple.userRelation === relation.name) follow(tuple)
      if (tuple.userRelation !== '') continue
      for (const through of graph.through(tuple.object.type, tuple.relation, relation)) {
        const tupleset = session.model.types.get(tuple.object.type)?.get(tuple.relation)
        if (useful.has(through) && tupleset !== undefined && holds(session, tupleset, tuple))
          reach(through, tuple.object)
      }
    }
  }
  return [...(seen.get(target) ?? [])]
}

function holds(session: Session, relation: Relation, tuple: Tuple): boolean {
  if (!session.isValid(relation, tuple)) return false
  const verdict: boolean | ConditionError | FgaError = session.holds(tuple)
  if (typeof verdict !== 'boolean') throw verdict
  return verdict
}

function createIncoming(session: Session): (node: Node) => Iterable<Tuple> {
  const extra = new Map<Node, Tuple[]>()
  for (const tuple of session.contextual()) extra.set(tuple.user, [...(extra.get(tuple.user) ?? []), tuple])
  return (node) => {
    const more = extra.get(node)
    return more === undefined ? node.in : [...node.in, ...more]
  }
}

interface ReverseGraph {
  computedFrom(relation: Relation): readonly Relation[]
  /** Relations `x from tupleset` of a type, where x is the given relation of the parent. */
  through(type: string, tupleset: string, computed: Relation): readonly Relation[]
  /** Relations that the target may rest on, itself included. */
  behind(target: Relation): ReadonlySet<Relation>
}

const graphs = new WeakMap<Model, ReverseGraph>()

function reverseGraph(model: Model): ReverseGraph {
  const before = graphs.get(model)
  if (before !== undefined) return before
  const graph = buildGraph(model)
  graphs.set(model, graph)
  return graph
}

const none: readonly Relation[] = []

function buildGraph(model: Model): ReverseGraph {
  const computed = new Map<Relation, Relation[]>()
  const through = new Map<string, Relation[]>()
  const behind = new Map<Relation, ReadonlySet<Relation>>()
  for (const relations of model.types.values()) {
    for (const relation of relations.values()) {
      for (const leaf of leavesOf(relation.rewrite)) {
        if (leaf.kind === 'computed')
          computed.set(leaf.relation, [...(computed.get(leaf.relation) ?? []), relation])
        if (leaf.kind !== 'ttu') continue
        for (const target of leaf.targets.values()) {
          const key = `${relation.type}#${leaf.tupleset} ${target.key}`
          through.set(key, [...(through.get(key) ?? []), relation])
        }
      }
    }
  }
  return {
    computedFrom: (relation) => computed.get(relation) ?? none,
    through: (type, tupleset, relation) => through.get(`${type}#${tupleset} ${relation.key}`) ?? none,
    behind(target) {
      const before = behind.get(target)
      if (before !== undefined) return before
      const found = collectBehind(model, target)
      behind.set(target, found)
      return found
    },
  }
}

function collectBehind(model: Model, target: Relation): ReadonlySet<Relation> {
  const found = new Set<Relation>([target])
  for (const relation of found) {
    for (const leaf of leavesOf(relation.rewrite)) {
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

function leavesOf(rewrite: Rewrite): Rewrite[] {
  if (rewrite.kind === 'union' || rewrite.kind === 'intersection') return rewrite.children.flatMap(leavesOf)
  return rewrite.kind === 'exclusion' ? [...leavesOf(rewrite.base), ...leavesOf(rewrite.subtract)] : [rewrite]
}
