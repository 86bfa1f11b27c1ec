import type { Tuple } from '@remit/engine'

/**
 * What tuples on documents say without the document, each once: one lock for all documents of a folder, one for all that
 * are the same owner's. A door is a set of them. Who opens which is found lock by lock, of which there are few, and a door
 * costs a look at each of its own.
 */
export interface Aces {
  /** One more than the largest number. Numbers of locks that are gone are given again. */
  readonly end: number
  /** The lock of such a tuple, made where it is new: it lasts while it is held, but at least until `sweep`. */
  of(tuple: Tuple): number
  retain(lock: number): void
  release(lock: number): void
  /** Forgets those that nobody holds. */
  sweep(): void
  /** A tuple that says it. On which document says nothing, and it may be gone from there. */
  tuple(lock: number): Tuple | undefined
  /** Those whose user this is, also as the object of a userset: the first, and the one after each; -1 after the last. */
  firstFor(user: string): number
  nextFor(lock: number): number
}

const none = -1

export function createAces(): Aces {
  // By lock; those that name the same user are a list.
  const tuples: (Tuple | undefined)[] = []
  const holders: number[] = []
  const after: number[] = []
  const before: number[] = []
  const first = new Map<string, number>()
  // One user may have as many as there are ends: these are found by what they say, not by going through them.
  const ending = new Map<string, number>()
  const free: number[] = []
  const idle = new Set<number>()

  const firstOf = (user: string): number => first.get(user) ?? none
  const next = (lock: number): number => after[lock] ?? none

  function link(last: number, lock: number, user: string): void {
    if (last !== none) after[last] = lock
    else if (lock === none) first.delete(user)
    else first.set(user, lock)
    if (lock !== none) before[lock] = last
  }

  function find(tuple: Tuple): number {
    if (tuple.condition !== undefined) return ending.get(keyOfEnding(tuple)) ?? none
    // Those with an end come last.
    for (let lock = firstOf(tuple.user.name); lock !== none; lock = next(lock)) {
      const one = tuples[lock]
      if (one?.condition !== undefined) break
      if (one?.relation === tuple.relation && one.userRelation === tuple.userRelation) return lock
    }
    return none
  }

  function forget(lock: number): void {
    const tuple = tuples[lock]
    if (tuple === undefined) return
    link(before[lock] ?? none, next(lock), tuple.user.name)
    if (tuple.condition !== undefined) ending.delete(keyOfEnding(tuple))
    tuples[lock] = undefined
    free.push(lock)
  }

  function make(tuple: Tuple): number {
    const lock = free.pop() ?? tuples.length
    const user = tuple.user.name
    tuples[lock] = tuple
    holders[lock] = 0
    const head = firstOf(user)
    if (tuple.condition !== undefined) ending.set(keyOfEnding(tuple), lock)
    // Behind the first with an end, which is as good a place among those as any; else in front of all.
    const place = tuple.condition === undefined ? none : lastWithoutEnd(head)
    const rest = place === none ? head : next(place)
    link(place, lock, user)
    link(lock, rest, user)
    idle.add(lock)
    return lock
  }

  function lastWithoutEnd(head: number): number {
    let last = none
    for (let lock = head; lock !== none && tuples[lock]?.condition === undefined; lock = next(lock))
      last = lock
    return last
  }

  return {
    get end() {
      return tuples.length
    },
    of(tuple) {
      const lock = find(tuple)
      return lock === none ? make(tuple) : lock
    },
    retain(lock) {
      holders[lock] = (holders[lock] ?? 0) + 1
    },
    release(lock) {
      holders[lock] = (holders[lock] ?? 0) - 1
      if (holders[lock] === 0) idle.add(lock)
    },
    sweep() {
      for (const lock of idle) if (holders[lock] === 0) forget(lock)
      idle.clear()
    },
    tuple: (lock) => tuples[lock],
    firstFor: firstOf,
    nextFor: next,
  }
}

/** By name: the node of a user may be another one by now. */
const keyOfEnding = ({ user, relation, userRelation, condition }: Tuple): string =>
  JSON.stringify([user.name, relation, userRelation, condition?.name, condition?.context])
