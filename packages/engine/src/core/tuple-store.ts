import { getOrInsert } from './get-or-insert.ts'
import { splitUser, typeOf } from './names.ts'
import {
  type Bucket,
  bucketOf,
  few,
  findIn,
  isConcrete,
  makeNode,
  type Node,
  newBucket,
  noSet,
  partOf,
  putIn,
  Tuple,
  type TupleKey,
  type TupleView,
  tuplesOn,
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

/** Tuples in memory, indexed by object and relation, and by user. */
export function createTupleStore(): TupleStore {
  const nodes = new Map<string, Node>()
  // Types and relations: a few words, each of them once.
  const interned = new Map<string, string>()
  let log: (Tuple | undefined)[] = []
  let size = 0
  let revision = 0
  let nextId = 0
  const last = {
    object: undefined as Node | undefined,
    relation: '',
    revision: 0,
    bucket: undefined as Bucket | undefined,
  }

  const intern = (name: string): Node =>
    getOrInsert(nodes, name, () => makeNode(name, nextId++, internWord(typeOf(name))))

  const internWord = (name: string): string => getOrInsert(interned, name, () => name)

  function find(key: TupleKey): Tuple | undefined {
    const { object, relation } = splitUser(key.user)
    const node = nodes.get(key.object)
    return node && findIn(bucketOf(node, key.relation), nodes.get(object), relation)
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
    putOn(tuple)
    enter(tuple)
    log.push(tuple)
    size += 1
    revision += 1
    return tuple
  }

  function remove(key: TupleKey): Tuple | undefined {
    const tuple = find(key)
    if (tuple === undefined) return undefined
    takeOff(tuple)
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

  /** A question asks several times for the same one: of a chain each is made anew. */
  function at(object: Node, relation: string): Bucket | undefined {
    if (object !== last.object || relation !== last.relation || revision !== last.revision) {
      last.bucket = bucketOf(object, relation)
      last.object = object
      last.relation = relation
      last.revision = revision
    }
    return last.bucket
  }

  function setApart(name: string, apart: boolean): void {
    const node = nodes.get(name)
    if (node === undefined || node.apart === apart) return
    node.apart = apart
    for (const tuple of tuplesOn(node)) {
      const oldSide = apart ? 'in' : 'aside'
      tuple.user[oldSide].delete(tuple)
      if (tuple.user[oldSide].size === 0) tuple.user[oldSide] = noSet
      enter(tuple)
    }
  }

  function forget(node: Node): void {
    if (node.out === undefined && node.in.size === 0 && node.aside.size === 0) nodes.delete(node.name)
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

  const view = { node: (name: string) => nodes.get(name), get: find, at, after: tuplesAfter }
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

/** Puts a tuple on its object. */
function putOn(tuple: Tuple): void {
  const { object } = tuple
  if (!(object.out instanceof Map)) {
    const chain = tuplesOn(object)
    if (chain.length < few) {
      const last = chain.at(-1)
      if (last === undefined) object.out = tuple
      else last.next = tuple
      return
    }
    object.out = new Map()
    for (const one of chain) {
      one.next = undefined
      putIn(getOrInsert(object.out, one.relation, newBucket), one)
    }
  }
  putIn(getOrInsert(object.out, tuple.relation, newBucket), tuple)
}

/** Takes a tuple off its object. */
function takeOff(tuple: Tuple): void {
  const { object, relation } = tuple
  if (object.out instanceof Map) {
    const bucket = object.out.get(relation)
    if (bucket === undefined) return
    const bucketPart = partOf(bucket, tuple)
    const lastTuple = bucketPart.pop()
    if (lastTuple !== undefined && lastTuple !== tuple) bucketPart[bucketPart.indexOf(tuple)] = lastTuple
    if (isConcrete(tuple)) bucket.index?.delete(tuple.user)
    if (bucket.concrete.length === 0 && bucket.usersets.length === 0) object.out.delete(relation)
    if (object.out.size === 0) object.out = undefined
    return
  }
  const before = tuplesOn(object).find(({ next }) => next === tuple)
  if (before === undefined) object.out = tuple.next
  else before.next = tuple.next
  tuple.next = undefined
}

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
