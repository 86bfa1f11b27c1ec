import type { JsonObject } from './condition-values.ts'
import { isTypedWildcard, splitUser, typeOf } from './names.ts'

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
  /** Counts up from 0 per store, never reused: half of a memo key. Nodes of one request only count down from -1. */
  readonly id: number
  /** Tuples whose object this is, by relation. */
  readonly out: Map<string, Bucket>
  /** Tuples whose user this is (also as the object of a userset), in no order: on objects that stand, and on those apart. */
  in: Set<Tuple>
  aside: Set<Tuple>
  /** See {@link TupleStore.setApart}. */
  apart: boolean
}

/** A stored tuple, its user and object resolved to nodes. */
export interface Tuple {
  readonly object: Node
  readonly relation: string
  readonly user: Node
  /** Set for a userset: `group:eng#member`. */
  readonly userRelation: string
  readonly condition: TupleCondition | undefined
  /** When and in which order it was written; empty for contextual tuples. */
  readonly ulid: string
  /** For the store that holds it. */
  place: number
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

/** The tuples of one store, in memory, with every index that a check needs. */
export interface TupleStore extends TupleView {
  /** Grows with every tuple that comes or goes. */
  readonly revision: number
  /** Adds a tuple that is not there yet; throws if it is. ULIDs must arrive in growing order. */
  add(key: TupleKey, ulid: string): Tuple
  /** Removes a tuple and answers it; undefined if it was not there. */
  remove(key: TupleKey): Tuple | undefined
  /**
   * Whether `standing` passes this object by. Forgotten with its last tuple. Does nothing where no tuple names the
   * object.
   */
  setApart(name: string, apart: boolean): void
  /** The same tuples, in which walks from users to objects come to those only that are not set apart. */
  readonly standing: TupleView
}

/** Buckets up to this size are searched through; larger ones get an index by user. */
const smallBucket = 16

/** The tuple from this user in a bucket, if there. */
export function findIn(
  bucket: Bucket | undefined,
  user: Node | undefined,
  userRelation: string,
): Tuple | undefined {
  if (bucket === undefined || user === undefined) return undefined
  if (userRelation !== '' || user.wildcard)
    return bucket.usersets.find((tuple) => tuple.user === user && tuple.userRelation === userRelation)
  if (bucket.concrete.length <= smallBucket) return bucket.concrete.find((tuple) => tuple.user === user)
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

/** A node of the graph of tuples; the caller vouches that the id is free. */
export const makeNode = (name: string, id: number, type = typeOf(name)): Node => ({
  name,
  type,
  wildcard: isTypedWildcard(name),
  id,
  out: new Map(),
  in: noSet,
  aside: noSet,
  apart: false,
})

// Most objects are nobody's subject, and most buckets hold one tuple: at a million of them, what is empty or has room to
// grow weighs as much as what is there. Shared, and never written to.
const noSet = new Set<Tuple>()
const noTuples: Tuple[] = []
Object.freeze(noTuples)

/** Tuples in memory, indexed by object and relation, and by user. */
export function createTupleStore(): TupleStore {
  const nodes = new Map<string, Node>()
  // Types and relations: a few words, each of them once.
  const interned = new Map<string, string>()
  let log: (Tuple | undefined)[] = []
  let size = 0
  let revision = 0
  let nextId = 0

  function intern(name: string): Node {
    const cachedNode = nodes.get(name)
    if (cachedNode !== undefined) return cachedNode
    const node = makeNode(name, nextId++, internWord(typeOf(name)))
    nodes.set(name, node)
    return node
  }

  function internWord(name: string): string {
    const cachedName = interned.get(name)
    if (cachedName !== undefined) return cachedName
    interned.set(name, name)
    return name
  }

  function find(key: TupleKey): Tuple | undefined {
    const { object, relation } = splitUser(key.user)
    return findIn(nodes.get(key.object)?.out.get(key.relation), nodes.get(object), relation)
  }

  function add(key: TupleKey, ulid: string): Tuple {
    if (find(key) !== undefined) throw new Error('tuple exists')
    const user = splitUser(key.user)
    const tuple: Tuple = {
      object: intern(key.object),
      relation: internWord(key.relation),
      user: intern(user.object),
      userRelation: internWord(user.relation),
      condition: key.condition,
      ulid,
      place: log.length,
    }
    const bucket = tuple.object.out.get(tuple.relation) ?? {
      concrete: noTuples,
      usersets: noTuples,
      index: undefined,
    }
    tuple.object.out.set(tuple.relation, bucket)
    // A list of exactly one, where pushing to an empty one would make room for seventeen.
    if (partOf(bucket, tuple) !== noTuples) partOf(bucket, tuple).push(tuple)
    else if (isConcrete(tuple)) bucket.concrete = [tuple]
    else bucket.usersets = [tuple]
    if (isConcrete(tuple)) bucket.index?.set(tuple.user, tuple)
    enter(tuple)
    log.push(tuple)
    size += 1
    revision += 1
    return tuple
  }

  function remove(key: TupleKey): Tuple | undefined {
    const tuple = find(key)
    const bucket = tuple?.object.out.get(key.relation)
    if (tuple === undefined || bucket === undefined) return undefined
    const bucketPart = partOf(bucket, tuple)
    const lastTuple = bucketPart.pop()
    if (lastTuple !== undefined && lastTuple !== tuple) bucketPart[bucketPart.indexOf(tuple)] = lastTuple
    if (isConcrete(tuple)) bucket.index?.delete(tuple.user)
    if (bucket.concrete.length === 0 && bucket.usersets.length === 0) tuple.object.out.delete(tuple.relation)
    tuple.user.in.delete(tuple)
    tuple.user.aside.delete(tuple)
    forget(tuple.object)
    forget(tuple.user)
    log[tuple.place] = undefined
    size -= 1
    revision += 1
    if (log.length > 1024 && log.length > size * 2) compact()
    return tuple
  }

  function enter(tuple: Tuple): void {
    const userSide = tuple.object.apart ? 'aside' : 'in'
    if (tuple.user[userSide] === noSet) tuple.user[userSide] = new Set()
    tuple.user[userSide].add(tuple)
  }

  function setApart(name: string, apart: boolean): void {
    const node = nodes.get(name)
    if (node === undefined || node.apart === apart) return
    node.apart = apart
    for (const { concrete, usersets } of node.out.values()) {
      for (const tuple of [...concrete, ...usersets]) {
        const oldSide = apart ? 'in' : 'aside'
        tuple.user[oldSide].delete(tuple)
        if (tuple.user[oldSide].size === 0) tuple.user[oldSide] = noSet
        enter(tuple)
      }
    }
  }

  function forget(node: Node): void {
    if (node.out.size === 0 && node.in.size === 0 && node.aside.size === 0) nodes.delete(node.name)
  }

  function compact(): void {
    log = log.filter((tuple) => tuple !== undefined)
    log.forEach((tuple, index) => {
      if (tuple !== undefined) tuple.place = index
    })
  }

  function* tuplesAfter(ulid: string): Iterable<Tuple> {
    for (let index = firstAfter(log, ulid); index < log.length; index++) {
      const tuple = log[index]
      if (tuple !== undefined) yield tuple
    }
  }

  const currentTuples: TupleView = {
    get size() {
      return size
    },
    node: (name) => nodes.get(name),
    get: find,
    at: (object, relation) => object.out.get(relation),
    into: (user) => user.in,
    after: tuplesAfter,
  }
  return {
    get size() {
      return size
    },
    get revision() {
      return revision
    },
    node: currentTuples.node,
    get: find,
    at: currentTuples.at,
    into: (user) => (user.aside.size === 0 ? user.in : user.in.size === 0 ? user.aside : everyTuple(user)),
    after: tuplesAfter,
    add,
    remove,
    setApart,
    standing: currentTuples,
  }
}

function* everyTuple(user: Node): Generator<Tuple> {
  yield* user.in
  yield* user.aside
}

/** Whether the tuple's user is one user, neither a userset nor a wildcard. */
export const isConcrete = (tuple: Tuple): boolean => tuple.userRelation === '' && !tuple.user.wildcard

const partOf = (bucket: Bucket, tuple: Tuple): Tuple[] =>
  isConcrete(tuple) ? bucket.concrete : bucket.usersets

/** Binary search in a list ordered by ULID, with holes. */
function firstAfter(log: readonly (Tuple | undefined)[], ulid: string): number {
  if (ulid === '') return 0
  let low = 0
  let high = log.length
  while (low < high) {
    const middle = (low + high) >> 1
    let probe = middle
    while (probe < high && log[probe] === undefined) probe++
    const tuple = probe < high ? log[probe] : undefined
    if (tuple === undefined || tuple.ulid > ulid) high = middle
    else low = probe + 1
  }
  return low
}
