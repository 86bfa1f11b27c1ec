import { getOrInsert } from './get-or-insert.ts'
import { splitUser, typeOf } from './names.ts'
import {
  type Bucket,
  findIn,
  isConcrete,
  makeNode,
  type Node,
  noSet,
  partOf,
  Tuple,
  type TupleKey,
  type TupleView,
} from './tuples.ts'

/** The tuples of one store, in memory, with every index that a check needs. */
export interface TupleStore extends TupleView {
  /** Grows with every tuple that comes or goes. */
  readonly revision: number
  /**
   * Adds a tuple that is not there yet; throws if it is. `written`: its ULID, which must arrive in growing
   * order, or milliseconds since the epoch, which weigh less and stand for the least ULID of that time.
   */
  add(key: TupleKey, written: string | number): Tuple
  /** Removes a tuple and answers it; undefined if it was not there. */
  remove(key: TupleKey): Tuple | undefined
  /**
   * Whether `standing` passes this object by. Forgotten with its last tuple. Does nothing where no tuple
   * names the object.
   */
  setApart(name: string, apart: boolean): void
  /** The same tuples, in which walks from users to objects come to those only that are not set apart. */
  readonly standing: TupleView
}

// Shared by all buckets that lack one of their parts, and never written to: see `noSet`.
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

  const intern = (name: string): Node =>
    getOrInsert(nodes, name, () => makeNode(name, nextId++, internWord(typeOf(name))))

  const internWord = (name: string): string => getOrInsert(interned, name, () => name)

  function find(key: TupleKey): Tuple | undefined {
    const { object, relation } = splitUser(key.user)
    return findIn(nodes.get(key.object)?.out.get(key.relation), nodes.get(object), relation)
  }

  function add(key: TupleKey, written: string | number): Tuple {
    if (find(key) !== undefined) throw new Error('tuple exists')
    const user = splitUser(key.user)
    const tuple = new Tuple(
      intern(key.object),
      internWord(key.relation),
      intern(user.object),
      internWord(user.relation),
      key.condition,
      written,
    )
    tuple.place = log.length
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

  const view = { node: (name: string) => nodes.get(name), get: find, at: bucketOf, after: tuplesAfter }
  return {
    ...view,
    get size() {
      return size
    },
    get revision() {
      return revision
    },
    into: (user) => (user.aside.size === 0 ? user.in : user.in.size === 0 ? user.aside : everyTuple(user)),
    add,
    remove,
    setApart,
    standing: {
      ...view,
      get size() {
        return size
      },
      into: (user) => user.in,
    },
  }
}

const bucketOf = (object: Node, relation: string): Bucket | undefined => object.out.get(relation)

function* everyTuple(user: Node): Generator<Tuple> {
  yield* user.in
  yield* user.aside
}

/** Where those after a ULID begin, in a list ordered by ULID that may have holes. */
export function firstAfter(log: readonly ({ readonly ulid: string } | undefined)[], ulid: string): number {
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
