/** The objects of all tuples of which the log told lately, added or removed: in the order in which it did, by no clock. */
export interface ChangedObjects {
  /** Grows with every change. */
  readonly count: number
  note(objects: Iterable<string>): void
  /** Those of which it told since it was at `count`; undefined: more than is remembered. */
  since(count: number): ReadonlySet<string> | undefined
  /** Nothing is known of what was before now. */
  forget(): void
}

// More than are told of while a question is answered; beyond them it is asked whole.
const objectsMax = 10_000

/** Makes an empty list of the objects that changed last; it forgets the oldest. */
export function createChangedObjects(): ChangedObjects {
  // The latest last.
  const latest = new Map<string, number>()
  let count = 0
  let knownFrom = 0
  return {
    get count() {
      return count
    },
    note(objects) {
      for (const object of objects) {
        count += 1
        latest.delete(object)
        latest.set(object, count)
      }
      for (const [object, position] of latest) {
        if (latest.size <= objectsMax) break
        latest.delete(object)
        knownFrom = position
      }
    },
    since(fromCount) {
      if (fromCount < knownFrom) return undefined
      const found = new Set<string>()
      if (fromCount === count) return found
      for (const [object, position] of latest) if (position > fromCount) found.add(object)
      return found
    },
    forget() {
      latest.clear()
      count += 1
      knownFrom = count
    },
  }
}
