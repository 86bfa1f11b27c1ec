import type { JsonObject } from '../core/condition-values.ts'
import type { TupleKey } from '../core/tuples.ts'

/** A store, as it is kept. */
export interface StoreRow {
  readonly id: string
  readonly name: string
  /** RFC 3339. */
  readonly createdAt: string
  readonly updatedAt: string
}

/** An authorization model, as it is kept. */
export interface ModelRow {
  readonly storeId: string
  readonly id: string
  /** The model in OpenFGA's JSON form. */
  readonly json: JsonObject
}

/** A tuple, as it is kept. */
export interface TupleRow extends TupleKey {
  readonly storeId: string
  /** Order and time of writing. */
  readonly ulid: string
}

/** An entry of the log of changes, as it is kept. */
export interface ChangeRow {
  readonly storeId: string
  readonly ulid: string
  readonly operation: 'write' | 'delete'
  /** Without its condition for a delete. */
  readonly key: TupleKey
}

/** What one write changes; kept whole or not at all. */
export interface WriteBatch {
  readonly deletes: readonly TupleKey[]
  readonly writes: readonly TupleRow[]
  readonly changes: readonly ChangeRow[]
}

/**
 * Persistence. Every method but the reads is called before memory changes; a throw rejects the request (500)
 * and changes nothing in memory. Calls never overlap. A throw must mean "not stored": where that is unknown
 * (a lost connection at commit), the engine has to be made anew from `load`.
 */
export interface Journal {
  /** Rows in any order. With `readChanges` the changes may be only the newest ones. */
  load(): Promise<{
    readonly stores: readonly StoreRow[]
    readonly models: readonly ModelRow[]
    readonly tuples: readonly TupleRow[]
    readonly changes: readonly ChangeRow[]
  }>
  createStore(store: StoreRow): Promise<void>
  deleteStore(id: string): Promise<void>
  writeModel(storeId: string, model: ModelRow): Promise<void>
  /** One atomic write: deletes, then writes, and their rows of the change log. */
  write(storeId: string, batch: WriteBatch): Promise<void>
  /**
   * Changes after a ULID ('' = from the start), oldest first, of one type where given. Where this exists, the
   * engine keeps only the newest 10,000 changes of a store in memory; without it, all.
   */
  readChanges?(storeId: string, query: ChangeQuery): Promise<readonly ChangeRow[]>
}

/** Which part of the log of changes is read. */
export interface ChangeQuery {
  readonly after: string
  readonly type: string | undefined
  readonly limit: number
}
