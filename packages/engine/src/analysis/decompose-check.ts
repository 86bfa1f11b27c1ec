import { createEvaluator } from '../core/evaluate.ts'
import { getOrInsert } from '../core/get-or-insert.ts'
import { reverseGraph } from '../core/list-objects.ts'
import type { Model, Relation, Rewrite, Ttu } from '../core/model.ts'
import { typeOf } from '../core/names.ts'
import { leavesOf } from '../core/rule.ts'
import { createSession, type Session, type SessionInput } from '../core/session.ts'
import { keyOf, type Node, type TupleKey, type TupleView } from '../core/tuples.ts'

/** A smaller question, and the answer by which the larger one follows. An error is no answer. */
export interface CheckPart {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly allowed: boolean
  /** Brought along with this part alone, beside what all are asked with. */
  readonly contextualTuples?: readonly TupleKey[]
}

/**
 * The parts of one question of the session's subject; undefined: it is not a yes here, or parts would spare
 * nothing.
 */
export type DecomposeCheck = (relation: string, object: string) => readonly CheckPart[] | undefined

/** Takes apart that the subject does not have a relation. */
type DecomposeNo = (relation: Relation, node: Node) => readonly CheckPart[]

const none: ReadonlyMap<Relation, Relation> = new Map()

// OpenFGA takes a hundred tuples with a check, and the question brings its own.
const broughtMax = 20

const markersByModel = new WeakMap<Model, Map<string, ReadonlyMap<Relation, Relation>>>()

/**
 * Takes a yes apart along the tuples that grant it here, so that what many questions lead to is asked once.
 * The yes follows from the parts by the rules of the model alone: tuples that are wrong here make parts that
 * come out otherwise, never a wrong yes. All parts have to be asked with the same contextual tuples and
 * context, under this model, and every one has to come out as it says.
 *
 * Of `a or b` one is enough; `a and b` needs both; `a but not b` needs a, and a plain no to b, which is asked
 * whole. `a from parent` needs that the parent is one, and a of it. What a group is given is given to its
 * members, except where something behind it is `but not`: there nothing is taken apart. Of `and` the group
 * has both sides, and so has each member. Nor is anything taken apart under a model that recurses through
 * `and` or `but not`: there an answer depends on where the question began, and a part's is not the whole's.
 */
export function createDecomposeCheck(model: Model, tuples: TupleView, input: SessionInput): DecomposeCheck {
  if (!model.isWeighted) return () => undefined
  const session = createSession(model, tuples, input)
  const { ask, askRule } = createEvaluator(session)
  const cachedParts = new Map<string, readonly CheckPart[]>()
  const takeNo = createDecomposeNo(model, session)

  const wholeCheck = (relation: Relation, node: Node): CheckPart => ({
    user: input.user,
    relation: relation.name,
    object: node.name,
    allowed: true,
  })

  function question(relation: Relation, node: Node): readonly CheckPart[] {
    const key = `${relation.key} ${node.id}`
    const cached = cachedParts.get(key)
    if (cached !== undefined) return cached
    // Where it leads back to itself it is asked as it is.
    cachedParts.set(key, [wholeCheck(relation, node)])
    const checkParts = take(relation.rewrite, relation, node) ?? [wholeCheck(relation, node)]
    cachedParts.set(key, checkParts)
    return checkParts
  }

  /** Undefined: the relation has to be asked whole. */
  function take(rule: Rewrite, relation: Relation, node: Node): readonly CheckPart[] | undefined {
    switch (rule.kind) {
      case 'this':
        return throughGroup(relation, node)
      case 'computed':
        return question(rule.relation, node)
      case 'ttu':
        return throughParent(rule, node)
      case 'union': {
        const granting = rule.children.find((child) => askRule(child, relation, node) === 'yes')
        return granting && take(granting, relation, node)
      }
      case 'intersection': {
        const childParts = rule.children.map((child) => take(child, relation, node))
        return childParts.every((childPart) => childPart !== undefined) ? childParts.flat() : undefined
      }
      case 'exclusion': {
        const { subtract } = rule
        if (subtract.kind !== 'computed') return undefined
        const base = take(rule.base, relation, node)
        return base && [...takeNo(subtract.relation, node), ...base]
      }
    }
  }

  function throughParent(rule: Ttu, node: Node): readonly CheckPart[] | undefined {
    const tupleset = model.types.get(node.type)?.get(rule.tupleset)
    if (tupleset === undefined) return undefined
    for (const { user } of session.concrete(tupleset, node).tuples) {
      const target = rule.targets.get(user.type)
      if (target === undefined || ask(target, user) !== 'yes') continue
      const link = { user: user.name, relation: tupleset.name, object: node.name, allowed: true }
      return [link, ...question(target, user)]
    }
    return undefined
  }

  function throughGroup(relation: Relation, node: Node): readonly CheckPart[] | undefined {
    const { user } = session
    const isEveryone = ({ name }: Node): boolean => name === `${user.node.type}:*`
    if (!isPlain(relation) || session.direct(relation, node, true) === true) return undefined
    const usersetTuples = session.usersets(relation, node, () => true).tuples
    if (usersetTuples.some((tuple) => isEveryone(tuple.user))) return undefined
    for (const tuple of usersetTuples) {
      const target = model.types.get(tuple.user.type)?.get(tuple.userRelation)
      if (target === undefined || ask(target, tuple.user) !== 'yes') continue
      const { user: group } = keyOf(tuple)
      const link = { user: group, relation: relation.name, object: node.name, allowed: true }
      return [link, ...question(target, tuple.user)]
    }
    return undefined
  }

  const unions = new Map<Relation, boolean>()

  /**
   * Whether no `but not` is behind it: what leads to it from a group leads to it from each of its members.
   */
  const isPlain = (relation: Relation): boolean =>
    getOrInsert(unions, relation, () =>
      [...reverseGraph(model).behind(relation)].every(
        ({ rewrite }) => !leavesOf(rewrite).some(({ isSubtracted }) => isSubtracted),
      ),
    )

  return (relation, object) => {
    const found = model.types.get(typeOf(object))?.get(relation)
    const node = session.node(object)
    if (found === undefined || ask(found, node) !== 'yes') return undefined
    const checkParts = question(found, node)
    // Without a tuple that others may share it is the same work, in more questions.
    return checkParts.some(({ user }) => user !== input.user) ? checkParts : undefined
  }
}

