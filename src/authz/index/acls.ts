import type { TupleStore } from '@remit/engine'
import { type Aces, createAces } from './aces.ts'

/**
 * Doors: documents with the same tuples on them are reached alike by everybody, and count as one. What such tuples say is
 * a lock, which many doors share. Walks from people to documents pass all by that stand at a door.
 */
export interface Acls {
  /** One more than the largest number. Numbers of doors that are gone are given again. */
  readonly end: number
  /** The tuples on this document are others now: the next `settle` looks at it. */
  touch(document: string): void
  /** Has every document that was touched stand at the door of the tuples that are on it now. */
  update(): AclChanges
  /** -1: at none, since there is no tuple on it that could let anybody in. */
  aclOf(document: string): number
  /** All documents that stand at this door. */
  documentsOf(door: number): Generator<string>
  /** What is known of the locks of a door, in one: bit by bit, those of whichever lock. 0: there is no such door. */
  bitsOf(door: number, ofLock: (lock: number) => number): number
  readonly aces: Pick<Aces, 'end' | 'tuple' | 'firstFor' | 'nextFor'>
}

export interface AclChanges {
  /** Documents that stand at another door than before, or at none. */
  readonly moved: readonly string[]
  /** Numbers of doors that are new or gone: what was known of them is over. */
  readonly renewed: readonly number[]
}

const none = -1

/**
 * `relations`: whose tuples count. undefined: documents are told apart by more than those: each has a door of its own,
 * without locks, and walks come to all of them.
 */
export function createAcls(tuples: TupleStore, relations: ReadonlySet<string> | undefined): Acls {
  const locks = createAces()
  // By document: a place each. The documents of a door are a list through their places.
  const places = new Map<string, number>()
  const names: string[] = []
  const doors: number[] = []
  const after: number[] = []
  const before: number[] = []
  const freePlaces: number[] = []
  // By door. Its locks are a list through links.
  const numbers = new Map<string, number>()
  const keys: (string | undefined)[] = []
  const first: number[] = []
  const firstLink: number[] = []
  const freeDoors: number[] = []
  const linked: number[] = []
  const nextLink: number[] = []
  const freeLinks: number[] = []
  const touched = new Set<string>()

  /** The same for equal sets of tuples, whatever their order and the ends that they have. */
  function locksOf(document: string): number[] {
    const found: number[] = []
    for (const [relation, { concrete, usersets }] of tuples.node(document)?.out ?? []) {
      if (!relations?.has(relation)) continue
      for (const tuple of concrete) found.push(locks.of(tuple))
      for (const tuple of usersets) found.push(locks.of(tuple))
    }
    return found.sort((a, b) => a - b)
  }

  const doorOf = (document: string): number => doors[places.get(document) ?? none] ?? none

  function leave(document: string, door: number, renewed: Set<number>): void {
    const place = places.get(document) ?? none
    const [next = none, last = none] = [after[place], before[place]]
    if (next !== none) before[next] = last
    if (last !== none) after[last] = next
    if (first[door] === place) {
      first[door] = next
      if (next === none) close(door, renewed)
    }
    doors[place] = none
  }

  function open(key: string, held: readonly number[], renewed: Set<number>): number {
    const door = freeDoors.pop() ?? keys.length
    numbers.set(key, door)
    keys[door] = key
    first[door] = none
    let link = none
    for (const lock of held) {
      const one = freeLinks.pop() ?? linked.length
      linked[one] = lock
      nextLink[one] = link
      link = one
      locks.retain(lock)
    }
    firstLink[door] = link
    renewed.add(door)
    return door
  }

  function close(door: number, renewed: Set<number>): void {
    numbers.delete(keys[door] ?? '')
    keys[door] = undefined
    for (let link = firstLink[door] ?? none; link !== none; link = nextLink[link] ?? none) {
      locks.release(linked[link] ?? none)
      freeLinks.push(link)
    }
    firstLink[door] = none
    freeDoors.push(door)
    renewed.add(door)
  }

  function join(document: string, door: number): void {
    const place = places.get(document) ?? freePlaces.pop() ?? names.length
    places.set(document, place)
    names[place] = document
    doors[place] = door
    const next = first[door] ?? none
    before[place] = none
    after[place] = next
    if (next !== none) before[next] = place
    first[door] = place
  }

  function forget(document: string): void {
    const place = places.get(document)
    if (place === undefined) return
    places.delete(document)
    names[place] = ''
    freePlaces.push(place)
  }

  return {
    get end() {
      return keys.length
    },
    touch(document) {
      touched.add(document)
    },
    update() {
      const moved: string[] = []
      const renewed = new Set<number>()
      for (const document of touched) {
        const held = locksOf(document)
        const isThere = relations === undefined ? tuples.node(document)?.out.size : held.length
        const key = !isThere ? '' : relations === undefined ? document : held.join()
        // Its node may be another one than before, of which nothing is known.
        tuples.setApart(document, held.length > 0)
        const door = doorOf(document)
        if (door === none ? key === '' : keys[door] === key) continue
        if (door !== none) leave(document, door, renewed)
        if (key === '') forget(document)
        else join(document, numbers.get(key) ?? open(key, held, renewed))
        moved.push(document)
      }
      touched.clear()
      locks.sweep()
      return { moved, renewed: [...renewed] }
    },
    aclOf: doorOf,
    *documentsOf(door) {
      if (keys[door] === undefined) return
      for (let place = first[door] ?? none; place !== none; place = after[place] ?? none) {
        const name = names[place]
        if (name !== undefined) yield name
      }
    },
    bitsOf(door, ofLock) {
      let found = 0
      for (let link = firstLink[door] ?? none; link !== none; link = nextLink[link] ?? none)
        found |= ofLock(linked[link] ?? none)
      return found
    },
    aces: locks,
  }
}
