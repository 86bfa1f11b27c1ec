import { isObject, type Json } from '../shared/json.ts'
import { scrubbed } from './scrub.ts'

/** What every error of the client may say. Plain data: it goes through JSON and comes out the same. */
export interface ErrorFacts {
  readonly message?: string | undefined
  /** HTTP status that it came with; left out where nothing was answered. */
  readonly status?: number | undefined
  /** Thread of the action through every record of the service. */
  readonly txn?: string | undefined
  /** Member of the request that is wrong, as a dotted path. */
  readonly field?: string | undefined
  /** Seconds after which asking again makes sense. */
  readonly retryAfter?: number | undefined
}

/** An error as JSON. It holds no stack and no cause. */
export interface SerializedError {
  readonly remit_error: string
  readonly message: string
  readonly status?: number
  readonly txn?: string
  readonly field?: string
  readonly retry_after?: number
  /** What this kind of error says beside the rest. */
  readonly data?: Readonly<Record<string, Json | undefined>>
}

const brand = Symbol.for('@remit/client/error')

/**
 * What the client throws. `code` is one of `docs/errors` of the service, an OAuth error, or one of the
 * client's own. No error holds a token, nor the `cause` that might; what looks like one in a message is taken
 * out.
 */
export class RemitError<Data extends object = object> extends Error {
  override readonly name: string = 'RemitError'
  readonly code: string
  readonly status: number | undefined
  readonly txn: string | undefined
  readonly field: string | undefined
  readonly retryAfter: number | undefined
  /** As the error's own class names it. */
  readonly data: Readonly<Data>

  constructor(code: string, errorFacts: ErrorFacts, payload: Readonly<Data>) {
    super(scrubbed(errorFacts.message ?? code))
    this.code = code
    this.status = errorFacts.status
    this.txn = errorFacts.txn
    this.field = errorFacts.field
    this.retryAfter = errorFacts.retryAfter
    this.data = payload
  }

  get [brand](): true {
    return true
  }

  /** Safe to store, to send to another process, and to give to whoever the person is. */
  toJSON(): SerializedError {
    const { code, message, status, txn, field, retryAfter, data } = this
    const members: Readonly<Record<string, Json | undefined>> = JSON.parse(JSON.stringify(data))
    return {
      remit_error: code,
      message,
      ...(status !== undefined && { status }),
      ...(txn !== undefined && { txn }),
      ...(field !== undefined && { field }),
      ...(retryAfter !== undefined && { retry_after: retryAfter }),
      ...(Object.keys(members).length > 0 && { data: members }),
    }
  }
}

/** Also of an error that another copy of this package made, where `instanceof` says no. */
export const isBranded = (value: unknown): value is RemitError =>
  isObject(value) && Reflect.get(value, brand) === true
