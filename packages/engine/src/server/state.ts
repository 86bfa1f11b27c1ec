import { compileModel, type Model } from '../core/model.ts'
import { createTupleStore, type TupleStore } from '../core/tuples.ts'
import { createUlids } from '../core/ulid.ts'
import { type ChangeLog, createChangeLog } from './changes.ts'
import type { ChangeRow, Journal, StoreRow } from './journal.ts'

/** One store in memory. */
export interface StoreState {
  readonly row: StoreRow
  /** In the order they were written; the last one is the latest. */
  readonly models: Map<string, Model>
  readonly tuples: TupleStore
  readonly changes: ChangeLog
}

/** All stores of an engine, in memory. */
export interface State {
  readonly stores: Map<string, StoreState>
  readonly nextUlid: () => string
}

const changesKept = 10_000

/** `changes` is undefined for a store that is new, so that nothing can be missing from memory. */
export function createStoreState(
  row: StoreRow,
  journal: Journal | undefined,
  changes?: readonly ChangeRow[],
): StoreState {
  const isBounded = journal?.readChanges !== undefined
  const log = createChangeLog(
    changes ?? [],
    isBounded ? changesKept : Number.POSITIVE_INFINITY,
    !isBounded || changes === undefined,
  )
  return { row, models: new Map(), tuples: createTupleStore(), changes: log }
}

/** Rebuilds memory from the journal. Throws when a stored model no longer compiles. */
export async function loadState(
  journal: Journal | undefined,
  now: () => number,
  ulid: (() => string) | undefined,
): Promise<State> {
  const loaded = await journal?.load()
  const stores = new Map<string, StoreState>()
  const byUlid = (a: { ulid: string }, b: { ulid: string }): number => (a.ulid < b.ulid ? -1 : 1)
  for (const row of loaded?.stores ?? []) {
    stores.set(
      row.id,
      createStoreState(row, journal, loaded?.changes.filter((change) => change.storeId === row.id) ?? []),
    )
  }
  for (const model of [...(loaded?.models ?? [])].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    stores.get(model.storeId)?.models.set(model.id, compileModel(model.json, model.id))
  }
  let floor = ''
  for (const tuple of [...(loaded?.tuples ?? [])].sort(byUlid)) {
    const { user, relation, object, condition } = tuple
    stores.get(tuple.storeId)?.tuples.add({ user, relation, object, condition }, tuple.ulid)
    floor = tuple.ulid > floor ? tuple.ulid : floor
  }
  for (const { ulid: changed } of loaded?.changes ?? []) floor = changed > floor ? changed : floor
  return { stores, nextUlid: ulid ?? createUlids(now, floor) }
}
