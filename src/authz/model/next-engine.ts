import { findWeightedDifferences, type Model, type WeightedDifference } from '@remit/engine'

/**
 * How OpenFGA's coming engine would answer otherwise, and where that lies: `type#relation`, with the subject that is
 * concerned where it is not all of them, `document#viewer for user:*`.
 */
export interface EngineDifference {
  readonly rule: WeightedDifference['rule']
  readonly relations: readonly string[]
  /** Those of them where the model in force knows no such difference: what the change brings. */
  readonly newRelations: readonly string[]
  readonly detail: string
}

/** Those that concern what the service itself asks first: its subjects are people, never usersets or wildcards. */
const details: Readonly<Record<WeightedDifference['rule'], string>> = {
  'recursion-through-strangers':
    "Where parents may be of another type that has parents of its own, today's server walks on through those and GRANTS what no rule gives; the next one does not. Give that tupleset a name of its own.",
  'depth-limit-gone':
    'A chain longer than 25 steps gets an answer, where today it gets an error, which denies.',
  'recursion-under-exclusion':
    "Where stored tuples run in a circle behind 'but not', today's server denies; the next one does not see the circle.",
  'userset-under-exclusion':
    "Asked for a userset that the other side of 'but not' cannot hold, there is an error instead of an answer.",
  'wildcard-under-exclusion':
    "Asked for a wildcard, 'but not' gives an error instead of an answer. People whom a wildcard lets in are not concerned.",
  'userset-through-alias': 'Asked for a userset, a relation that follows from it on the same object says no.',
  'userset-through-parent':
    'Asked for a userset of a parent, a relation that comes from that parent says no.',
  'userset-through-itself': 'Asked for a group within a group that is stored here, the answer is no.',
  'self-userset':
    'An object with a relation, as the subject of that same relation, has it today and not then.',
}

/** One entry for each rule: what other clients of the same store may notice is part of it. */
export function nextEngineDifferences(model: Model, before: Model): readonly EngineDifference[] {
  const found = byRule(model)
  const known = byRule(before)
  return (Object.keys(details) as WeightedDifference['rule'][]).flatMap((rule) => {
    const relations = [...(found.get(rule) ?? [])]
    const newRelations = relations.filter((relation) => known.get(rule)?.has(relation) !== true)
    return relations.length === 0 ? [] : [{ rule, relations, newRelations, detail: details[rule] }]
  })
}

function byRule({ ast }: Model): ReadonlyMap<WeightedDifference['rule'], ReadonlySet<string>> {
  const rules = Map.groupBy(findWeightedDifferences(ast), ({ rule }) => rule)
  return new Map([...rules].map(([rule, of]) => [rule, new Set(of.map(placeOf))]))
}

const placeOf = ({ relation, subject }: WeightedDifference): string =>
  subject === undefined ? relation : `${relation} for ${subject}`
