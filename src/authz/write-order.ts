import type { Model, Relation, Rewrite } from '@remit/engine'
import { type Tuple, type TupleKey, tupleId } from './fga.ts'

/** Tuples to write and to delete together. */
export interface Change {
  readonly writes: readonly Tuple[]
  readonly deletes: readonly TupleKey[]
}

/** What a tuple of a relation can do to what somebody reads, by the model's rules. */
export interface Polarity {
  grants(tuple: TupleKey): boolean
  restricts(tuple: TupleKey): boolean
  /**
   * Whether everybody may come to read by such a tuple, were `user:*` its user. Of `a and b and c` a alone
   * opens: without it nobody is let in, and `user:*` on b or c only means that those keep nobody out.
   */
  opens(tuple: TupleKey): boolean
}

type Side = 'grants' | 'restricts'
/**
 * `gives`: under no `but not`; `undoes`: under a second one, by which it takes a restriction away. `grants`
 * is both.
 */
type Depth = 'gives' | 'restricts' | 'undoes'
type Sides = Readonly<Record<Side | Depth, ReadonlySet<Relation>>>

/**
 * What these relations rest on, on either side of each `but not`; `direct`: by tuples of its own. `opening`:
 * of an `and` that gives only the first side, without which it gives to nobody.
 */
export function sidesOf(
  model: Model,
  roots: readonly (Relation | undefined)[],
  { opening = false } = {},
): { readonly seen: Sides; readonly direct: Sides } {
  const noRelations = () => ({
    gives: new Set<Relation>(),
    restricts: new Set<Relation>(),
    undoes: new Set<Relation>(),
  })
  const visited = noRelations()
  // Whose own tuples count on that side: those of `[user] but not …` give, those of `… but not [user]` take.
  const direct = noRelations()
  const beyond = (depth: Depth): Depth => (depth === 'restricts' ? 'undoes' : 'restricts')

  function visit(relation: Relation | undefined, depth: Depth): void {
    if (relation === undefined || visited[depth].has(relation)) return
    visited[depth].add(relation)
    read(relation.rewrite, relation, depth)
  }

  function read(rewrite: Rewrite, owner: Relation, depth: Depth): void {
    switch (rewrite.kind) {
      case 'this':
        direct[depth].add(owner)
        for (const { type, relation: name } of owner.restrictions)
          if (name !== undefined) visit(model.types.get(type)?.get(name), depth)
        return
      case 'computed':
        return visit(rewrite.relation, depth)
      case 'ttu': {
        const tupleset = model.types.get(owner.type)?.get(rewrite.tupleset)
        visit(tupleset, depth)
        // Other types may have such a relation, too: no tuple leads there.
        for (const { type } of tupleset?.restrictions ?? []) visit(rewrite.targets.get(type), depth)
        return
      }
      case 'exclusion':
        read(rewrite.base, owner, depth)
        read(rewrite.subtract, owner, beyond(depth))
        return
      case 'union':
        for (const child of rewrite.children) read(child, owner, depth)
        return
      case 'intersection':
        for (const child of opening && depth === 'gives' ? rewrite.children.slice(0, 1) : rewrite.children)
          read(child, owner, depth)
    }
  }

  for (const root of roots) visit(root, 'gives')
  const withGrants = (depths: typeof visited): Sides => ({
    ...depths,
    grants: new Set([...depths.gives, ...depths.undoes]),
  })
  return { seen: withGrants(visited), direct: withGrants(direct) }
}

/** The relations whose own tuples let somebody read, and those whose keep somebody from it. */
export const readingOf = (model: Model, options?: { readonly opening: boolean }): Sides =>
  sidesOf(
    model,
    ['can_read', 'can_be_told', 'can_read_delegated'].map((name) => model.types.get('document')?.get(name)),
    options,
  ).direct

/**
 * Relations whose tuples may let somebody read, and those whose tuples may keep somebody from it. One that a
 * model does not know may do both; one that leads to no reading at all grants something else, such as the
 * right to write.
 */
export function polarityOf(model: Model): Polarity {
  const direct = readingOf(model)
  const opening = readingOf(model, { opening: true })
  const relationOf = ({ object, relation }: TupleKey): Relation | undefined =>
    model.types.get(object.slice(0, object.indexOf(':')))?.get(relation)
  const grants = (relation: Relation | undefined): boolean =>
    relation === undefined || direct.grants.has(relation) || !direct.restricts.has(relation)
  return {
    grants: (tuple) => grants(relationOf(tuple)),
    opens(tuple) {
      const relation = relationOf(tuple)
      const givesBeside =
        relation !== undefined && direct.grants.has(relation) && !opening.grants.has(relation)
      return grants(relation) && !givesBeside
    },
    restricts(tuple) {
      const relation = relationOf(tuple)
      return relation === undefined || direct.restricts.has(relation)
    },
  }
}

/**
 * The Writes of a change that does not fit one, each of at most `max` tuples. First what only takes away:
 * nobody reads more than before. Then, at once, all that may do both: from here on nobody reads more than
 * after. Last what only gives. A crash between any two leaves a subset of before or of after. `isSafe`: what
 * may do both fits one Write; if not, it goes in pages, deletes first, and the caller has to see to it that
 * nobody is answered meanwhile.
 */
export function stepsOf(
  { writes, deletes }: Change,
  { grants, restricts }: Polarity,
  max: number,
): { readonly steps: readonly Change[]; readonly isSafe: boolean } {
  const isBoth = (tuple: TupleKey): boolean => grants(tuple) && restricts(tuple)
  const givesOnly = (tuple: TupleKey): boolean => !restricts(tuple)
  const takesOnly = (tuple: TupleKey): boolean => !grants(tuple)
  // One Write cannot delete and write the same key: of another end the new one comes last.
  const deletedIds = new Set(deletes.map(tupleId))
  const changes = (tuple: Tuple): boolean => deletedIds.has(tupleId(tuple))
  const middle = {
    writes: writes.filter((tuple) => isBoth(tuple) && !changes(tuple)),
    deletes: deletes.filter(isBoth),
  }
  const isSafe =
    middle.writes.length + middle.deletes.length <= max &&
    !writes.some((tuple) => restricts(tuple) && changes(tuple))
  return {
    isSafe,
    steps: [
      ...pages(
        {
          writes: writes.filter((tuple) => takesOnly(tuple) && !changes(tuple)),
          deletes: deletes.filter(givesOnly),
        },
        max,
      ),
      ...pages(middle, max),
      ...pages(
        {
          writes: writes.filter((tuple) => givesOnly(tuple) || changes(tuple)),
          deletes: deletes.filter(takesOnly),
        },
        max,
      ),
    ],
  }
}

/** Deletes first; the last of them with the first writes. */
function pages({ writes, deletes }: Change, max: number): Change[] {
  const result: Change[] = []
  const total = writes.length + deletes.length
  for (let offset = 0; offset < total; offset += max) {
    const sliceEnd = offset + max
    const written = (count: number): number => Math.max(0, count - deletes.length)
    result.push({
      deletes: deletes.slice(offset, sliceEnd),
      writes: writes.slice(written(offset), written(sliceEnd)),
    })
  }
  return result
}

/** Whether all of it can be one Write of at most `max` tuples. */
export function fitsOne({ writes, deletes }: Change, max: number): boolean {
  if (writes.length + deletes.length > max) return false
  const deletedIds = new Set(deletes.map(tupleId))
  return !writes.some((tuple) => deletedIds.has(tupleId(tuple)))
}
