import {
  type Edge,
  edgesOf,
  findWeightedProblems,
  type Graph,
  graphOf,
  reaches,
  type Vertex,
} from './model-graph.ts'
import type { ModelAst, RestrictionAst, RewriteAst } from './model-json.ts'
import { isOperator, leavesOf } from './rule.ts'
import type { Tuple } from './tuples.ts'

/** How one relation reaches one subject type; decided once per model (see `analyseModel`). */
export interface Strategy {
  /** Whether any chain of rules leads from the subject to the relation. */
  readonly reachable: boolean
  /**
   * `userset` or `ttu` when the relation only recurses into itself and everything else in it is one step from
   * the subject: the server then walks breadth first, which neither sees cycles nor counts them.
   */
  readonly recursion: 'userset' | 'ttu' | undefined
  /**
   * Which stored usersets the server reads together: within one read, a condition that cannot be evaluated is
   * passed over when another tuple's condition holds. Empty where there is no userset to read.
   */
  readonly reads: readonly ((tuple: Tuple) => boolean)[]
}

/** What the server's planner knows about a model, as far as it decides between answers. */
export interface Analysis {
  /** Whether the server plans by weights for this model; else it follows every rule one by one. */
  readonly isWeighted: boolean
  isTupleset(key: string): boolean
  strategy(key: string, label: string): Strategy
}

/**
 * What can be said about a model without tuples: which relations are tuplesets, which subject types reach
 * which relations, and which relations recurse only into themselves.
 */
export function analyseModel(ast: ModelAst): Analysis {
  const graph = graphOf(ast)
  const tuplesets = new Set(
    [...graph.values()].flatMap(({ type, rewrite }) =>
      leavesOf(rewrite).flatMap(({ leaf }) => (leaf.kind === 'ttu' ? [`${type}#${leaf.tupleset}`] : [])),
    ),
  )
  const isWeighted = findWeightedProblems(graph).length === 0
  return {
    isWeighted,
    isTupleset: (key) => tuplesets.has(key),
    strategy: (key, label) => decide(graph, key, label, isWeighted),
  }
}

function decide(graph: Graph, key: string, label: string, isWeighted: boolean): Strategy {
  const reachable = reaches(graph, key, [label, `${label}:*`])
  const plansByWeights = isWeighted && !label.includes('#')
  return {
    reachable,
    recursion: plansByWeights && reachable ? recursionOf(graph, key, label) : undefined,
    reads: readsOf(graph, key, label, plansByWeights),
  }
}

/** Usersets one step from the subject are read apart, each kind by itself; all others in one read. */
function readsOf(graph: Graph, key: string, label: string, plansByWeights: boolean): Strategy['reads'] {
  const usersets = (graph.get(key)?.restrictions ?? []).filter((ref) => ref.relation !== undefined)
  const isSame = (ref: RestrictionAst) => (tuple: Tuple) =>
    tuple.userRelation === ref.relation && tuple.user.type === ref.type
  const mayBeApart = plansByWeights && weight(graph, key, label) !== Number.POSITIVE_INFINITY
  const kinds = new Map(usersets.map((ref) => [`${ref.type}#${ref.relation}`, ref]))
  const apart = new Set([...kinds.keys()].filter((kind) => mayBeApart && weight(graph, kind, label) === 1))
  const readOf = (isApart: boolean) =>
    [...kinds].filter(([kind]) => apart.has(kind) === isApart).map(([, ref]) => isSame(ref))
  const otherKinds = readOf(false)
  return otherKinds.length === 0
    ? readOf(true)
    : [...readOf(true), (tuple) => otherKinds.some((matches) => matches(tuple))]
}

/**
 * Recursion is only recognised at the top of a union (or alone): under `and` and `but not` the server's
 * weighted graph has no such shape. Everything beside the one recursive edge must be one step away.
 */
function recursionOf(graph: Graph, key: string, label: string): Strategy['recursion'] {
  const vertex = graph.get(key)
  if (vertex === undefined) return undefined
  const edges = flatten(vertex.rewrite, vertex, graph).flatMap((operand) =>
    edgesOf(operand, vertex, graph).map((edge) => ({ ...edge, isPlain: !isOperator(operand) })),
  )
  const recursive = edges.filter((edge) => edge.label === key && edge.via !== 'computed')
  const [only] = recursive
  if (only === undefined || recursive.length !== 1 || !only.isPlain) return undefined
  const isNear = edges.every((edge) => {
    if (edge === only) return true
    const steps = weight(graph, edge.label, label, key)
    return steps === undefined || steps + hopsOf(edge) <= 1
  })
  if (!isNear) return undefined
  return only.via === 'ttu' ? 'ttu' : 'userset'
}

const hopsOf = ({ via }: Edge): number => (via === 'userset' || via === 'ttu' ? 1 : 0)

/**
 * The operands of nested unions. Of equal siblings that are one and the same edge (`x from y or x from y`
 * with one type of y) the server's graph holds one, which leaves the recursion single; with more types it
 * holds both.
 */
function flatten(rewrite: RewriteAst, vertex: Vertex, graph: Graph): RewriteAst[] {
  if (rewrite.kind !== 'union') return [rewrite]
  const visitedEdges = new Set<string>()
  const distinct = rewrite.children.filter((child) => {
    const holder = child.kind === 'ttu' ? graph.get(`${vertex.type}#${child.tupleset}`) : vertex
    if ((child.kind !== 'ttu' && child.kind !== 'this') || holder?.restrictions.length !== 1) return true
    const edge = JSON.stringify(child)
    return !visitedEdges.has(edge) && visitedEdges.add(edge) !== undefined
  })
  return distinct.flatMap((child) => flatten(child, vertex, graph))
}

/**
 * Longest chain from the label to a subject of this type, in tuples; undefined when there is none, Infinity
 * when it recurses or comes to `origin`. Whatever the way to a label, its weight is the same: each is weighed
 * once.
 */
function weight(graph: Graph, label: string, subject: string, origin?: string): number | undefined {
  const onPath = new Set([origin])
  const weights = new Map<string, number | undefined>()

  function weigh(vertexKey: string): number | undefined {
    if (vertexKey === subject || vertexKey === `${subject}:*`) return 1
    const vertex = graph.get(vertexKey)
    if (vertex === undefined) return undefined
    if (onPath.has(vertexKey)) return Number.POSITIVE_INFINITY
    if (weights.has(vertexKey)) return weights.get(vertexKey)
    onPath.add(vertexKey)
    let longest: number | undefined
    for (const edge of edgesOf(vertex.rewrite, vertex, graph)) {
      const steps = weigh(edge.label)
      if (steps !== undefined) longest = Math.max(longest ?? 0, steps + hopsOf(edge))
    }
    onPath.delete(vertexKey)
    weights.set(vertexKey, longest)
    return longest
  }

  return weigh(label)
}
