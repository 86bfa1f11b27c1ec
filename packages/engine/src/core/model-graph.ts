import type { ModelAst, RestrictionAst, RewriteAst } from './model-json.ts'
import type { Tuple } from './tuples.ts'
import { findWeightedProblems, leaves } from './weighted.ts'

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

interface RelationAst {
  readonly type: string
  readonly key: string
  readonly rewrite: RewriteAst
  readonly restrictions: readonly RestrictionAst[]
}

/**
 * What can be said about a model without tuples: which relations are tuplesets, which subject types reach
 * which relations, and which relations recurse only into themselves.
 */
export function analyseModel(ast: ModelAst): Analysis {
  const relations = new Map<string, RelationAst>()
  for (const type of ast.types) {
    for (const [name, rewrite] of type.relations) {
      const key = `${type.type}#${name}`
      relations.set(key, { type: type.type, key, rewrite, restrictions: type.restrictions.get(name) ?? [] })
    }
  }
  const tuplesets = new Set<string>()
  for (const relation of relations.values()) {
    for (const ttu of ttusOf(relation.rewrite)) tuplesets.add(`${relation.type}#${ttu.tupleset}`)
  }
  const strategies = new Map<string, Strategy>()
  const isWeighted = findWeightedProblems(ast).length === 0
  return {
    isWeighted,
    isTupleset: (key) => tuplesets.has(key),
    strategy(key, label) {
      const strategyKey = `${key}@${label}`
      const cachedStrategy = strategies.get(strategyKey)
      if (cachedStrategy !== undefined) return cachedStrategy
      const found = decide(relations, key, label, isWeighted)
      strategies.set(strategyKey, found)
      return found
    },
  }
}

function decide(
  relations: ReadonlyMap<string, RelationAst>,
  key: string,
  label: string,
  isWeighted: boolean,
): Strategy {
  const targetLabels = label.includes('#') ? [label] : [label, `${label}:*`]
  const reachable = reaches(relations, key, new Set(targetLabels), new Set())
  const recursion =
    isWeighted && reachable && !label.includes('#') ? recursionOf(relations, key, label) : undefined
  return { reachable, recursion, reads: readsOf(relations, key, label, isWeighted) }
}

/** Usersets one step from the subject are read apart, each kind by itself; all others in one read. */
function readsOf(
  relations: ReadonlyMap<string, RelationAst>,
  key: string,
  label: string,
  isWeighted: boolean,
): Strategy['reads'] {
  const usersets = (relations.get(key)?.restrictions ?? []).filter((ref) => ref.relation !== undefined)
  const isSame = (ref: RestrictionAst) => (tuple: Tuple) =>
    tuple.userRelation === ref.relation && tuple.user.type === ref.type
  const recurses = (weight(relations, key, label, new Set()) ?? 0) === Number.POSITIVE_INFINITY
  const isApart = (ref: RestrictionAst): boolean =>
    isWeighted &&
    !label.includes('#') &&
    !recurses &&
    weight(relations, `${ref.type}#${ref.relation}`, label, new Set()) === 1
  const kinds = [...new Map(usersets.map((ref) => [`${ref.type}#${ref.relation}`, ref])).values()]
  const apart = kinds.filter(isApart).map(isSame)
  const otherKinds = kinds.filter((ref) => !isApart(ref)).map(isSame)
  return otherKinds.length === 0 ? apart : [...apart, (tuple) => otherKinds.some((matches) => matches(tuple))]
}

/** Any rule counts, also the subtracted side of an exclusion: this only spares work and never decides. */
function reaches(
  relations: ReadonlyMap<string, RelationAst>,
  key: string,
  targetLabels: ReadonlySet<string>,
  visited: Set<string>,
): boolean {
  if (targetLabels.has(key)) return true
  const relation = relations.get(key)
  if (relation === undefined || visited.has(key)) return false
  visited.add(key)
  return leavesOf(relation, relations).some(
    (leaf) => targetLabels.has(leaf.label) || reaches(relations, leaf.label, targetLabels, visited),
  )
}

interface Leaf {
  readonly label: string
  readonly via: 'direct' | 'userset' | 'computed' | 'ttu'
}

