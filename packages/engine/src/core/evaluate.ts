import { type FgaError, tooComplex } from './errors.ts'
import type { Leaf, Relation, Rewrite, Ttu } from './model.ts'
import { isDepthError, type Outcome, outcomeOf, toOutcome, worse } from './outcome.ts'
import type { Read, Session } from './session.ts'
import type { Strategy } from './strategy.ts'
import type { Node, Tuple } from './tuples.ts'

/** Userset and parent hops after which a check errs: the server's own resolve-node-limit. */
export const checkDepthMax = 25
/** Relation evaluations after which a check errs, so that no graph can hold the process. */
const workMax = 1_000_000

/** Asks questions of one session. Each begins anew: no hop and no open question is carried over. */
export interface Evaluator {
  ask(relation: Relation, object: Node): Outcome
  /** One part of the relation's rule by itself. */
  askRule(rule: Rewrite, relation: Relation, object: Node): Outcome
}

interface Entry {
  readonly outcome: Outcome
  /** Hops below this question that were looked at. */
  readonly height: number
  /** Depth at which it was asked: a depth error holds for this depth and deeper. */
  readonly depth: number
  /** Place of the outermost open question that it rests on; Infinity where it rests on none any more. */
  lowest: number
}

interface State {
  readonly memo: Map<number, Entry>
  readonly open: Map<number, number>
  /** Keys whose memo entries rest on a question that is still open. */
  readonly provisional: number[]
  lowest: number
  deepest: number
  work: number
}

/**
 * Evaluates questions of one session. All questions share their partial answers: a group or folder that many
 * documents lead to is looked at once. `check`: a cycle taints (deny under `but not`) and a contextual tuple
 * hides the stored one of the same key. `list`: least fixpoint, and either tuple may grant: the server's list
 * calls.
 *
 * An answer that met a cycle is kept only while it is safe: it rests on questions further up that count as
 * "no" meanwhile. When such a question turns out "yes", everything that rested on it is forgotten.
 */
