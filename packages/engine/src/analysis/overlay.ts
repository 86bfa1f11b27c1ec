import { isDeepStrictEqual } from 'node:util'
import { getOrInsert } from '../core/get-or-insert.ts'
import {
  type Bucket,
  type Node,
  nodesBeside,
  partOf,
  type Tuple,
  type TupleKey,
  type TupleView,
  tupleOf,
} from '../core/tuples.ts'

/** Tuples to add to a store and to take from it, without changing it. */
export interface TupleChange {
  readonly writes?: readonly TupleKey[]
  readonly deletes?: readonly TupleKey[]
}

// Below those of a request's own nodes, which count down from -1, and never those of a store.
const firstId = -1_000_000_000

/**
 * The tuples as they would be after a change: deletes first, then writes, of which one with the key of a
 * stored tuple takes its place. Copies only the lists that the change touches. Holds for the state of the
 * store in which it is made: make it anew once that has changed, and lay none over another. What does not fit
 * a model is for `checkTuple` to say.
 */
export function overlayTuples(base: TupleView, { writes = [], deletes = [] }: TupleChange): TupleView {
  const { find, findOrMake } = nodesBeside(base, firstId)
  const removed = new Set<Tuple>()
  const added = new Map<string, Tuple>()
  const buckets = new Map<Node, Map<string, Bucket>>()
  const incoming = new Map<Node, Tuple[]>()

  function touch({ object, relation, user }: Tuple): Bucket {
    const relations = getOrInsert(buckets, object, () => new Map<string, Bucket>())
    const bucket = getOrInsert(relations, relation, () => {
      const { concrete = [], usersets = [] } = base.at(object, relation) ?? {}
      return { concrete: [...concrete], usersets: [...usersets], index: undefined }
    })
    if (!incoming.has(user)) incoming.set(user, [])
    return bucket
  }

  function take(tuple: Tuple): void {
    const bucketPart = partOf(touch(tuple), tuple)
    bucketPart.splice(bucketPart.indexOf(tuple), 1)
    removed.add(tuple)
  }

  function putTuple(key: TupleKey): void {
    const tuple = tupleOf(key, findOrMake)
    partOf(touch(tuple), tuple).push(tuple)
    incoming.get(tuple.user)?.push(tuple)
    added.set(nameOf(key), tuple)
  }

  for (const key of deletes) {
    const stored = base.get(key)
    if (stored !== undefined && !removed.has(stored)) take(stored)
  }
  // The last of several with one key counts.
  for (const key of new Map(writes.map((write) => [nameOf(write), write])).values()) {
    const stored = base.get(key)
    if (stored === undefined || removed.has(stored)) putTuple(key)
    else if (!isDeepStrictEqual(stored.condition, key.condition)) {
      take(stored)
      putTuple(key)
    }
  }

  function* into(user: Node): Iterable<Tuple> {
    for (const tuple of base.into(user)) if (!removed.has(tuple)) yield tuple
    yield* incoming.get(user) ?? []
  }

  return {
    size: base.size - removed.size + added.size,
    node: find,
    get(key) {
      const stored = base.get(key)
      return added.get(nameOf(key)) ?? (stored && removed.has(stored) ? undefined : stored)
    },
    at: (object, relation) => buckets.get(object)?.get(relation) ?? base.at(object, relation),
    into: (user) => (incoming.has(user) ? into(user) : base.into(user)),
    *after(ulid) {
      for (const tuple of base.after(ulid)) if (!removed.has(tuple)) yield tuple
      if (ulid === '') yield* added.values()
    },
  }
}

const nameOf = ({ user, relation, object }: TupleKey): string => `${object}#${relation}@${user}`
