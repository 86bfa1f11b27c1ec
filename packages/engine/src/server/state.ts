import { compileModel, type Model } from '../core/model.ts'
import { typeOf } from '../core/names.ts'
import { createTupleStore, firstAfter, type TupleStore } from '../core/tuple-store.ts'
import { createUlids } from '../core/ulid.ts'
import type { ChangeQuery, ChangeRow, Journal, StoreRow } from './journal.ts'

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
export async function loadState(journal: Journal | undefined, now: () => number): Promise<State> {
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
  return { stores, nextUlid: createUlids(now, floor) }
}

/** The change log of one store, as far as memory holds it. */
interface ChangeLog {
  append(changes: readonly ChangeRow[]): void
  /** Undefined when the answer begins before what memory holds: ask the journal. */
  read(query: ChangeQuery): readonly ChangeRow[] | undefined
}

/** `keep` = how many changes stay at least; twice as many may, so that dropping is rare. */
function createChangeLog(rows: readonly ChangeRow[], keep: number, isComplete: boolean): ChangeLog {
  let log = [...rows].sort((a, b) => (a.ulid < b.ulid ? -1 : 1))
  let hasEverything = isComplete
  return {
    append(changes) {
      log.push(...changes)
      if (log.length <= keep * 2) return
      log = log.slice(-keep)
      hasEverything = false
    },
    read({ after: afterUlid, type, limit }) {
      if (!hasEverything && afterUlid < (log[0]?.ulid ?? '~')) return undefined
      const found: ChangeRow[] = []
      for (let i = firstAfter(log, afterUlid); i < log.length && found.length < limit; i++) {
        const change = log[i]
        if (change !== undefined && (type === undefined || typeOf(change.key.object) === type))
          found.push(change)
      }
      return found
    },
  }
}