export function createEvaluator(
  session: Session,
  mode: 'check' | 'list' = 'check',
  depthMax = checkDepthMax,
): Evaluator {
  const { model, user } = session
  const relationCount = [...model.types.values()].reduce((sum, relations) => sum + relations.size, 0)
  const state: State = {
    memo: new Map(),
    open: new Map(),
    provisional: [],
    lowest: Infinity,
    deepest: 0,
    work: 0,
  }

  const strategies: Strategy[] = []
  const strategyOf = (relation: Relation): Strategy =>
    (strategies[relation.index] ??= relation.strategy(user.label))

  function resolve(relation: Relation, node: Node, depth: number): Outcome {
    if (depth >= depthMax || ++state.work > workMax) return fail(depth)
    const key = node.id * relationCount + relation.index
    const openIndex = state.open.get(key)
    if (openIndex !== undefined) {
      state.lowest = Math.min(state.lowest, openIndex)
      return mode === 'check' ? 'cycle' : 'no'
    }
    if (user.relation === relation.name && user.node === node) return 'yes'
    if (!strategyOf(relation).reachable) return 'no'
    return recall(key, depth) ?? compute(key, relation, node, depth)
  }

  function fail(depth: number): FgaError {
    state.deepest = Math.max(state.deepest, depth)
    return tooComplex()
  }

  function recall(key: number, depth: number): Outcome | undefined {
    const entry = state.memo.get(key)
    if (entry === undefined) return undefined
    const stands = isDepthError(entry.outcome) ? depth >= entry.depth : depth + entry.height < depthMax
    if (!stands) return undefined
    state.deepest = Math.max(state.deepest, depth + entry.height)
    // What is built on it rests on the same open question, and would outlive its yes.
    state.lowest = Math.min(state.lowest, entry.lowest)
    return entry.outcome
  }

  function compute(key: number, relation: Relation, node: Node, depth: number): Outcome {
    const outer = { lowest: state.lowest, deepest: state.deepest }
    const position = state.open.size
    const mark = state.provisional.length
    state.open.set(key, position)
    state.lowest = Infinity
    state.deepest = depth
    const outcome = outcomeOf(relation.rewrite, askLeaf(relation, node, depth))
    state.open.delete(key)
    settle(key, outcome, depth, position, mark)
    if (state.lowest >= position) state.lowest = Infinity
    state.lowest = Math.min(state.lowest, outer.lowest)
    state.deepest = Math.max(state.deepest, outer.deepest)
    return outcome
  }

  function settle(key: number, outcome: Outcome, depth: number, position: number, mark: number): void {
    const isDenial = outcome === 'no' || outcome === 'cycle'
    const closed = state.lowest >= position
    const lowest = closed ? Infinity : state.lowest
    if (!isDenial) for (const rested of state.provisional.splice(mark)) state.memo.delete(rested)
    else
      for (let index = mark; index < state.provisional.length; index++)
        restOn(state.provisional[index], lowest)
    if (isDenial && closed) state.provisional.length = mark
    if (isDepthError(outcome) && state.work > workMax) return
    if (!closed && !isDenial && outcome !== 'yes') return
    state.memo.set(key, { outcome, height: state.deepest - depth, depth, lowest })
    if (!closed) state.provisional.push(key)
  }

  /** What rested on a question that is answered now rests on what that one rests on. */
  function restOn(key: number | undefined, lowest: number): void {
    const entry = key === undefined ? undefined : state.memo.get(key)
    if (entry !== undefined) entry.lowest = lowest === Infinity ? lowest : Math.min(entry.lowest, lowest)
  }

  const askLeaf =
    (relation: Relation, node: Node, depth: number) =>
    (leaf: Leaf): Outcome => {
      switch (leaf.kind) {
        case 'this':
          return assigned(relation, node, depth)
        case 'computed':
          return resolve(leaf.relation, node, depth)
        case 'ttu':
          return parents(leaf, relation, node, depth)
      }
    }

  function assigned(relation: Relation, node: Node, depth: number): Outcome {
    const direct = near(relation, node, mode === 'check')
    if (direct === 'yes') return direct
    const strategy = strategyOf(relation)
    if (strategy.recursion === 'userset')
      return worse(
        direct,
        breadthFirst(relation, node, depth, (currentNode) =>
          session.usersets(relation, currentNode, isUserset),
        ),
      )
    const groups = strategy.reads.map((isRead) => session.usersets(relation, node, isRead))
    return groups.reduce<Outcome>(
      (sum, read) => (sum === 'yes' ? sum : worse(sum, dispatch(read, targetOf, depth + 1))),
      direct,
    )
  }

  /** The subject itself, or a wildcard of its type. */
  function near(relation: Relation, node: Node, hides: boolean): Outcome {
    const direct = user.node.wildcard ? 'no' : toOutcome(session.direct(relation, node, hides))
    if (direct === 'yes' || user.relation !== '') return direct
    const everyone = session.usersets(
      relation,
      node,
      (tuple) => tuple.user.wildcard && tuple.user.type === user.node.type,
    )
    return worse(direct, everyone.tuples.length > 0 ? 'yes' : (everyone.error ?? 'no'))
  }

  function parents(rule: Ttu, relation: Relation, node: Node, depth: number): Outcome {
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    if (tupleset === undefined) return 'no'
    if (strategyOf(relation).recursion === 'ttu' && rule.targets.get(node.type) === relation) {
      return breadthFirst(relation, node, depth, (currentNode) => session.concrete(tupleset, currentNode))
    }
    return dispatch(session.concrete(tupleset, node), (tuple) => rule.targets.get(tuple.user.type), depth + 1)
  }

  const targetOf = (tuple: Tuple): Relation | undefined =>
    model.types.get(tuple.user.type)?.get(tuple.userRelation)

  function dispatch(read: Read, target: (tuple: Tuple) => Relation | undefined, depth: number): Outcome {
    let sum: Outcome = read.error ?? 'no'
    for (const tuple of read.tuples) {
      const relation = target(tuple)
      if (relation === undefined) continue
      sum = worse(sum, resolve(relation, tuple.user, depth))
      if (sum === 'yes') return sum
    }
    return sum
  }

  /**
   * A relation that recurses only into itself: level by level with a set of what was seen. The start's own
   * assignments were looked at by the caller; `memberAt` looks at the others without the recursive rule.
   */
  function breadthFirst(
    relation: Relation,
    startNode: Node,
    depth: number,
    readNext: (node: Node) => Read,
  ): Outcome {
    const visited = new Set<Node>()
    let sum: Outcome = 'no'
    let level: readonly Node[] = [startNode]
    for (let hops = depth; level.length > 0; hops++) {
      state.deepest = Math.max(state.deepest, Math.min(hops, depthMax))
      if (hops >= depthMax) return worse(sum, isMemberAnywhere(relation) ? tooComplex() : 'no')
      const found = new Set<Node>()
      for (const node of level) {
        if (visited.has(node) && hops > depth + 1) continue
        if (hops > depth) visited.add(node)
        state.work++
        const read = readNext(node)
        sum = worse(sum, read.error ?? 'no')
        for (const tuple of read.tuples) {
          if (tuple.user.type !== relation.type || found.has(tuple.user)) continue
          sum = worse(sum, memberAt(relation, tuple.user))
          if (sum === 'yes') return sum
          if (!visited.has(tuple.user)) found.add(tuple.user)
        }
      }
      level = [...found]
      if (state.work > workMax) return worse(sum, tooComplex())
    }
    return sum
  }

  /**
   * The server gives up on depth only for subjects that are a member of something at all; the others get
   * their no first.
   */
  function isMemberAnywhere(relation: Relation): boolean {
    const everyone = session.node(`${user.node.type}:*`)
    const objects = [...session.into(user.node), ...session.into(everyone), ...session.contextual()].map(
      (tuple) => tuple.object,
    )
    return objects.some((object) => object.type === relation.type && memberAt(relation, object) !== 'no')
  }

  /** Everything beside the recursion is one step from the subject, so that no hop is counted. */
  const memberAt = (relation: Relation, node: Node): Outcome =>
    outcomeOf(relation.rewrite, (leaf) => {
      if (leaf.kind === 'this') return near(relation, node, false)
      return leaf.kind === 'computed' ? memberAt(leaf.relation, node) : 'no'
    })

  function startState(): void {
    // Recursion through `and` or `but not` makes an answer depend on where the question began.
    if (!model.isWeighted) state.memo.clear()
    state.work = 0
    state.open.clear()
    state.provisional.length = 0
  }

  return {
    ask(relation, object) {
      startState()
      return resolve(relation, object, 0)
    },
    askRule(rule, relation, object) {
      startState()
      return outcomeOf(rule, askLeaf(relation, object, 0))
    },
  }
}

const isUserset = (tuple: Tuple): boolean => tuple.userRelation !== ''
