import type { Model, Relation, Rewrite } from '@remit/engine'
import { requestOnlyKeys } from '../allow-list/reserved.ts'

/** Whether a relation rests, by whatever rule, on tuples that only come with an agent's request. */
export function restsOnRequest(model: Model, target: Relation): boolean {
  const found = new Set<Relation>([target])
  // What is added while it is gone through is gone through as well.
  for (const relation of found) {
    if (requestOnlyKeys.has(relation.key)) return true
    for (const leading of leadingTo(model, relation.rewrite, relation)) found.add(leading)
  }
  return false
}

function leadingTo(model: Model, rule: Rewrite, relation: Relation): readonly Relation[] {
  switch (rule.kind) {
    case 'this':
      return relation.restrictions.flatMap(({ type, relation: userset }) => {
        const target = model.types.get(type)?.get(userset ?? '')
        return target === undefined ? [] : [target]
      })
    case 'computed':
      return [rule.relation]
    case 'ttu': {
      const types = model.types
        .get(relation.type)
        ?.get(rule.tupleset)
        ?.restrictions.map(({ type }) => type)
      return (types ?? []).flatMap((type) => rule.targets.get(type) ?? [])
    }
    case 'union':
    case 'intersection':
      return rule.children.flatMap((child) => leadingTo(model, child, relation))
    case 'exclusion':
      return [rule.base, rule.subtract].flatMap((operand) => leadingTo(model, operand, relation))
  }
}
