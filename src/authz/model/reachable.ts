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
  for (let before = -1; had.size > before; ) {
    before = had.size
    for (const relation of relations) if (holds(relation.rewrite, relation)) had.add(relation.key)
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
