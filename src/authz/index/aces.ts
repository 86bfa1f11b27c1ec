import type { Tuple } from '@remit/engine'

/**
 * Access-control entries: what tuples on documents say without the document, each once. All documents of a folder share
 * one, and all of an owner's another. An ACL is a set of them. Who reaches an ACL is found ACE by ACE: there are few, and
 * an ACL costs a look at each of its own.
 */
export interface Aces {
  /** One more than the largest number. Numbers of ACEs that are gone are given again. */
  readonly end: number
  /** The ACE of such a tuple, made where it is new. It lasts while an ACL retains it, and at least until `sweep`. */
  of(tuple: Tuple): number
  retain(ace: number): void
  release(ace: number): void
  /** Forgets those that nobody holds. */
  sweep(): void
  /** A tuple that says it. On which document says nothing, and it may be gone from there. */
  tuple(ace: number): Tuple | undefined
  /** Those whose user this is, also as the object of a userset: the first, and the one after each; -1 after the last. */
  firstFor(user: string): number
  nextFor(ace: number): number
}

const noAce = -1

/** Makes an empty table of ACEs: (relation, user) pairs of tuples on documents, each with a number. */
export function createAces(): Aces {
  // By ACE; those that name the same user are a list.
  const tuples: (Tuple | undefined)[] = []
  const holders: number[] = []
  const nextAce: number[] = []
  const previousAce: number[] = []
  const firstAce = new Map<string, number>()
  // One user may have as many as there are ends: these are found by what they say, not by going through them.
  const ending = new Map<string, number>()
  const free: number[] = []
  const idle = new Set<number>()

  const firstOf = (user: string): number => firstAce.get(user) ?? noAce
  const nextOf = (ace: number): number => nextAce[ace] ?? noAce

  function link(previous: number, ace: number, user: string): void {
    if (previous !== noAce) nextAce[previous] = ace
    else if (ace === noAce) firstAce.delete(user)
    else firstAce.set(user, ace)
    if (ace !== noAce) previousAce[ace] = previous
  }

  function find(tuple: Tuple): number {
    if (tuple.condition !== undefined) return ending.get(keyOfEnding(tuple)) ?? noAce
    // Those with an end come last.
    for (let ace = firstOf(tuple.user.name); ace !== noAce; ace = nextOf(ace)) {
      const storedTuple = tuples[ace]
      if (storedTuple?.condition !== undefined) break
      if (storedTuple?.relation === tuple.relation && storedTuple.userRelation === tuple.userRelation)
        return ace
    }
    return noAce
  }

  function forget(ace: number): void {
    const tuple = tuples[ace]
    if (tuple === undefined) return
    link(previousAce[ace] ?? noAce, nextOf(ace), tuple.user.name)
    if (tuple.condition !== undefined) ending.delete(keyOfEnding(tuple))
    tuples[ace] = undefined
    free.push(ace)
  }

  function make(tuple: Tuple): number {
    const ace = free.pop() ?? tuples.length
    const user = tuple.user.name
    tuples[ace] = tuple
    holders[ace] = 0
    const head = firstOf(user)
    if (tuple.condition !== undefined) ending.set(keyOfEnding(tuple), ace)
    // Behind the first with an end, which is as good a place among those as any; else in front of all.
    const lastUnexpiring = tuple.condition === undefined ? noAce : lastWithoutEnd(head)
    const successor = lastUnexpiring === noAce ? head : nextOf(lastUnexpiring)
    link(lastUnexpiring, ace, user)
    link(ace, successor, user)
    idle.add(ace)
    return ace
  }

  function lastWithoutEnd(head: number): number {
    let lastFound = noAce
    for (let ace = head; ace !== noAce && tuples[ace]?.condition === undefined; ace = nextOf(ace))
      lastFound = ace
    return lastFound
  }

  return {
    get end() {
      return tuples.length
    },
    of(tuple) {
      const ace = find(tuple)
      return ace === noAce ? make(tuple) : ace
    },
    retain(ace) {
      holders[ace] = (holders[ace] ?? 0) + 1
    },
    release(ace) {
      holders[ace] = (holders[ace] ?? 0) - 1
      if (holders[ace] === 0) idle.add(ace)
    },
    sweep() {
      for (const ace of idle) if (holders[ace] === 0) forget(ace)
      idle.clear()
    },
    tuple: (ace) => tuples[ace],
    firstFor: firstOf,
    nextFor: nextOf,
  }
}

/** By name: the node of a user may be another one by now. */
const keyOfEnding = ({ user, relation, userRelation, condition }: Tuple): string =>
  JSON.stringify([user.name, relation, userRelation, condition?.name, condition?.context])
