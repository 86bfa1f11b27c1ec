import type { TupleStore } from '@remit/engine'

/**
 * Doors: documents with the same tuples on them are reached alike by everybody, and count as one. One of them stands for
 * its door in the store; walks from people to documents pass the others by.
 */
export interface Doors {
  /** How many there are. */
  readonly size: number
  /** One more than the largest number. Numbers of doors that are gone are given again. */
  readonly end: number
  /** The tuples on this document are others now: the next `settle` looks at it. */
  touch(document: string): void
  /** Has every document that was touched stand at the door of the tuples that are on it now. */
  settle(): Settled
  /** -1: at none, since there is no tuple on it that could let anybody in. */
  doorOf(document: string): number
  /** A document that stands at this door. undefined: there is no such door. */
  standsFor(door: number): string | undefined
  /** All documents that stand at this door. */
  at(door: number): Generator<string>
}

export interface Settled {
  /** Documents that stand at another door than before, or at none. */
  readonly moved: readonly string[]
  /** Numbers of doors that are new or gone: what was known of them is over. */
  readonly renewed: readonly number[]
}

const none = -1

/**
 * `relations`: whose tuples count. undefined: documents are told apart by more than those, and each has a door of its own.
 */
export function createDoors(tuples: TupleStore, relations: ReadonlySet<string> | undefined): Doors {
  const marks = new Map([...(relations ?? [])].map((name, index) => [name, index]))
  // By document: a place each. The documents of a door are a list through their places.
  const places = new Map<string, number>()
  const names: string[] = []
  const doors: number[] = []
  const after: number[] = []
  const before: number[] = []
  const freePlaces: number[] = []
  // By door.
  const numbers = new Map<string, number>()
  const keys: (string | undefined)[] = []
  const first: number[] = []
  const freeDoors: number[] = []
  const touched = new Set<string>()

  /** The same for equal sets of tuples, whatever their order and the ends that they have. */
  function keyOf(document: string): string {
    const node = tuples.node(document)
    if (node === undefined || node.out.size === 0) return ''
    if (relations === undefined) return document
    const parts: string[] = []
    for (const [relation, { concrete, usersets }] of node.out) {
      const mark = marks.get(relation)
      if (mark === undefined) continue
      for (const list of [concrete, usersets]) {
        for (const { user, userRelation, condition } of list)
          parts.push(`${mark} ${user.id} ${userRelation} ${condition?.name ?? ''}`)
      }
    }
    return parts.sort().join()
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
      else tuples.setApart(names[next] ?? '', false)
    }
    doors[place] = none
  }

  function close(door: number, renewed: Set<number>): void {
    numbers.delete(keys[door] ?? '')
    keys[door] = undefined
    freeDoors.push(door)
    renewed.add(door)
  }

  function join(document: string, key: string, renewed: Set<number>): void {
    const place = places.get(document) ?? freePlaces.pop() ?? names.length
    places.set(document, place)
    names[place] = document
    const known = numbers.get(key)
    const door = known ?? freeDoors.pop() ?? keys.length
    doors[place] = door
    const head = known === undefined ? none : (first[door] ?? none)
    if (head === none) {
      numbers.set(key, door)
      keys[door] = key
      first[door] = place
      renewed.add(door)
      before[place] = none
      after[place] = none
    } else {
      const next = after[head] ?? none
      before[place] = head
      after[place] = next
      after[head] = place
      if (next !== none) before[next] = place
    }
    tuples.setApart(document, head !== none)
  }

  function forget(document: string): void {
    const place = places.get(document)
    if (place === undefined) return
    places.delete(document)
    names[place] = ''
    freePlaces.push(place)
  }

  return {
    get size() {
      return numbers.size
    },
    get end() {
      return keys.length
    },
    touch(document) {
      touched.add(document)
    },
    settle() {
      const moved: string[] = []
      const renewed = new Set<number>()
      for (const document of touched) {
        const key = keyOf(document)
        const door = doorOf(document)
        if (door !== none && keys[door] === key) {
          // Its node may be another one than before, of which nothing is known.
          tuples.setApart(document, names[first[door] ?? none] !== document)
          continue
        }
        if (door === none && key === '') continue
        if (door !== none) leave(document, door, renewed)
        if (key === '') forget(document)
        else join(document, key, renewed)
        moved.push(document)
      }
      touched.clear()
      return { moved, renewed: [...renewed] }
    },
    doorOf,
    standsFor: (door) => (keys[door] === undefined ? undefined : names[first[door] ?? none]),
    *at(door) {
      if (keys[door] === undefined) return
      for (let place = first[door] ?? none; place !== none; place = after[place] ?? none) {
        const name = names[place]
        if (name !== undefined) yield name
      }
    },
  }
}