/**
 * That the subject does not have a relation, and by parts of their own that it does not have it of what is
 * above either, so that this is asked once for all that lies below.
 *
 * An object can be passed by where its relation is `r: x but not m`, and m is assigned to subjects alone and
 * stands nowhere else in the model. Where the subject does not have r of it, bringing m of it along changes
 * no answer to anything: r is a no already, and nothing else reads m. But OpenFGA need not go into x there.
 * So r of the object is asked by itself, without m, and what is below is asked with m. Both are OpenFGA's to
 * answer. What is above and not known here is gone into as always.
 */
function createDecomposeNo(model: Model, session: Session): DecomposeNo {
  const { node: subject, relation: userset } = session.user
  const markers = userset === '' && !subject.wildcard ? markersFor(model, subject.type) : none

  const noOf = (relation: Relation, { name }: Node): CheckPart => ({
    user: subject.name,
    relation: relation.name,
    object: name,
    allowed: false,
  })

  /** What can be passed by, with what is brought for it. Nothing beyond it is gone into. */
  function above(start: Relation, from: Node): readonly (readonly [CheckPart, TupleKey])[] {
    const found: [CheckPart, TupleKey][] = []
    const visitedNames = new Set<string>()
    const visit = (relation: Relation, node: Node): void => {
      const key = `${relation.key} ${node.id}`
      if (visitedNames.has(key)) return
      visitedNames.add(key)
      const marker = node === from ? undefined : markers.get(relation)
      if (marker === undefined) walk(relation.rewrite, node)
      else if (found.length < broughtMax)
        found.push([noOf(relation, node), { user: subject.name, relation: marker.name, object: node.name }])
    }
    const walk = (rule: Rewrite, node: Node): void => {
      for (const { leaf } of leavesOf(rule)) {
        if (leaf.kind === 'computed') visit(leaf.relation, node)
        if (leaf.kind !== 'ttu') continue
        const tupleset = model.types.get(node.type)?.get(leaf.tupleset)
        if (tupleset === undefined) continue
        for (const { user } of session.concrete(tupleset, node).tuples) {
          const target = leaf.targets.get(user.type)
          if (target !== undefined) visit(target, user)
        }
      }
    }
    visit(start, from)
    return found
  }

  return (relation, node) => {
    const passed = markers.size === 0 ? [] : above(relation, node)
    if (passed.length === 0) return [noOf(relation, node)]
    return [
      { ...noOf(relation, node), contextualTuples: passed.map(([, tuple]) => tuple) },
      ...passed.map(([part]) => part),
    ]
  }
}

// Each question would go through the whole model for it.
function markersFor(model: Model, type: string): ReadonlyMap<Relation, Relation> {
  const byType = markersByModel.get(model) ?? new Map<string, ReadonlyMap<Relation, Relation>>()
  markersByModel.set(model, byType)
  return getOrInsert(byType, type, () => markersOf(model, type))
}

/** By the relation that can be passed by, what has to be brought along for it. */
function markersOf(model: Model, type: string): ReadonlyMap<Relation, Relation> {
  const relations = [...model.types.values()].flatMap((byName) => [...byName.values()])
  const uses = new Map<Relation, number>()
  const use = (relation: Relation | undefined): void => {
    if (relation !== undefined) uses.set(relation, (uses.get(relation) ?? 0) + 1)
  }
  for (const { rewrite, restrictions } of relations) {
    for (const { leaf } of leavesOf(rewrite)) {
      if (leaf.kind === 'computed') use(leaf.relation)
      if (leaf.kind === 'ttu') for (const target of leaf.targets.values()) use(target)
    }
    for (const { type: of, relation } of restrictions)
      if (relation !== undefined) use(model.types.get(of)?.get(relation))
  }
  return new Map(
    relations.flatMap((relation): [Relation, Relation][] => {
      const { rewrite } = relation
      if (rewrite.kind !== 'exclusion' || rewrite.subtract.kind !== 'computed') return []
      const marker = rewrite.subtract.relation
      return uses.get(marker) === 1 && isBroughtBy(marker, type) ? [[relation, marker]] : []
    }),
  )
}

const isBroughtBy = ({ rewrite, restrictions, isTupleset }: Relation, type: string): boolean =>
  rewrite.kind === 'this' &&
  !isTupleset &&
  restrictions.length === 1 &&
  restrictions.every(
    (one) =>
      one.type === type && one.relation === undefined && one.wildcard === undefined && one.condition === '',
  )
