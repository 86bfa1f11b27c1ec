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

/** A tuple as it is stored, by whomever: its condition may be one that is not ours. */
export interface StoredTuple {
  readonly user: string
  readonly relation: string
  readonly object: string
  readonly condition?: { readonly name: string; readonly context: Readonly<Record<string, unknown>> }
  /** Milliseconds since the epoch, by OpenFGA's clock. */
  readonly writtenAt: number
}

/** One entry of the change log; `writtenAt` of a delete is when it was deleted, and it has no condition. */
export interface Change {
  readonly operation: 'write' | 'delete'
  readonly tuple: StoredTuple
}

/** Where to go on in the change log. Without either member: from its very beginning. */
export interface ChangePosition {
  /** OpenFGA's token of the last change read. */
  readonly after?: string
  /** Milliseconds since the epoch; only without `after`. Must be past by OpenFGA's clock. */
  readonly startTime?: number
}

/** A page of OpenFGA's change log. */
export interface ChangePage {
  /** Oldest first. */
  readonly changes: readonly Change[]
  /** Where the next page begins; the same as was asked where there was nothing. */
  readonly position: ChangePosition
  /** Nothing came after these when this was read. */
  readonly isEnd: boolean
}

/**
 * OpenFGA does not know this place of its change log: another store's token, a time that it calls the future.
 */
export class PositionRefused extends Error {
  constructor(cause: unknown) {
    super('OpenFGA refused a place of its change log', { cause })
    this.name = 'PositionRefused'
  }
}

/** Tuples to write and to delete. */
export interface Writing {
  readonly writes?: readonly Tuple[]
  readonly deletes?: readonly TupleKey[]
}

/**
 * OpenFGA wrote nothing of a Write, beyond doubt: mostly since something that was to be written exists
 * already.
 */
export class WriteRefused extends Error {
  constructor(reason = 'OpenFGA holds a tuple already that was to be written') {
    super(reason)
    this.name = 'WriteRefused'
  }
}

/** One question to OpenFGA. Its context, the time, is added where it is sent. */
export interface Check {
  readonly user: string
  readonly relation: string
  readonly object: FgaObject
  /** Request-only tuples: `acting_for`, `presented`, `not_blocked`. */
  readonly contextual?: readonly TupleKey[]
}

/**
 * `fresh` bypasses every cache of the server (HIGHER_CONSISTENCY); `cached` may repeat an answer that is as
 * old as the server's cache lifetime, for whoever watches for what was taken away since.
 */
export type Consistency = 'fresh' | 'cached'

/**
 * How to ask: the consistency, the time that conditions see (milliseconds), and a signal that ends the
 * wait.
 */
export interface QueryOptions {
  /** `fresh` where left out. */
  readonly consistency?: Consistency
  /** Milliseconds since the epoch; sent as `current_time`, rounded so that no grant outlives its end. */
  readonly now: number
  readonly signal?: AbortSignal
}

/** `error` is a denial that is never remembered: the server failed on it, or left it out of its answer. */
export type Verdict = 'allowed' | 'denied' | 'error'

/** Verdicts of several checks, with what the record keeps of the calls. */
export interface BatchAnswer {
  /** One verdict for each check, in the order asked. */
  readonly verdicts: readonly Verdict[]
  /** Of those in error: what is nested deeper than OpenFGA follows, or more than the engine works through. */
  readonly tooDeep?: readonly Check[]
  /** OpenFGA's X-Request-Id of each call made, for the record. */
  readonly requestIds: readonly string[]
}

/** OpenFGA, the real server or the embedded engine: one store, one model in force. */
export interface Fga {
  readonly storeId: string
  /**
   * The model in force, pinned on every call. It changes while the process runs: read it where it is used.
   */
  readonly modelId: string
  /**
   * Answers any number of checks, at most 50 a call. Throws `authorization_unavailable` when nothing
   * answered.
   */
  batchCheck(checks: readonly Check[], options: QueryOptions): Promise<BatchAnswer>
  /**
   * Objects of `type` for which the server says yes. Only nominates: the server may truncate at its own
   * deadline.
   */
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
  /** Every stored tuple, 100 a page, in the order written. What changes meanwhile may be in or not. */
  readAll(options?: { readonly signal?: AbortSignal }): AsyncIterable<readonly StoredTuple[]>
  /**
   * At most `limit` changes after a place of the log. Throws `PositionRefused` where that is none. Near the
   * end of a real server's log a change may still appear before ones that were read: it is stamped before it
   * is committed.
   */
  readChanges(
    position: ChangePosition,
    options?: {
      readonly signal?: AbortSignal
      /** 1 to 100, which is the default. */
      readonly limit?: number
    },
  ): Promise<ChangePage>
  /**
   * One Write, where the server takes that many tuples at once; else several, of which each leaves nobody
   * with more than before or nobody with more than after (write-order.ts). Writes that exist and deletes that
   * do not are ignored, so that a step may run twice. A tuple whose end changes is among the deletes as well
   * as among the writes. `nextTurn` gives a tuple that the next Write brings along. With it nothing that is
   * written may exist already, else that Write throws {@link WriteRefused}: then nothing of it was written,
   * what went before it was. Any other throw leaves open whether the last Write takes effect, now or later.
   */
  write(change: Writing, nextTurn?: () => Promise<Tuple>): Promise<void>
  /**
   * Changes of different objects, each as {@link write} does it, with as many of them in one Write as the
   * server takes. What is thrown leaves open which of them are in.
   */
  writeEach(changes: readonly Writing[], nextTurn?: () => Promise<Tuple>): Promise<void>
  /**
   * Whether `write` can keep its promise about what is between: what may give as well as take fits one Write.
   */
  isOrderly(change: Writing, options: { readonly fenced: boolean }): Promise<boolean>
  /** Whether the server answers, and has this model. */
  isHealthy(modelId: string): Promise<boolean>
}

/** As many checks as OpenFGA takes in one call. */
export const batchMax = 50

/** The entries in their order, at most as many together as one call takes. */
export function pages<T>(entries: readonly T[]): T[][] {
  const result: T[][] = []
  for (let offset = 0; offset < entries.length; offset += batchMax)
    result.push(entries.slice(offset, offset + batchMax))
  return result
}

/**
 * The context of every question. Rounded up to the next second: a grant that ends within this second is
 * already over.
 */
export const contextAt = (now: number): { readonly current_time: string } => ({
  current_time: new Date(Math.ceil(now / 1_000) * 1_000).toISOString(),
})

/** `user relation object`: the same for the same tuple key, whatever its condition. */
export const tupleId = ({ user, relation, object }: Pick<StoredTuple, keyof TupleKey>): string =>
  `${user} ${relation} ${object}`

/**
 * For the record: tuples that end, each with its end, as `why` spells them. Without one the member is left
 * out.
 */
export function endsOf(
  tuples: readonly (Pick<StoredTuple, keyof TupleKey> & {
    readonly condition?: { readonly context: Readonly<Record<string, unknown>> } | undefined
  })[],
): {
  readonly ends?: readonly string[]
} {
  const ends = tuples.flatMap((tuple) => {
    const expiry = tuple.condition?.context['expires_at']
    return typeof expiry === 'string' ? [`${tupleId(tuple)} until ${expiry}`] : []
  })
  return ends.length === 0 ? {} : { ends }
}
