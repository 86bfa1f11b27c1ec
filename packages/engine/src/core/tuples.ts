import type { JsonObject } from './condition-values.ts'
import { getOrInsert } from './get-or-insert.ts'
import { isTypedWildcard, splitUser, typeOf } from './names.ts'
import { isUlid, ulidFloor, ulidTime } from './ulid.ts'

/** The condition of a tuple, with its stored context. */
export interface TupleCondition {
  readonly name: string
  readonly context: JsonObject
}

/** A tuple as the API writes it. */
export interface TupleKey {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly condition?: TupleCondition | undefined
}

/**
 * One object or subject of the graph, shared by all tuples that name it, so that walking from tuple to tuple
 * compares references and hashes no strings. `type:*` is a node too.
 */
export interface Node {
  readonly name: string
  readonly type: string
  readonly wildcard: boolean
  /**
   * Counts up from 0 per store, never reused: half of a memo key. Nodes of one request only count down from
   * -1.
   */
  readonly id: number
  /**
   * Tuples whose object this is ({@link tuplesOn}): the first of a chain while they are few, by relation once
   * they are many.
   */
  out: Tuple | Map<string, Bucket> | undefined
  /**
   * Tuples whose user this is (also as the object of a userset), in no order: on objects that stand, and on
   * those apart.
   */
  in: Set<Tuple>
  aside: Set<Tuple>
  /** See {@link TupleStore.setApart}. */
  apart: boolean
}

/** A stored tuple, its user and object resolved to nodes. */
export class Tuple {
  readonly object: Node
  readonly relation: string
  readonly user: Node
  /** Set for a userset: `group:eng#member`. */
  readonly userRelation: string
  readonly condition: TupleCondition | undefined
  // A ULID, or its time alone: a text of its own weighs half as much as the tuple.
  readonly #written: string | number
  /** For the store that holds it: where it stands in its log, and the tuple after it on the same object. */
  place = -1
  next: Tuple | undefined = undefined

  constructor(
    object: Node,
    relation: string,
    user: Node,
    userRelation: string,
    condition: TupleCondition | undefined,
    written: string | number = '',
  ) {
    this.object = object
    this.relation = relation
    this.user = user
    this.userRelation = userRelation
    this.condition = condition
    this.#written = written
  }

  /** When and in which order it was written; empty for contextual tuples. */
  get ulid(): string {
    return typeof this.#written === 'number' ? ulidFloor(this.#written) : this.#written
  }

