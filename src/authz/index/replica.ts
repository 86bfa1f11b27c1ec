import { setImmediate as giveWay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import {
  createTupleStore,
  keyOf,
  type Tuple as ReplicaTuple,
  type TupleKey,
  type TupleStore,
} from '@remit/engine'
import { type Change, type Fga, type StoredTuple, tupleId } from '../fga.ts'
import { isOwnMark } from '../own-marks.ts'
import { isWatermark } from './watermarks.ts'

/** What a change of the log did to the replica; nothing for what it held already. */
export interface Effect {
  /** `changed`: the same tuple with another condition, which may give and take. */
  readonly kind: 'added' | 'removed' | 'changed'
  readonly tuple: StoredTuple
}

/** Told of what comes into the replica, before anybody may ask about it. */
export interface ReplicaListener {
  /** Another one is filled from now on, of whose tuples nothing is known yet. */
  follow(tuples: TupleStore): void
  /** These were added while nobody asks. */
  filled(tuples: readonly StoredTuple[]): void
  /** The log told of these, whatever they do: a tuple that came and went again has no effect. */
  told(changes: readonly Change[]): void
  applied(effects: readonly Effect[]): void
  /** All that OpenFGA held is in, for the first time or anew. */
  built(): void
  /** All of it is read anew: what the log told of before says nothing any more. */
  startedAnew(): void
}

/**
 * The tuples in memory, but for the service's own marks, which no question needs. Its `tuples` are not in the
 * order of their times: late ones come later.
 */
export class Replica {
  readonly tuples = createTupleStore()
  /** Which tuples it takes; the others are as if there were none. */
  readonly keeps: (tuple: Pick<StoredTuple, 'user'>) => boolean

  /** `keeps`: default all. */
  constructor(keeps: Replica['keeps'] = () => true) {
    this.keeps = keeps
  }

  /** Applies changes in the order given; each may be one that it holds already. */
  apply(changes: Iterable<Change>): Effect[] {
    return [...changes]
      .map(({ operation, tuple }) => (operation === 'write' ? this.put(tuple) : this.#remove(tuple)))
      .filter((effect) => effect !== undefined)
  }

  /** Adds or replaces one tuple. */
  put(tuple: StoredTuple): Effect | undefined {
    if (isOwnMark(tuple.object) || !this.keeps(tuple)) return undefined
    const key = toKey(tuple)
    const previousTuple = this.tuples.get(key)
    if (previousTuple === undefined) {
      this.tuples.add(key, tuple.writtenAt)
      return { kind: 'added', tuple }
    }
    const isSame = isDeepStrictEqual(previousTuple.condition, key.condition)
    if (isSame && previousTuple.writtenAt === tuple.writtenAt) return undefined
    this.tuples.remove(key)
    this.tuples.add(key, tuple.writtenAt)
    return { kind: isSame ? 'added' : 'changed', tuple }
  }

  get(tuple: StoredTuple): StoredTuple | undefined {
    const found = this.tuples.get(toKey(tuple))
    return found && toStored(found)
  }

  #remove(tuple: StoredTuple): Effect | undefined {
    return this.tuples.remove(toKey(tuple)) === undefined ? undefined : { kind: 'removed', tuple }
  }
}

/** A tuple of the replica as the port gives it. */
export function toStored(tuple: ReplicaTuple): StoredTuple {
  const { user, relation, object, condition } = keyOf(tuple)
  return { user, relation, object, ...(condition && { condition }), writtenAt: tuple.writtenAt ?? 0 }
}

const toKey = ({ user, relation, object, condition }: StoredTuple): TupleKey => ({
  user,
  relation,
  object,
  condition: condition as TupleKey['condition'],
})

/** OpenFGA is read page by page and compared with the replica. */
export interface ReconcileDeps {
  readonly fga: Pick<Fga, 'readAll'>
  readonly replica: Replica
  readonly signal: AbortSignal
  /** Brings the replica to the end of the log. */
  readonly catchUp: () => Promise<void>
}

// So many at once keep a question waiting for a millisecond or two.
const sliceSize = 10_000

/**
 * Compares the replica with all of OpenFGA's tuples and gives what mends it, beside the service's own marks,
 * which it does not hold. What the log told of since this began is for the caller to leave out: there the log
 * is newer than what was read.
 */
export async function findDifferences({ fga, replica, signal, catchUp }: ReconcileDeps) {
  const matching = new Set<object>()
  const missing = new Map<string, StoredTuple>()
  const marks: StoredTuple[] = []
  for await (const page of fga.readAll({ signal })) {
    for (const tuple of page) {
      if (isOwnMark(tuple.object)) {
        if (isWatermark(tuple.object)) marks.push(tuple)
        continue
      }
      if (!replica.keeps(tuple)) continue
      const replicaTuple = replica.tuples.get(tuple as Parameters<typeof replica.tuples.get>[0])
      if (replicaTuple !== undefined && isDeepStrictEqual(replicaTuple.condition, tuple.condition))
        matching.add(replicaTuple)
      else missing.set(tupleId(tuple), tuple)
    }
  }
  await catchUp()
  const differences: Change[] = []
  // Tuples come and go while these are compared.
  for (const [index, replicaTuple] of [...replica.tuples.after('')].entries()) {
    if (index % sliceSize === sliceSize - 1) await giveWay()
    if (matching.has(replicaTuple)) continue
    const tuple = toStored(replicaTuple)
    if (!missing.has(tupleId(tuple))) differences.push({ operation: 'delete', tuple })
  }
  for (const tuple of missing.values()) differences.push({ operation: 'write', tuple })
  return { differences, marks }
}
