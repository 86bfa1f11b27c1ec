import { type Fga, type Tuple, type TupleKey, tupleId } from '../authz/fga.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import type { IngestContext } from './deps.ts'
import { anew, type Hold } from './hold.ts'
import { readTags, toTuple, unmark } from './tags.ts'

export interface Settled {
  readonly added: readonly Tuple[]
  readonly removed: readonly TupleKey[]
}

// Tuples that our tags speak for. Writers, taggers, lendings and grants on the same objects are others'.
const managed: Readonly<Record<string, ReadonlySet<string>>> = {
  document: new Set(['filed_in', 'owner', 'parent', 'viewer', 'blocked', 'sensitive']),
  folder: new Set(['filed_in', 'parent', 'viewer', 'sensitive']),
  collection: new Set(['viewer', 'sensitive']),
}

/**
 * Makes OpenFGA hold exactly the tags of `object`, and takes its unsettled mark away. May run twice. The caller holds the
 * object and is not inside a transaction: the embedded engine writes to the same single-session database.
 */
export function settleObject(
  { database, fga }: Pick<IngestContext, 'database' | 'fga'>,
  hold: Hold,
  object: FgaObject,
): Promise<Settled> {
  return anew(async () => {
    const [mark] = await database.query<{ purge: boolean; number: number }>(
      'select purge, number from unsettled where object = $1',
      [object],
    )
    const tags = (await readTags(database, [object])).get(object) ?? []
    const wanted = tags.map((tag) => toTuple(object, tag))
    const settled = await differenceOf(fga, object, wanted, mark?.purge ?? false)
    await hold.write({ deletes: settled.removed, writes: settled.added })
    if (mark !== undefined) await hold.transaction((sql) => unmark(sql, [{ object, number: mark.number }]))
    return settled
  })
}

async function differenceOf(
  fga: Pick<Fga, 'read'>,
  object: FgaObject,
  wanted: readonly Tuple[],
  purge: boolean,
): Promise<Settled> {
  const ours = managed[splitObject(object).type]
  const wantedById = new Map(wanted.map((tuple) => [tupleId(tuple), tuple]))
  const present = new Map<string, Tuple>()
  for await (const tuple of fga.read({ object })) present.set(tupleId(tuple), tuple)
  const removed: TupleKey[] = []
  for (const [id, { user, relation, condition }] of present) {
    const target = wantedById.get(id)
    if (target !== undefined && sameEnd(target.condition, condition)) continue
    if (target === undefined && !purge && ours?.has(relation) !== true) continue
    removed.push({ user, relation, object })
  }
  const gone = new Set(removed.map(tupleId))
  const added = wanted.filter((tuple) => !present.has(tupleId(tuple)) || gone.has(tupleId(tuple)))
  return { added, removed }
}

export function sameEnd(one: Tuple['condition'], other: Tuple['condition']): boolean {
  if (one === undefined || other === undefined) return one === other
  return (
    one.name === other.name && Date.parse(one.context.expires_at) === Date.parse(other.context.expires_at)
  )
}
