import { type LeafAst, labelOf, type ModelAst, type RestrictionAst, type RewriteAst } from './model-json.ts'
import { isOperator, leavesOf, type Operator } from './rule.ts'

/** A relation as it is written, before names are resolved. */
export interface Vertex {
  readonly type: string
  readonly key: string
  readonly rewrite: RewriteAst
  readonly restrictions: readonly RestrictionAst[]
}

/** By `type#relation`. */
export type Graph = ReadonlyMap<string, Vertex>

/** Every relation of a model as a vertex. */
export function graphOf(ast: ModelAst): Graph {
  const graph = new Map<string, Vertex>()
  for (const { type, relations, restrictions } of ast.types) {
    for (const [name, rewrite] of relations) {
      const key = `${type}#${name}`
      graph.set(key, { type, key, rewrite, restrictions: restrictions.get(name) ?? [] })
    }
  }
  return graph
}

/** From a relation to a subject type (`direct`), or to another relation. */
export interface Edge {
  readonly label: string
  readonly via: 'direct' | 'userset' | 'computed' | 'ttu'
}

/** What the leaves of a rule on this relation lead to. */
export const edgesOf = (rewrite: RewriteAst, vertex: Vertex, graph: Graph): Edge[] =>
  leavesOf(rewrite).flatMap(({ leaf }) => edgesOfLeaf(leaf, vertex, graph))

function edgesOfLeaf(leaf: LeafAst, vertex: Vertex, graph: Graph): Edge[] {
  switch (leaf.kind) {
    case 'this':
      return assignedOf(vertex)
    case 'computed':
      return [{ label: `${vertex.type}#${leaf.relation}`, via: 'computed' }]
    case 'ttu':
      return parentsOf(leaf.tupleset, vertex, graph)
        .map((type): Edge => ({ label: `${type}#${leaf.computed}`, via: 'ttu' }))
        .filter(({ label }) => graph.has(label))
    case 'unset':
      return []
  }
}

/** One edge for `[group#member, group#member with c]`, as the server's graph holds it. */
function assignedOf({ restrictions }: Vertex): Edge[] {
  const viaByLabel = new Map(
    restrictions.map((ref) => [labelOf(ref), ref.relation === undefined ? 'direct' : 'userset'] as const),
  )
  return [...viaByLabel].map(([label, via]) => ({ label, via }))
}

/** The types that a tupleset relation beside this one may name, each once. */
const parentsOf = (tupleset: string, { type }: Vertex, graph: Graph): readonly string[] => [
  ...new Set((graph.get(`${type}#${tupleset}`)?.restrictions ?? []).map((ref) => ref.type)),
]

/**
 * Whether a path of rules leads from a relation to one of the labels. Any rule counts, also the subtracted
 * side.
 */
export function reaches(graph: Graph, source: string, labels: readonly string[]): boolean {
  const visited = new Set([source])
  for (const label of visited) {
    if (labels.includes(label)) return true
    const vertex = graph.get(label)
    if (vertex === undefined) continue
    for (const edge of edgesOf(vertex.rewrite, vertex, graph)) visited.add(edge.label)
  }
  return false
}

/** A reason why the server's weighted-graph engine cannot take a model. */
export interface WeightedProblem {
  readonly relation: string
  readonly rule:
    | 'parent-lacks-relation'
    | 'cycle-through-operator'
    | 'operands-without-common-type'
    | 'operands-equal'
    | 'no-terminal-type'
  readonly detail: string
}

/**
 * What the weighted-graph engine ("v2") rejects in a model that today's server accepts. The server keeps
 * answering such models with its older rules for as long as it has them; with these problems gone it plans by
 * weights. After WeightedAuthorizationModelGraph in openfga/language.
 */
export function findWeightedProblems(graph: Graph): readonly WeightedProblem[] {
  const vertices = [...graph.values()]
  const terminals = terminalTypes(graph)
  return [
    ...vertices.flatMap((vertex) => missingParents(vertex, graph)),
    ...vertices.flatMap((vertex) => operatorCycle(vertex, graph)),
    ...vertices.flatMap((vertex) => equalOperands(vertex, graph)),
    ...vertices.flatMap((vertex) => emptyOperands(vertex, graph, terminals)),
  ]
}

function missingParents(vertex: Vertex, graph: Graph): WeightedProblem[] {
  return leavesOf(vertex.rewrite).flatMap(({ leaf }) => {
    if (leaf.kind !== 'ttu') return []
    const lacking = parentsOf(leaf.tupleset, vertex, graph).filter(
      (type) => !graph.has(`${type}#${leaf.computed}`),
    )
    return lacking.map(
      (type): WeightedProblem => ({
        relation: vertex.key,
        rule: 'parent-lacks-relation',
        detail: `'${leaf.computed} from ${leaf.tupleset}': type ${type} has no relation ${leaf.computed}`,
      }),
    )
  })
}

