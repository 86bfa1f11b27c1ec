import { analyseModel } from '../core/model-graph.ts'
import type { ModelAst, RewriteAst } from '../core/model-json.ts'
import { buildGraph, type Graph, leadsTo, leaves, operatorsOf, targets, type Vertex } from './weighted.ts'

/** Where the server's weighted-graph engine answers a Check otherwise than today's server does. */
export interface WeightedDifference {
  readonly rule:
    | 'recursion-through-strangers'
    | 'depth-limit-gone'
    | 'recursion-under-exclusion'
    | 'userset-under-exclusion'
    | 'wildcard-under-exclusion'
    | 'userset-through-alias'
    | 'userset-through-parent'
    | 'userset-through-itself'
    | 'self-userset'
  /** Where it lies: whatever leads to this relation may differ too. */
  readonly relation: string
  /** Which subjects are concerned: `group#member`, `user:*`; undefined for all. */
  readonly subject: string | undefined
}

/**
 * Shapes of a model whose answers change with the weighted-graph engine ("v2"), as observed on OpenFGA v1.22.1 with
 * `--experimentals weighted_graph_check` or read in it. Tells shapes, not tuples: a store need not hold any that
 * show the difference. Not the models that it rejects: those are `findWeightedProblems`'s, and keep today's rules.
 */
export function findWeightedDifferences(ast: ModelAst): readonly WeightedDifference[] {
  const graph = buildGraph(ast)
  const vertices = [...graph.values()]
  const isTangled = tangles(ast, graph)
  return [
    ...vertices
      .filter((vertex) => recursesThroughStrangers(vertex, graph))
      .map(at('recursion-through-strangers')),
    ...vertices.filter((vertex) => recurses(vertex, graph)).map(at('depth-limit-gone')),
    ...vertices
      .filter((vertex) =>
        exclusions(vertex).some(({ subtract }) => meets(subtract, vertex, graph, isTangled)),
      )
      .map(at('recursion-under-exclusion')),
    ...vertices.flatMap((vertex) => unexcludable(vertex, graph)),
    ...vertices.flatMap((vertex) => wildcardsUnderExclusion(vertex, graph)),
    ...vertices.flatMap((vertex) => unfollowed(vertex, graph)),
    ...vertices.flatMap((vertex) => unexpanded(vertex, graph)),
    ...vertices.map(at('self-userset')),
  ]
}

type Rule = WeightedDifference['rule']

const at =
  (rule: Rule, subject?: string) =>
  ({ key }: Vertex): WeightedDifference => ({ rule, relation: key, subject })

const exclusions = (vertex: Vertex) =>
  operatorsOf(vertex.rewrite).filter((operator) => operator.kind === 'exclusion')

const nextOf = (vertex: Vertex, graph: Graph, rewrite: RewriteAst = vertex.rewrite): readonly string[] =>
  leaves(rewrite).flatMap((leaf) => targets(vertex, leaf, graph))

const recurses = (vertex: Vertex, graph: Graph): boolean =>
  nextOf(vertex, graph).some((next) => leadsTo(graph, next, vertex.key, new Set()))

/**
 * `x from parent` on folders whose parents may be of another type that has a `parent` of its own: today's server (seen
 * on v1.22.1) walks that one too, and so GRANTS from objects to which no rule of the model leads.
 */
const recursesThroughStrangers = (vertex: Vertex, graph: Graph): boolean =>
  leaves(vertex.rewrite).some(
    (leaf) =>
      leaf.kind === 'ttu' &&
      targets(vertex, leaf, graph).includes(vertex.key) &&
      vertex.parents
        .get(leaf.tupleset)
        ?.some((type) => type !== vertex.type && graph.has(`${type}#${leaf.tupleset}`)),
  )

/** Whether the rule leads to a relation of which this holds. */
function meets(
  rewrite: RewriteAst,
  vertex: Vertex,
  graph: Graph,
  holds: (vertex: Vertex) => boolean,
): boolean {
  return reached(rewrite, vertex, graph).some(holds)
}

/** All relations that a rule leads to. */
function reached(rewrite: RewriteAst, vertex: Vertex, graph: Graph): readonly Vertex[] {
  const seen = new Set<Vertex>()
  const waiting = [...nextOf(vertex, graph, rewrite)]
  for (let key = waiting.pop(); key !== undefined; key = waiting.pop()) {
    const next = graph.get(key)
    if (next === undefined || seen.has(next)) continue
    seen.add(next)
    waiting.push(...nextOf(next, graph))
  }
  return [...seen]
}

/** Recursion that today's server follows path by path, where it sees circles: all but the two plain shapes. */
function tangles(ast: ModelAst, graph: Graph): (vertex: Vertex) => boolean {
  const analysis = analyseModel(ast)
  return (vertex) =>
    recurses(vertex, graph) &&
    ast.types.some(({ type }) => {
      const { reachable, recursion } = analysis.strategy(vertex.key, type)
      return reachable && recursion === undefined
    })
}

/** Usersets that the base takes and the other side cannot: the engine refuses to answer for them. */
function unexcludable(vertex: Vertex, graph: Graph): WeightedDifference[] {
  const found = exclusions(vertex).flatMap(({ base, subtract }) => {
    const excluded = assignable(subtract, vertex, graph, 'usersets')
    return [...assignable(base, vertex, graph, 'usersets')].filter((label) => !excluded.has(label))
  })
  return [...new Set(found)].map((subject) => at('userset-under-exclusion', subject)(vertex))
}

function wildcardsUnderExclusion(vertex: Vertex, graph: Graph): WeightedDifference[] {
  const found = exclusions(vertex).flatMap(({ base }) =>
    [...assignable(base, vertex, graph, 'labels')].filter((label) => label.endsWith(':*')),
  )
  return [...new Set(found)].map((subject) => at('wildcard-under-exclusion', subject)(vertex))
}

/** What may be stored anywhere that a rule leads to. */
function assignable(
  rewrite: RewriteAst,
  vertex: Vertex,
  graph: Graph,
  what: 'usersets' | 'labels',
): ReadonlySet<string> {
  const own = leaves(rewrite).some(({ kind }) => kind === 'this') ? vertex[what] : []
  const further = reached(rewrite, vertex, graph).filter((next) =>
    leaves(next.rewrite).some(({ kind }) => kind === 'this'),
  )
  return new Set([...own, ...further.flatMap((next) => next[what])])
}

/** A userset counts where it is stored; by a relation of the same object, or of a parent, it does not any more. */
function unfollowed(vertex: Vertex, graph: Graph): WeightedDifference[] {
  const found = leaves(vertex.rewrite).flatMap((leaf): WeightedDifference[] => {
    if (leaf.kind !== 'computed' && leaf.kind !== 'ttu') return []
    const rule = leaf.kind === 'computed' ? 'userset-through-alias' : 'userset-through-parent'
    return targets(vertex, leaf, graph).map((subject) => at(rule, subject)(vertex))
  })
  return [...new Map(found.map((one) => [`${one.rule} ${one.subject}`, one])).values()]
}

/** Members of one group within another: asked for the group within, the one that is stored is not looked into. */
function unexpanded(vertex: Vertex, graph: Graph): WeightedDifference[] {
  return [...new Set(vertex.usersets)].flatMap((subject) => {
    const userset = graph.get(subject)
    if (userset === undefined || userset === vertex) return []
    const isNested = assignable(userset.rewrite, userset, graph, 'usersets').has(subject)
    return isNested ? [at('userset-through-itself', subject)(vertex)] : []
  })
}