  /** Milliseconds since the epoch; undefined where it was not stored, or under no ULID. */
  get writtenAt(): number | undefined {
    if (typeof this.#written === 'number') return this.#written
    return isUlid(this.#written) ? ulidTime(this.#written) : undefined
  }
}

/** The tuples on one object and relation: a check needs all its usersets, but of its plain users only one. */
export interface Bucket {
  concrete: Tuple[]
  /** Usersets and typed wildcards. */
  usersets: Tuple[]
  /** By user, once `concrete` is large. */
  index: Map<Node, Tuple> | undefined
}

/** Tuples as questions read them: a store, or a store with changes laid over it (`overlayTuples`). */
export interface TupleView {
  readonly size: number
  node(name: string): Node | undefined
  get(key: TupleKey): Tuple | undefined
  /** The tuples on an object and relation. */
  at(object: Node, relation: string): Bucket | undefined
  /** The tuples whose user this is (also as the object of a userset), in no order. */
  into(user: Node): Iterable<Tuple>
  /** All tuples after this ULID ('' = from the start) in the order they were written. */
  after(ulid: string): Iterable<Tuple>
}

/** Tuples up to this number are searched through; more get an index. */
export const few = 16

/** All tuples whose object this is, in no order. */
export function tuplesOn({ out }: Node): readonly Tuple[] {
  if (out instanceof Map)
    return [...out.values()].flatMap(({ concrete, usersets }) => [...concrete, ...usersets])
  const found: Tuple[] = []
  for (let tuple = out; tuple !== undefined; tuple = tuple.next) found.push(tuple)
  return found
}

/** The tuples on an object and relation. */
export function bucketOf({ out }: Node, relation: string): Bucket | undefined {
  if (out instanceof Map) return out.get(relation)
  let bucket: Bucket | undefined
  for (let tuple = out; tuple !== undefined; tuple = tuple.next) {
    if (tuple.relation !== relation) continue
    bucket ??= newBucket()
    putIn(bucket, tuple)
  }
  return bucket
}

/** The tuple from this user in a bucket, if there. */
export function findIn(
  bucket: Bucket | undefined,
  user: Node | undefined,
  userRelation: string,
): Tuple | undefined {
  if (bucket === undefined || user === undefined) return undefined
  if (userRelation !== '' || user.wildcard)
    return bucket.usersets.find((tuple) => tuple.user === user && tuple.userRelation === userRelation)
  if (bucket.concrete.length <= few) return bucket.concrete.find((tuple) => tuple.user === user)
  bucket.index ??= new Map(bucket.concrete.map((tuple) => [tuple.user, tuple]))
  return bucket.index.get(user)
}

/** The user of a tuple as the API writes it, its relation included. */
export const userOf = (tuple: Tuple): string =>
  tuple.userRelation === '' ? tuple.user.name : `${tuple.user.name}#${tuple.userRelation}`

/** A tuple as the API writes it. */
export const keyOf = (tuple: Tuple): TupleKey => ({
  user: userOf(tuple),
  relation: tuple.relation,
  object: tuple.object.name,
  condition: tuple.condition,
})

/**
 * For a node that is nobody's subject. Most objects are, and most buckets hold one tuple: at a million of
 * them, what is empty or has room to grow weighs as much as what is there. Shared, and never written to.
 */
export const noSet = new Set<Tuple>()

/** A node of the graph of tuples; the caller vouches that the id is free. */
export const makeNode = (name: string, id: number, type = typeOf(name)): Node => ({
  name,
  type,
  wildcard: isTypedWildcard(name),
  id,
  out: undefined,
  in: noSet,
  aside: noSet,
  apart: false,
})

/** The tuple of a key that no store holds, on nodes that are found or made by their names. */
export function tupleOf(key: TupleKey, nodeOf: (name: string) => Node): Tuple {
  const object = nodeOf(key.object)
  const user = splitUser(key.user)
  return new Tuple(object, key.relation, nodeOf(user.object), user.relation, key.condition)
}

/**
 * Nodes by name: those of a store, and, for names that it lacks, others whose ids count down from `firstId`.
 */
export function nodesBeside(store: Pick<TupleView, 'node'>, firstId: number) {
  const addedNodes = new Map<string, Node>()
  return {
    find: (name: string): Node | undefined => store.node(name) ?? addedNodes.get(name),
    findOrMake: (name: string): Node =>
      store.node(name) ?? getOrInsert(addedNodes, name, () => makeNode(name, firstId - addedNodes.size)),
  }
}

/** Whether the tuple's user is one user, neither a userset nor a wildcard. */
export const isConcrete = (tuple: Tuple): boolean => tuple.userRelation === '' && !tuple.user.wildcard

/** The part of a bucket that such a tuple stands in. */
export const partOf = (bucket: Bucket, tuple: Tuple): Tuple[] =>
  isConcrete(tuple) ? bucket.concrete : bucket.usersets

// Shared by all buckets that lack one of their parts, and never written to: see `noSet`.
const noTuples: Tuple[] = []
Object.freeze(noTuples)

/** For {@link putIn} alone. */
export const newBucket = (): Bucket => ({ concrete: noTuples, usersets: noTuples, index: undefined })

/** Adds a tuple to a bucket. */
export function putIn(bucket: Bucket, tuple: Tuple): void {
  const isOne = isConcrete(tuple)
  const bucketPart = isOne ? bucket.concrete : bucket.usersets
  // A list of exactly one, where pushing to an empty one would make room for seventeen.
  if (bucketPart !== noTuples) bucketPart.push(tuple)
  else if (isOne) bucket.concrete = [tuple]
  else bucket.usersets = [tuple]
  if (isOne) bucket.index?.set(tuple.user, tuple)
}
