import { isDeepStrictEqual } from 'node:util'
import { splitUser } from '../core/names.ts'
import {
  type Bucket,
  isConcrete,
  makeNode,
  type Node,
  type Tuple,
  type TupleKey,
  type TupleView,
} from '../core/tuples.ts'

/** Tuples to add to a store and to take from it, without changing it. */
export interface TupleChange {
  readonly writes?: readonly TupleKey[]
  readonly deletes?: readonly TupleKey[]
}

// Below those of a request's own nodes, which count down from -1, and never those of a store.
const firstId = -1_000_000_000

/**
 * The tuples as they would be after a change: deletes first, then writes, of which one with the key of a stored tuple
 * takes its place. Copies only the lists that the change touches. Holds for the state of the store in which it is made:
 * make it anew once that has changed, and lay none over another. What does not fit a model is for `checkTuple` to say.
 */
export function overlayTuples(base: TupleView, { writes = [], deletes = [] }: TupleChange): TupleView {
  const addedNodes = new Map<string, Node>()
  const removed = new Set<Tuple>()
  const added = new Map<string, Tuple>()
  const buckets = new Map<Node, Map<string, Bucket>>()
  const incoming = new Map<Node, Tuple[]>()

  const find = (name: string): Node | undefined => base.node(name) ?? addedNodes.get(name)

  function intern(name: string): Node {
    const knownNode = find(name)
    if (knownNode !== undefined) return knownNode
    const newNode = makeNode(name, firstId - addedNodes.size)
    addedNodes.set(name, newNode)
    return newNode
  }

  function touch({ object, relation, user }: Tuple): Bucket {
    const relations = buckets.get(object) ?? new Map<string, Bucket>()
    buckets.set(object, relations)
    const baseBucket = base.at(object, relation)
    const bucket = relations.get(relation) ?? {
      concrete: [...(baseBucket?.concrete ?? [])],
      usersets: [...(baseBucket?.usersets ?? [])],
      index: undefined,
    }
    relations.set(relation, bucket)
    if (!incoming.has(user)) incoming.set(user, [])
    return bucket
  }

  function take(tuple: Tuple): void {
    const bucket = touch(tuple)
    const bucketPart = isConcrete(tuple) ? bucket.concrete : bucket.usersets
    bucketPart.splice(bucketPart.indexOf(tuple), 1)
    removed.add(tuple)
  }

  function putTuple(key: TupleKey): void {
    const user = splitUser(key.user)
    const tuple: Tuple = {
      object: intern(key.object),
      relation: key.relation,
      user: intern(user.object),
      userRelation: user.relation,
      condition: key.condition,
      ulid: '',
      place: -1,
    }
    const bucket = touch(tuple)
    if (isConcrete(tuple)) bucket.concrete.push(tuple)
    else bucket.usersets.push(tuple)
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
