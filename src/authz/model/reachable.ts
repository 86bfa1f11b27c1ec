import type { Model, Relation, Rewrite } from '@remit/engine'
import { requestOnlyKeys } from '../allow-list/reserved.ts'

type Restriction = Relation['restrictions'][number]

/** Which tuples there may be. */
export interface Possible {
  /** A tuple of the relation with such a subject: a person, everybody, or a userset. */
  stored(relation: Relation, of: Restriction): boolean
  /**
   * A tuple that links an object of this type by its relation to another. Left out: objects may be linked in
   * any way.
   */
  linked?(type: string, tupleset: string, to: string): boolean
}

/**
 * Relations that a person can have by request-only tuples and by those there may be. What is excluded is left
 * out: a superset.
 */
export function reachable(model: Model, possible: Possible): ReadonlySet<string> {
  const had = new Set<string>()
  const relations = [...model.types.values()].flatMap((typeRelations) => [...typeRelations.values()])
  const reads = relations.flatMap((relation) => readBy(relation).map((key) => ({ key, relation })))
  const readers = Map.groupBy(reads, ({ key }) => key)
  // Each is asked again only when something that it reads was added: in passes over all, a long chain would
  // be quadratic.
  const pending = [...relations]
  for (let relation = pending.pop(); relation !== undefined; relation = pending.pop()) {
    if (had.has(relation.key) || !holds(relation.rewrite, relation)) continue
    had.add(relation.key)
    pending.push(...(readers.get(relation.key) ?? []).map((reader) => reader.relation))
  }
  return had

  function holds(rewrite: Rewrite, relation: Relation): boolean {
    switch (rewrite.kind) {
      case 'this':
        return (
          requestOnlyKeys.has(relation.key) ||
          relation.restrictions.some((restriction) => isAssigned(relation, restriction))
        )
      case 'computed':
        return had.has(rewrite.relation.key)
      case 'ttu': {
        const { tupleset, targets } = rewrite
        const parents = model.types.get(relation.type)?.get(tupleset)?.restrictions ?? []
        return parents.some(
          ({ type }) =>
            had.has(targets.get(type)?.key ?? '') &&
            possible.linked?.(relation.type, tupleset, type) !== false,
        )
      }
      case 'union':
        return rewrite.children.some((child) => holds(child, relation))
      case 'intersection':
        return rewrite.children.every((child) => holds(child, relation))
      case 'exclusion':
        return holds(rewrite.base, relation)
    }
  }

  function isAssigned(relation: Relation, restriction: Restriction): boolean {
    const isOfSomebody =
      restriction.relation === undefined
        ? restriction.type === 'user'
        : had.has(`${restriction.type}#${restriction.relation}`)
    return isOfSomebody && possible.stored(relation, restriction)
  }
}

/** The keys that {@link reachable} asks for to decide this one. */
const readBy = ({ rewrite, restrictions }: Relation): readonly string[] =>
  [...leavesOf(rewrite)].flatMap((leaf) => {
    if (leaf.kind === 'computed') return leaf.relation.key
    return leaf.kind === 'ttu'
      ? [...leaf.targets.values()].map(({ key }) => key)
      : restrictions.map(({ type, relation }) => `${type}#${relation ?? ''}`)
  })

type Leaf = Extract<Rewrite, { readonly kind: 'this' | 'computed' | 'ttu' }>

/** What a rule is put together of; `subtracted`: also what it takes away. */
export function* leavesOf(rewrite: Rewrite, { subtracted = false } = {}): Generator<Leaf> {
  if (rewrite.kind === 'exclusion') {
    yield* leavesOf(rewrite.base, { subtracted })
    if (subtracted) yield* leavesOf(rewrite.subtract, { subtracted })
  } else if ('children' in rewrite)
    for (const child of rewrite.children) yield* leavesOf(child, { subtracted })
  else yield rewrite
}
