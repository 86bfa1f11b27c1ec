import type { ModelAst, RewriteAst } from './model-json.ts'

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
export function findWeightedProblems(ast: ModelAst): readonly WeightedProblem[] {
  const graph = buildGraph(ast)
  const problems: WeightedProblem[] = []
  for (const relation of graph.values()) problems.push(...missingParents(relation, graph))
  for (const relation of graph.values()) problems.push(...operatorCycles(relation, graph))
  for (const relation of graph.values()) problems.push(...equalOperands(relation, graph))
  const terminals = terminalTypes(graph)
  for (const relation of graph.values()) problems.push(...emptyOperands(relation, graph, terminals))
  return problems
}

/** A relation with what it leads to. */
interface Vertex {
  readonly type: string
  readonly key: string
  readonly rewrite: RewriteAst
  readonly direct: readonly string[]
  readonly usersets: readonly string[]
  /** All that may be assigned: `user`, `user:*`, `group#member`. */
  readonly labels: readonly string[]
  /** Parent types by tupleset relation of the same type. */
  readonly parents: ReadonlyMap<string, readonly string[]>
}

/** By `type#relation`. */
type Graph = ReadonlyMap<string, Vertex>

/** Every relation of a model as a vertex, with the usersets that its rule leads to. */
function buildGraph(ast: ModelAst): Graph {
  const graph = new Map<string, Vertex>()
  for (const type of ast.types) {
    const parents = new Map(
      [...type.restrictions].map(([name, refs]) => [name, [...new Set(refs.map((ref) => ref.type))]]),
    )
    for (const [name, rewrite] of type.relations) {
      const refs = type.restrictions.get(name) ?? []
      const key = `${type.type}#${name}`
      graph.set(key, {
        type: type.type,
        key,
        rewrite,
        direct: refs.filter((ref) => ref.relation === undefined).map((ref) => ref.type),
        usersets: refs
          .filter((ref) => ref.relation !== undefined)
          .map((ref) => `${ref.type}#${ref.relation}`),
        labels: refs.map(
          (ref) =>
            ref.type +
            (ref.wildcard === undefined ? '' : ':*') +
            (ref.relation === undefined ? '' : `#${ref.relation}`),
        ),
        parents,
      })
    }
  }
  return graph
}

function missingParents(vertex: Vertex, graph: Graph): WeightedProblem[] {
  return leaves(vertex.rewrite).flatMap((leaf) => {
    if (leaf.kind !== 'ttu') return []
    const lacking = (vertex.parents.get(leaf.tupleset) ?? []).filter(
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
function operatorCycles(vertex: Vertex, graph: Graph): WeightedProblem[] {
  const operators = operatorsOf(vertex.rewrite)
  const cyclic = operators.filter((operator) =>
    leaves(operator).some((leaf) =>
      targets(vertex, leaf, graph).some((target) => leadsTo(graph, target, vertex.key, new Set())),
    ),
  )
  return cyclic.slice(0, 1).map((operator) => ({
    relation: vertex.key,
    rule: 'cycle-through-operator',
    detail: `recursion passes through '${operator.kind === 'exclusion' ? 'but not' : 'and'}'`,
  }))
}

/** Whether a path of rules leads from one vertex to another. Adds every vertex on its way to `visited`. */
function leadsTo(graph: Graph, source: string, destination: string, visited: Set<string>): boolean {
  if (source === destination) return true
  const vertex = graph.get(source)
  if (vertex === undefined || visited.has(source)) return false
  visited.add(source)
  return leaves(vertex.rewrite).some((leaf) =>
    targets(vertex, leaf, graph).some((target) => leadsTo(graph, target, destination, visited)),
  )
}

/** `x but not x` over one and the same edge, which the engine's graph holds once. Grants nobody anything. */
function equalOperands(vertex: Vertex, graph: Graph): WeightedProblem[] {
  const isSame = (operator: RewriteAst): boolean => {
    if (operator.kind !== 'exclusion' || operator.base.kind === 'computed') return false
    const edges =
      operator.base.kind === 'this'
        ? new Set([...vertex.labels])
        : new Set(targets(vertex, operator.base, graph))
    return edges.size === 1 && JSON.stringify(operator.base) === JSON.stringify(operator.subtract)
  }
  return operatorsOf(vertex.rewrite)
    .filter(isSame)
    .slice(0, 1)
    .map(() => ({
      relation: vertex.key,
      rule: 'operands-equal',
      detail: "both sides of 'but not' are the same",
    }))
}

/** Subject types that each relation can end in; `and` keeps those of all operands, `but not` those of its base. */
function terminalTypes(graph: Graph): Map<string, Set<string>> {
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

function terminalsOf(
  rewrite: RewriteAst,
  vertex: Vertex,
  graph: Graph,
  found: ReadonlyMap<string, ReadonlySet<string>>,
): ReadonlySet<string> {
  const terminalsOfOperand = (operand: RewriteAst): ReadonlySet<string> =>
    terminalsOf(operand, vertex, graph, found)
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
    default: {
      const direct = rewrite.kind === 'this' ? vertex.direct : []
      return new Set([
        ...direct,
        ...targets(vertex, rewrite, graph).flatMap((key) => [...(found.get(key) ?? [])]),
      ])
    }
  }
}

function emptyOperands(
  vertex: Vertex,
  graph: Graph,
  terminals: ReadonlyMap<string, ReadonlySet<string>>,
): WeightedProblem[] {
  const operators = operatorsOf(vertex.rewrite).filter((operator) => operator.kind === 'intersection')
  const empty = operators.filter((operator) => terminalsOf(operator, vertex, graph, terminals).size === 0)
  if (empty.length > 0)
    return [
      {
        relation: vertex.key,
        rule: 'operands-without-common-type',
        detail: "no subject type can satisfy all operands of 'and'",
      },
    ]
  if (terminals.get(vertex.key)?.size === 0)
    return [
      { relation: vertex.key, rule: 'no-terminal-type', detail: 'no subject type leads to the relation' },
    ]
  return []
}

/** The vertices that one leaf of a rule leads to. */
function targets(vertex: Vertex, leaf: RewriteAst, graph: Graph): readonly string[] {
  if (leaf.kind === 'this') return vertex.usersets
  if (leaf.kind === 'computed') return [`${vertex.type}#${leaf.relation}`]
  if (leaf.kind !== 'ttu') return []
  return (vertex.parents.get(leaf.tupleset) ?? [])
    .map((type) => `${type}#${leaf.computed}`)
    .filter((key) => graph.has(key))
}

/** The intersections and exclusions of a rule, the outer ones first. */
function operatorsOf(rewrite: RewriteAst): RewriteAst[] {
  if (rewrite.kind === 'union') return rewrite.children.flatMap(operatorsOf)
  if (rewrite.kind === 'intersection') return [rewrite, ...rewrite.children.flatMap(operatorsOf)]
  return rewrite.kind === 'exclusion'
    ? [rewrite, ...operatorsOf(rewrite.base), ...operatorsOf(rewrite.subtract)]
    : []
}

/** The leaves of a rule: direct assignments, computed usersets, and parents. */
export function leaves(rewrite: RewriteAst): RewriteAst[] {
  if (rewrite.kind === 'union' || rewrite.kind === 'intersection') return rewrite.children.flatMap(leaves)
  return rewrite.kind === 'exclusion' ? [...leaves(rewrite.base), ...leaves(rewrite.subtract)] : [rewrite]
}