/** Recursion may not pass through `and` or `but not`: split it into a recursive relation and a gated one. */
function operatorCycle(vertex: Vertex, graph: Graph): WeightedProblem[] {
  const cyclic = operatorsOf(vertex.rewrite).find((operator) =>
    edgesOf(operator, vertex, graph).some(({ label }) => reaches(graph, label, [vertex.key])),
  )
  if (cyclic === undefined) return []
  const name = cyclic.kind === 'exclusion' ? 'but not' : 'and'
  const detail = `recursion passes through '${name}'`
  return [{ relation: vertex.key, rule: 'cycle-through-operator', detail }]
}

/** `x but not x` over one and the same edge, which the engine's graph holds once. Grants nobody anything. */
function equalOperands(vertex: Vertex, graph: Graph): WeightedProblem[] {
  const areEqual = operatorsOf(vertex.rewrite).some((operator) => {
    if (operator.kind !== 'exclusion') return false
    const { base, subtract } = operator
    if (isOperator(base) || base.kind === 'computed') return false
    const labels = new Set(edgesOf(base, vertex, graph).map(({ label }) => label))
    return labels.size === 1 && JSON.stringify(base) === JSON.stringify(subtract)
  })
  if (!areEqual) return []
  return [{ relation: vertex.key, rule: 'operands-equal', detail: "both sides of 'but not' are the same" }]
}

/** By relation: subject types. */
type Terminals = ReadonlyMap<string, ReadonlySet<string>>

/**
 * Subject types that each relation can end in; `and` keeps those of all operands, `but not` those of its
 * base.
 */
function terminalTypes(graph: Graph): Terminals {
  const found = new Map([...graph.keys()].map((key) => [key, new Set<string>()]))
  for (let changed = true; changed; ) {
    changed = false
    for (const vertex of graph.values()) {
      const knownTypes = found.get(vertex.key) ?? new Set()
      for (const type of terminalsOf(vertex.rewrite, vertex, graph, found)) {
        if (knownTypes.has(type)) continue
        knownTypes.add(type)
        changed = true
      }
    }
  }
  return found
}

// A set at each level: of a rule that names one type many times, an operand holds it once.
function terminalsOf(
  rewrite: RewriteAst,
  vertex: Vertex,
  graph: Graph,
  found: Terminals,
): ReadonlySet<string> {
  const terminalsOfOperand = (operand: RewriteAst) => terminalsOf(operand, vertex, graph, found)
  switch (rewrite.kind) {
    case 'union':
      return new Set(rewrite.children.flatMap((operand) => [...terminalsOfOperand(operand)]))
    case 'intersection': {
      const [firstTerminals = new Set<string>(), ...otherTerminals] = rewrite.children.map(terminalsOfOperand)
      return new Set(
        [...firstTerminals].filter((type) => otherTerminals.every((terminals) => terminals.has(type))),
      )
    }
    case 'exclusion':
      return terminalsOfOperand(rewrite.base)
    default:
      return new Set(
        edgesOf(rewrite, vertex, graph).flatMap(({ label, via }) =>
          via === 'direct' ? [label.replace(':*', '')] : [...(found.get(label) ?? [])],
        ),
      )
  }
}

function emptyOperands(vertex: Vertex, graph: Graph, terminals: Terminals): WeightedProblem[] {
  const { key: relation } = vertex
  const isEmpty = operatorsOf(vertex.rewrite).some(
    (operator) =>
      operator.kind === 'intersection' && terminalsOf(operator, vertex, graph, terminals).size === 0,
  )
  if (isEmpty) {
    const detail = "no subject type can satisfy all operands of 'and'"
    return [{ relation, rule: 'operands-without-common-type', detail }]
  }
  if (terminals.get(relation)?.size !== 0) return []
  return [{ relation, rule: 'no-terminal-type', detail: 'no subject type leads to the relation' }]
}

/** The intersections and exclusions of a rule, the outer ones first. */
function operatorsOf(rewrite: RewriteAst): Operator<LeafAst>[] {
  if (!isOperator(rewrite)) return []
  if (rewrite.kind === 'exclusion')
    return [rewrite, ...operatorsOf(rewrite.base), ...operatorsOf(rewrite.subtract)]
  const inner = rewrite.children.flatMap(operatorsOf)
  return rewrite.kind === 'union' ? inner : [rewrite, ...inner]
}
