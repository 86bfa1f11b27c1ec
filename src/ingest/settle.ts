import { type Fga, type Tuple, type TupleKey, tupleId } from '../authz/fga.ts'
import { type FgaObject, splitObject } from '../kernel/ids.ts'
import type { Database } from '../store/sql.ts'
import { readTags, toTuple } from './tags.ts'

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
 * Makes OpenFGA hold exactly the tags of `object`, removals first, and takes its unsettled mark away. May run
 * twice. The caller holds the object's lock and is not inside a transaction: the embedded engine writes to the
 * same single-session database.
 */
export async function settleObject(database: Database, fga: Fga, object: FgaObject): Promise<Settled> {
  const [mark] = await database.query<{ purge: boolean }>('select purge from unsettled where object = $1', [
    object,
  ])
  const tags = (await readTags(database, [object])).get(object) ?? []
  const settled = await settle(
    fga,
    object,
    tags.map((tag) => toTuple(object, tag)),
    mark?.purge ?? false,
  )
  if (mark !== undefined) await database.query('delete from unsettled where object = $1', [object])
  return settled
}

async function settle(
  fga: Fga,
  object: FgaObject,
  wanted: readonly Tuple[],
  purge: boolean,
): Promise<Settled> {
  const ours = managed[splitObject(object).type]
  const wantedById = new Map(wanted.map((tuple) => [tupleId(tuple), tuple]))
  const present = new Map<string, Tuple>()
  for await (const tuple of fga.read({ object })) present.set(tupleId(tuple), tuple)
  const removed: TupleKey[] = []
  let changes = false
  for (const [id, { user, relation, condition }] of present) {
    const target = wantedById.get(id)
    if (target !== undefined && sameEnd(target.condition, condition)) continue
    if (target === undefined && !purge && ours?.has(relation) !== true) continue
    changes ||= target !== undefined
    removed.push({ user, relation, object })
  }
  const gone = new Set(removed.map(tupleId))
  const added = wanted.filter((tuple) => !present.has(tupleId(tuple)) || gone.has(tupleId(tuple)))
  // A tuple's key leaves its condition out: one Write cannot delete and write the same key.
  if (changes) {
    await fga.write({ deletes: removed })
    await fga.write({ writes: added })
  } else {
    await fga.write({ deletes: removed, writes: added })
  }
  return { added, removed }
}

function sameEnd(one: Tuple['condition'], other: Tuple['condition']): boolean {
  if (one === undefined || other === undefined) return one === other
  return (
    one.name === other.name && Date.parse(one.context.expires_at) === Date.parse(other.context.expires_at)
  )
}
