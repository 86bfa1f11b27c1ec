import type { JsonObject } from '../../core/condition-values.ts'
import { FgaError } from '../../core/errors.ts'
import type { Model } from '../../core/model.ts'
import type { TupleKey } from '../../core/tuples.ts'
import { isUlid, ulidTime } from '../../core/ulid.ts'
import type { Journal } from '../journal.ts'
import type { State, StoreState } from '../state.ts'

/** What every handler gets. */
export interface Call {
  readonly storeId: string
  /** The last path segment where the route has one: a model id. */
  readonly id: string
  readonly query: URLSearchParams
  readonly body: JsonObject
  readonly state: State
  readonly journal: Journal | undefined
  readonly now: () => number
  /** Response headers; handlers note the model they used. */
  readonly headers: Headers
  /** Runs changes one after another, so that what was validated still holds when it is applied. */
  exclusive<T>(work: () => Promise<T>): Promise<T>
}

/** Status and body of an answer; a stream is NDJSON. */
export interface Reply {
  readonly status: number
  readonly body?: JsonObject | ReadableStream<Uint8Array>
}

/** A 200 with this body. */
export const ok = (body: JsonObject): Reply => ({ status: 200, body })

/** The store that the path names, if there is one. */
export const storeOf = (call: Call): StoreState | undefined => call.state.stores.get(call.storeId)

/** The same, where a store that is not there is an error. */
export function existingStore(call: Call): StoreState {
  const store = storeOf(call)
  if (store === undefined) throw new FgaError('store_id_not_found', 'Store ID not found')
  return store
}

/**
 * The model asked for, or the latest. Unknown stores answer like stores without a model, as the server does.
 */
export function modelOf(
  call: Call,
  id: string | undefined,
): { readonly model: Model; readonly store: StoreState } {
  const store = storeOf(call)
  const model = id === undefined ? [...(store?.models.values() ?? [])].at(-1) : store?.models.get(id)
  if (store !== undefined && model !== undefined) {
    call.headers.set('Openfga-Authorization-Model-Id', model.id)
    return { model, store }
  }
  throw id === undefined
    ? new FgaError(
        'latest_authorization_model_not_found',
        `No authorization models found for store '${call.storeId}'`,
      )
    : noSuchModel(id)
}

/** The error for a model that the store does not have. */
export const noSuchModel = (id: string): FgaError =>
  new FgaError('authorization_model_not_found', `Authorization Model '${id}' not found`)

/** Opaque continuation tokens: URL-safe base64 of what the page ended with. */
export const encodeToken = (text: string): string => btoa(text).replaceAll('+', '-').replaceAll('/', '_')

/** Reads a continuation token. Throws `invalid_continuation_token` for what is no base64url. */
export function decodeToken(token: string): string {
  if (token.length % 4 !== 0) throw badToken()
  try {
    return atob(token.replaceAll('-', '+').replaceAll('_', '/'))
  } catch (cause) {
    if (cause instanceof DOMException) throw badToken()
    throw cause
  }
}

/** Reads a continuation token that is a ULID; empty for the first page. */
export function decodeUlid(token: string): string {
  const ulid = decodeToken(token)
  if (ulid !== '' && !isUlid(ulid)) throw badToken()
  return ulid
}

/** The error for a continuation token that cannot be read. */
export const badToken = (): FgaError =>
  new FgaError('invalid_continuation_token', 'Invalid continuation token')

/** A tuple as answers show it. */
export const showKey = ({ user, relation, object, condition }: TupleKey): JsonObject => ({
  user,
  relation,
  object,
  condition: condition === undefined ? null : { name: condition.name, context: condition.context },
})

/** The time of a ULID, as answers show it. */
export const timeOf = (ulid: string): string => new Date(ulidTime(ulid)).toISOString()

/**
 * The first `size` of what a page begins with, and the token of the next one: empty where nothing is left.
 */
export function pageOf<Row>(rows: readonly Row[], size: number, idOf: (row: Row) => string) {
  const page = rows.slice(0, size)
  const last = rows.length > size ? page.at(-1) : undefined
  return { page, continuation_token: last === undefined ? '' : encodeToken(idOf(last)) }
}
