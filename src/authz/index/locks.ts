import type { Tuple } from '@remit/engine'

/**
 * What tuples on documents say without the document, each once: one lock for all documents of a folder, one for all that
 * are the same owner's. A door is a set of them. Who opens which is found lock by lock, of which there are few, and a door
 * costs a look at each of its own.
 */
export interface Locks {
  /** One more than the largest number. Numbers of locks that are gone are given again. */
  readonly end: number
  /** The lock of such a tuple, made where it is new: it lasts while it is held, but at least until `sweep`. */
  of(tuple: Tuple): number
  hold(lock: number): void
  release(lock: number): void
  /** Forgets those that nobody holds. */
  sweep(): void
  /** A tuple that says it. On which document says nothing, and it may be gone from there. */
  tuple(lock: number): Tuple | undefined
  /** Those whose user this is, also as the object of a userset: the first, and the one after each; -1 after the last. */
  first(user: string): number
  next(lock: number): number
}

const none = -1

export function createLocks(): Locks {
  // By lock; those that name the same user are a list.
  const tuples: (Tuple | undefined)[] = []
  const holders: number[] = []
  const after: number[] = []
  const first = new Map<string, number>()
  const free: number[] = []
  const idle = new Set<number>()

  const firstOf = (user: string): number => first.get(user) ?? none
  const next = (lock: number): number => after[lock] ?? none

  function forget(lock: number): void {
    const user = tuples[lock]?.user.name ?? ''
    const rest = next(lock)
    if (firstOf(user) !== lock) {
      let last = firstOf(user)
      while (last !== none && next(last) !== lock) last = next(last)
      if (last !== none) after[last] = rest
    } else if (rest === none) first.delete(user)
    else first.set(user, rest)
    tuples[lock] = undefined
    free.push(lock)
  }

  return {
    get end() {
      return tuples.length
    },
    of(tuple) {
      const user = tuple.user.name
      for (let lock = firstOf(user); lock !== none; lock = next(lock))
        if (saysTheSame(tuples[lock], tuple)) return lock
      const lock = free.pop() ?? tuples.length
      tuples[lock] = tuple
      holders[lock] = 0
      after[lock] = firstOf(user)
      first.set(user, lock)
      idle.add(lock)
      return lock
    },
    hold(lock) {
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
    first: firstOf,
    next,
  }
}

/** By name: the node of a user may be another one by now. When its condition ends does not count. */
const saysTheSame = (one: Tuple | undefined, other: Tuple): boolean =>
  one !== undefined &&
  one.relation === other.relation &&
  one.userRelation === other.userRelation &&
  one.condition?.name === other.condition?.name
