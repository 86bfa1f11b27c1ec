import { isDeepStrictEqual } from 'node:util'
import type { Change, Fga, StoredTuple } from '../fga.ts'
import { tupleId } from '../fga.ts'
import { type Replica, toStored } from './replica.ts'

export interface ReconcileDeps {
  readonly fga: Pick<Fga, 'readAll'>
  readonly replica: Replica
  readonly signal: AbortSignal
  readonly catchUp: () => Promise<void>
  /** Keys of all that the log told of since this began; it grows meanwhile. */
  readonly told: ReadonlySet<string>
}

/**
 * Compares the replica with all of OpenFGA's tuples and gives what mends it, to be applied before the next `await`.
 * What the log told of meanwhile is left out: there the log is newer than what was read.
 */
export async function findDifferences({
  fga,
  replica,
  signal,
  catchUp,
  told,
}: ReconcileDeps): Promise<Change[]> {
  const same = new Set<object>()
  const others: StoredTuple[] = []
  for await (const page of fga.readAll({ signal })) {
    for (const tuple of page) {
      const held = replica.tuples.get(tuple as Parameters<typeof replica.tuples.get>[0])
      if (held !== undefined && isDeepStrictEqual(held.condition, tuple.condition)) same.add(held)
      else others.push(tuple)
    }
  }
  await catchUp()
  const isTold = (tuple: StoredTuple): boolean => told.has(tupleId(tuple))
  const missing = others.filter((tuple) => !isTold(tuple))
  const kept = new Set(missing.map(tupleId))
  const gone: StoredTuple[] = []
  for (const held of replica.tuples.after('')) {
    if (same.has(held)) continue
    const tuple = toStored(held)
    if (!isTold(tuple) && !kept.has(tupleId(tuple))) gone.push(tuple)
  }
  return [
    ...gone.map((tuple): Change => ({ operation: 'delete', tuple })),
    ...missing.map((tuple): Change => ({ operation: 'write', tuple })),
  ]
}