function leavesOf(relation: RelationAst, relations: ReadonlyMap<string, RelationAst>): Leaf[] {
  return leaves(relation.rewrite).flatMap((leaf): Leaf[] => {
    switch (leaf.kind) {
      case 'this':
        return relation.restrictions.map((ref) =>
          ref.relation === undefined
            ? { label: ref.wildcard === undefined ? ref.type : `${ref.type}:*`, via: 'direct' }
            : { label: `${ref.type}#${ref.relation}`, via: 'userset' },
        )
      case 'computed':
        return [{ label: `${relation.type}#${leaf.relation}`, via: 'computed' }]
      case 'ttu': {
        const parents = relations.get(`${relation.type}#${leaf.tupleset}`)?.restrictions ?? []
        return parents
          .map((ref): Leaf => ({ label: `${ref.type}#${leaf.computed}`, via: 'ttu' }))
          .filter((found) => relations.has(found.label))
      }
      default:
        return []
    }
  })
}

const ttusOf = (rewrite: RewriteAst) => leaves(rewrite).filter((leaf) => leaf.kind === 'ttu')

/**
 * Recursion is only recognised at the top of a union (or alone): under `and` and `but not` the server's
 * weighted graph has no such shape. Everything beside the one recursive edge must be one step away.
 */
function recursionOf(
  relations: ReadonlyMap<string, RelationAst>,
  key: string,
  label: string,
): 'userset' | 'ttu' | undefined {
  const relation = relations.get(key)
  if (relation === undefined) return undefined
  const operands =
    relation.rewrite.kind === 'union' ? flatten(relation.rewrite, relation, relations) : [relation.rewrite]
  const leaves = operands.flatMap((operand) =>
    leavesOf({ ...relation, rewrite: operand }, relations).map((leaf) => ({
      ...leaf,
      plain: isLeaf(operand),
    })),
  )
  const recursive = leaves.filter((leaf) => leaf.label === key && leaf.via !== 'computed')
  const [only] = recursive
  if (only === undefined || recursive.length !== 1 || !only.plain) return undefined
  const otherLeaves = leaves.filter((leaf) => leaf !== only)
  const near = otherLeaves.every((leaf) => {
    const steps = weight(relations, leaf.label, label, new Set([key]))
    return steps === undefined || steps + (leaf.via === 'userset' || leaf.via === 'ttu' ? 1 : 0) <= 1
  })
  return near ? (only.via === 'ttu' ? 'ttu' : 'userset') : undefined
}

const isLeaf = (rewrite: RewriteAst): boolean =>
  rewrite.kind === 'this' || rewrite.kind === 'ttu' || rewrite.kind === 'computed'

/**
 * The operands of nested unions. Of equal siblings that are one and the same edge (`x from y or x from y` with one
 * type of y) the server's graph holds one, which leaves the recursion single; with more types it holds both.
 */
function flatten(
  rewrite: RewriteAst,
  relation: RelationAst,
  relations: ReadonlyMap<string, RelationAst>,
): RewriteAst[] {
  if (rewrite.kind !== 'union') return [rewrite]
  const visitedEdges = new Set<string>()
  const distinct = rewrite.children.filter((child) => {
    const holder =
      child.kind === 'ttu'
        ? relations.get(`${relation.type}#${child.tupleset}`)
        : child.kind === 'this'
          ? relation
          : undefined
    if (holder?.restrictions.length !== 1) return true
    const edge = JSON.stringify(child)
    return !visitedEdges.has(edge) && visitedEdges.add(edge) !== undefined
  })
  return distinct.flatMap((child) => flatten(child, relation, relations))
}

/**
 * Longest chain from the label to a subject of this type, in tuples; undefined when there is none, Infinity when it recurses
 * or comes to one of `path`. Whatever the way to a label, its weight is the same: each is weighed once.
 */
function weight(
  relations: ReadonlyMap<string, RelationAst>,
  label: string,
  subject: string,
  path: Iterable<string>,
): number | undefined {
  const onPath = new Set(path)
  const weights = new Map<string, number | undefined>()

  function weigh(vertexKey: string): number | undefined {
    if (vertexKey === subject || vertexKey === `${subject}:*`) return 1
    const relation = relations.get(vertexKey)
    if (relation === undefined) return undefined
    if (onPath.has(vertexKey)) return Number.POSITIVE_INFINITY
    if (weights.has(vertexKey)) return weights.get(vertexKey)
    onPath.add(vertexKey)
    let longest: number | undefined
    for (const leaf of leavesOf(relation, relations)) {
      const steps = weigh(leaf.label)
      if (steps === undefined) continue
      longest = Math.max(longest ?? 0, steps + (leaf.via === 'userset' || leaf.via === 'ttu' ? 1 : 0))
    }
    onPath.delete(vertexKey)
    weights.set(vertexKey, longest)
    return longest
  }

  return weigh(label)
}
