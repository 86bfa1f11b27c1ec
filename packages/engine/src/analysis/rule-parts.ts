import { getOrInsert } from '../core/get-or-insert.ts'
import { groupBy } from '../core/group-by.ts'
import type { Model, Relation, Rewrite } from '../core/model.ts'

/**
 * A relation's rule as parts that each read one kind of tuple on the object itself, a bit for each part. What
 * a tuple meets of it follows from the tuple's relation and user alone, so that it is found once for all
 * objects with such a tuple.
 */
export interface RuleParts {
  /** Names of the relations of the object's type whose tuples count. */
  readonly relations: ReadonlySet<string>
  /** The parts that read tuples on this relation. */
  readonly reading: (relation: string) => readonly RulePart[]
  /** Whether the relation stands where these parts are met, and no others. */
  standsWith(met: number): boolean
}

/** One part of a rule that tuples can meet by themselves, as a bit of a set. */
export interface RulePart {
  readonly bit: number
  /** Whose tuples it reads. */
  readonly relation: Relation
  /** For `x from relation`: x, by the type of the parent. undefined: the tuples themselves assign. */
  readonly targets: ReadonlyMap<string, Relation> | undefined
  /** It stands under a `but not`, where it takes away. What stands on both sides of one is two parts. */
  readonly takesAway: boolean
}

/** Bits of a number that can be set one by one. */
const partsMax = 31

/** undefined: it has too many parts for that. */
export function rulePartsOf(model: Model, target: Relation): RuleParts | undefined {
  const rulePartsByKey = collectParts(model, target)
  if (rulePartsByKey.size > partsMax) return undefined
  const reading = groupBy(rulePartsByKey.values(), ({ relation }) => relation.name)
  const cachedStandings = new Map<number, boolean>()

  function stands(partsMet: number): boolean {
    // A relation that comes up again on the way to itself adds nothing.
    const openSides = new Set<string>()
    function has(relation: Relation, takesAway: boolean): boolean {
      const sideId = sideKey(relation.name, takesAway)
      if (openSides.has(sideId)) return false
      openSides.add(sideId)
      const found = isMet(relation.rewrite, relation, takesAway)
      openSides.delete(sideId)
      return found
    }
    function isMet(rule: Rewrite, owner: Relation, takesAway: boolean): boolean {
      switch (rule.kind) {
        case 'this':
        case 'ttu':
          return (partsMet & (rulePartsByKey.get(partKey(rule, owner, takesAway))?.bit ?? 0)) !== 0
        case 'computed':
          return has(rule.relation, takesAway)
        case 'union':
          return rule.children.some((child) => isMet(child, owner, takesAway))
        case 'intersection':
          return rule.children.every((child) => isMet(child, owner, takesAway))
        case 'exclusion':
          return isMet(rule.base, owner, takesAway) && !isMet(rule.subtract, owner, !takesAway)
      }
    }
    return has(target, false)
  }

  return {
    relations: new Set(reading.keys()),
    reading: (relation) => reading.get(relation) ?? [],
    standsWith: (partsMet) => getOrInsert(cachedStandings, partsMet, () => stands(partsMet)),
  }
}

const sideKey = (text: string, takesAway: boolean): string => `${takesAway ? '-' : '+'}${text}`

const partKey = (rule: Rewrite & { kind: 'this' | 'ttu' }, { name }: Relation, takesAway: boolean): string =>
  sideKey(rule.kind === 'this' ? name : `${rule.computed} from ${rule.tupleset}`, takesAway)

function collectParts({ types }: Model, target: Relation): ReadonlyMap<string, RulePart> {
  const collected = new Map<string, RulePart>()
  const visitedSides = new Map([[sideKey(target.name, false), { relation: target, takesAway: false }]])
  function collect(rule: Rewrite, owner: Relation, takesAway: boolean): void {
    switch (rule.kind) {
      case 'this':
      case 'ttu': {
        const relation = rule.kind === 'this' ? owner : types.get(target.type)?.get(rule.tupleset)
        const key = partKey(rule, owner, takesAway)
        if (relation === undefined || collected.has(key)) return
        const targets = rule.kind === 'ttu' ? rule.targets : undefined
        collected.set(key, { bit: 1 << collected.size, relation, targets, takesAway })
        return
      }
      case 'computed': {
        const sideId = sideKey(rule.relation.name, takesAway)
        if (!visitedSides.has(sideId)) visitedSides.set(sideId, { relation: rule.relation, takesAway })
        return
      }
      case 'union':
      case 'intersection':
        for (const child of rule.children) collect(child, owner, takesAway)
        return
      case 'exclusion':
        collect(rule.base, owner, takesAway)
        collect(rule.subtract, owner, !takesAway)
    }
  }
  for (const { relation, takesAway } of visitedSides.values()) collect(relation.rewrite, relation, takesAway)
  return collected
}
