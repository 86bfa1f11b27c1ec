import { setImmediate as giveWay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Change, Fga, StoredTuple } from '../fga.ts'
import { tupleId } from '../fga.ts'
import { isOwnMark } from '../own-marks.ts'
import { type Replica, toStored } from './replica.ts'

/** OpenFGA is read page by page and compared with the replica. */
export interface ReconcileDeps {
  readonly fga: Pick<Fga, 'readAll'>
  readonly replica: Replica
  readonly signal: AbortSignal
  /** Brings the replica to the end of the log. */
  readonly catchUp: () => Promise<void>
  /** Told of the service's own marks, which the replica does not hold. */
  readonly onMark?: (mark: StoredTuple) => void
}

// So many at once keep a question waiting for a millisecond or two.
const sliceSize = 10_000

/**
 * Compares the replica with all of OpenFGA's tuples and gives what mends it. What the log told of since this began is for the
 * caller to leave out: there the log is newer than what was read.
 */
export async function findDifferences({
  fga,
  replica,
  signal,
  catchUp,
  onMark,
}: ReconcileDeps): Promise<Change[]> {
  const matching = new Set<object>()
  const missing = new Map<string, StoredTuple>()
  for await (const page of fga.readAll({ signal })) {
    for (const tuple of page) {
      if (isOwnMark(tuple.object)) {
        onMark?.(tuple)
        continue
      }
      const replicaTuple = replica.tuples.get(tuple as Parameters<typeof replica.tuples.get>[0])
      if (replicaTuple !== undefined && isDeepStrictEqual(replicaTuple.condition, tuple.condition))
        matching.add(replicaTuple)
      else missing.set(tupleId(tuple), tuple)
    }
  }
  await catchUp()
  const missingTuples: StoredTuple[] = []
  // Tuples come and go while these are compared.
  for (const [index, replicaTuple] of [...replica.tuples.after('')].entries()) {
    if (index % sliceSize === sliceSize - 1) await giveWay()
    if (matching.has(replicaTuple)) continue
    const tuple = toStored(replicaTuple)
    if (!missing.has(tupleId(tuple))) missingTuples.push(tuple)
  }
  return [
    ...missingTuples.map((tuple): Change => ({ operation: 'delete', tuple })),
    ...[...missing.values()].map((tuple): Change => ({ operation: 'write', tuple })),
  ]
}
