import { getOrInsert } from '../core/get-or-insert.ts'
import type { Model, Relation, Rewrite } from '../core/model.ts'
import { leavesOf } from '../core/rule.ts'
import type { Session } from '../core/session.ts'
import type { Node, TupleKey } from '../core/tuples.ts'
import type { CheckPart } from './decompose-check.ts'

/** Takes apart that the subject does not have a relation. */
export type DecomposeNo = (relation: Relation, node: Node) => readonly CheckPart[]

const none: ReadonlyMap<Relation, Relation> = new Map()
// OpenFGA takes a hundred tuples with a check, and the question brings its own.
const broughtMax = 20

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
export function createDecomposeNo(model: Model, session: Session): DecomposeNo {
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
    const seen = new Set<string>()
    const visit = (relation: Relation, node: Node): void => {
      const key = `${relation.key} ${node.id}`
      if (seen.has(key)) return
      seen.add(key)
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

const markersByModel = new WeakMap<Model, Map<string, ReadonlyMap<Relation, Relation>>>()

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
