import { isDeepStrictEqual } from 'node:util'
import {
  createTupleStore,
  keyOf,
  type Tuple as ReplicaTuple,
  type TupleKey,
  type TupleStore,
  ulidFloor,
  ulidTime,
} from '@remit/engine'
import type { Change, StoredTuple } from '../fga.ts'
import { isOwnMark } from '../own-marks.ts'

/** What a change of the log did to the replica; nothing for what it held already. */
export interface Effect {
  /** `changed`: the same tuple with another condition, which may give and take. */
  readonly kind: 'added' | 'removed' | 'changed'
  readonly tuple: StoredTuple
}

/** The tuples in memory, but for the service's own marks, which no question needs. Its `tuples` are not in the order of their times: late ones come later. */
export interface Replica {
  readonly tuples: TupleStore
  /** Applies changes in the order given; each may be one that it holds already. */
  apply(changes: Iterable<Change>): Effect[]
  /** Adds or replaces one tuple. */
  put(tuple: StoredTuple): Effect | undefined
  get(tuple: StoredTuple): StoredTuple | undefined
}

/** Makes an empty replica of the tuples; Remit's own marks stay out. */
export function createReplica(): Replica {
  const tuples = createTupleStore()
  const stamp = createStamp()

  function putTuple(tuple: StoredTuple): Effect | undefined {
    if (isOwnMark(tuple.object)) return undefined
    const key = toKey(tuple)
    const ulid = stamp(tuple.writtenAt)
    const previousTuple = tuples.get(key)
    if (previousTuple === undefined) {
      tuples.add(key, ulid)
      return { kind: 'added', tuple }
    }
    const isSame = isDeepStrictEqual(previousTuple.condition, key.condition)
    if (isSame && previousTuple.ulid === ulid) return undefined
    tuples.remove(key)
    tuples.add(key, ulid)
    return { kind: isSame ? 'added' : 'changed', tuple }
  }

  function remove(tuple: StoredTuple): Effect | undefined {
    return tuples.remove(toKey(tuple)) === undefined ? undefined : { kind: 'removed', tuple }
  }

  return {
    tuples,
    put: putTuple,
    get(tuple) {
      const found = tuples.get(toKey(tuple))
      return found && toStored(found)
    },
    apply: (changes) =>
      [...changes]
        .map(({ operation, tuple }) => (operation === 'write' ? putTuple(tuple) : remove(tuple)))
        .filter((effect) => effect !== undefined),
  }
}

/** A tuple of the replica as the port gives it. */
export function toStored(tuple: ReplicaTuple): StoredTuple {
  const { user, relation, object, condition } = keyOf(tuple)
  return { user, relation, object, ...(condition && { condition }), writtenAt: ulidTime(tuple.ulid) }
}

const toKey = ({ user, relation, object, condition }: StoredTuple): TupleKey => ({
  user,
  relation,
  object,
  condition: condition as TupleKey['condition'],
})

/** The log gives times, the replica keeps ULIDs: one text for all tuples of a millisecond, which come together. */
function createStamp(): (time: number) => string {
  let lastWrittenAt = Number.NaN
  let ulid = ''
  return (time) => {
    if (time !== lastWrittenAt) {
      lastWrittenAt = time
      ulid = ulidFloor(time)
    }
    return ulid
  }
}
