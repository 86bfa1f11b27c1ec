import type { FgaObject } from '../kernel/ids.ts'

/** One relationship tuple. `user` is `type:id`, `type:*` or `type:id#relation`. */
export interface Tuple {
  readonly user: string
  readonly relation: string
  readonly object: FgaObject
  readonly condition?: UntilCondition
}

/** The only condition that is ever stored; any other context member would win over what we send. */
export interface UntilCondition {
  readonly name: 'until'
  readonly context: { readonly expires_at: string }
}

/** A tuple's identity in OpenFGA leaves its condition out. */
export type TupleKey = Pick<Tuple, 'user' | 'relation' | 'object'>

export interface Check {
  readonly user: string
  readonly relation: string
  readonly object: FgaObject
  /** Request-only tuples: `acting_for`, `presented`. */
  readonly contextual?: readonly TupleKey[]
}

/**
 * `fresh` bypasses every cache of the server (HIGHER_CONSISTENCY); `cached` may repeat an answer that is as old as
 * the server's cache lifetime, for whoever watches for what was taken away since.
 */
export type Consistency = 'fresh' | 'cached'

export interface QueryOptions {
  /** `fresh` where left out. */
  readonly consistency?: Consistency
  /** Milliseconds since the epoch; sent as `current_time`, rounded so that no grant outlives its end. */
  readonly now: number
  readonly signal?: AbortSignal
}

/** `error` is a denial that is never remembered: the server failed on it, or left it out of its answer. */
export type Verdict = 'allowed' | 'denied' | 'error'

export interface BatchAnswer {
  /** One verdict for each check, in the order asked. */
  readonly verdicts: readonly Verdict[]
  /** OpenFGA's X-Request-Id of each call made, for the record. */
  readonly requestIds: readonly string[]
}

/** OpenFGA, the real server or the embedded engine: one store, one pinned model. */
export interface Fga {
  readonly storeId: string
  /** Pinned on every call. */
  readonly modelId: string
  /** Answers any number of checks, at most 50 a call. Throws `authorization_unavailable` when nothing answered. */
  batchCheck(checks: readonly Check[], options: QueryOptions): Promise<BatchAnswer>
  /** Objects of `type` for which the server says yes. Only nominates: the server may truncate at its own deadline. */
  listObjects(
    query: {
      readonly user: string
      readonly relation: string
      readonly type: string
      readonly contextual?: readonly TupleKey[]
    },
    options: QueryOptions,
  ): AsyncIterable<FgaObject>
  /** Stored tuples that match; a filter needs the object's type at least (`document:` or `document:x`). */
  read(filter: {
    readonly user?: string
    readonly relation?: string
    readonly object?: string
  }): AsyncIterable<Tuple>
  /**
   * Deletes, then writes. Writes that exist and deletes that do not are ignored, so that a step may run
   * twice. One transaction for up to 100 tuples; more go in parts, deletes first. A tuple whose condition
   * changes must be deleted in a call before the one that writes it.
   */
  write(change: { readonly writes?: readonly Tuple[]; readonly deletes?: readonly TupleKey[] }): Promise<void>
  /** Whether the server answers at all. */
  isHealthy(): Promise<boolean>
}

export const tupleId = ({ user, relation, object }: TupleKey): string => `${user} ${relation} ${object}`
