import type { Model, Relation, Rewrite } from '@remit/engine'
import { requestOnlyKeys } from '../allow-list/reserved.ts'

type Restriction = Relation['restrictions'][number]

/** Which tuples there may be. */
export interface Possible {
  /** A tuple of the relation with such a subject: a person, everybody, or a userset. */
  stored(relation: Relation, of: Restriction): boolean
  /** A tuple that links an object of this type by its relation to another. Left out: objects may be linked in any way. */
  linked?(type: string, tupleset: string, to: string): boolean
}

/** Relations that a person can have by request-only tuples and by those there may be. What is excluded is left out: a superset. */
export function reachable(model: Model, possible: Possible): ReadonlySet<string> {
  const had = new Set<string>()
  const relations = [...model.types.values()].flatMap((of) => [...of.values()])
  const readers = new Map<string, Relation[]>()
  for (const relation of relations)
    for (const key of readBy(relation.rewrite, relation)) {
      const known = readers.get(key)
      if (known === undefined) readers.set(key, [relation])
      else known.push(relation)
    }
  // Each is asked again only when something that it reads was added: in passes over all, a long chain would be quadratic.
  const asked = [...relations]
  for (let next = asked.pop(); next !== undefined; next = asked.pop()) {
    if (had.has(next.key) || !holds(next.rewrite, next)) continue
    had.add(next.key)
    asked.push(...(readers.get(next.key) ?? []))
  }
  return had

  function holds(rewrite: Rewrite, relation: Relation): boolean {
    switch (rewrite.kind) {
      case 'this':
        return (
          requestOnlyKeys.has(relation.key) || relation.restrictions.some((of) => isAssigned(relation, of))
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

  function isAssigned(relation: Relation, of: Restriction): boolean {
    const isOfSomebody = of.relation === undefined ? of.type === 'user' : had.has(`${of.type}#${of.relation}`)
    return isOfSomebody && possible.stored(relation, of)
  }
}

/** The keys that {@link reachable} asks for to decide this one. */
function readBy(rewrite: Rewrite, of: Relation): readonly string[] {
  switch (rewrite.kind) {
    case 'this':
      return of.restrictions.map(({ type, relation }) => `${type}#${relation ?? ''}`)
    case 'computed':
      return [rewrite.relation.key]
    case 'ttu':
      return [...rewrite.targets.values()].map((target) => target.key)
    case 'exclusion':
      return readBy(rewrite.base, of)
    default:
      return rewrite.children.flatMap((child) => readBy(child, of))
  }
}
