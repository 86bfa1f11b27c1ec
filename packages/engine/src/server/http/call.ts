import type { JsonObject } from '../../core/condition-values.ts'
import { FgaError } from '../../core/errors.ts'
import type { Model } from '../../core/model.ts'
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
  readonly depthMax: number
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

/** The model asked for, or the latest. Unknown stores answer like stores without a model, as the server does. */
export function modelOf(
  call: Call,
  id: string | undefined,
): { readonly model: Model; readonly store: StoreState } {
  const store = storeOf(call)
  if (id === undefined) {
    const model = store === undefined ? undefined : [...store.models.values()].at(-1)
    if (model === undefined || store === undefined) {
      throw new FgaError(
        'latest_authorization_model_not_found',
        `No authorization models found for store '${call.storeId}'`,
      )
    }
    return note(call, store, model)
  }
  const model = store?.models.get(id)
  if (model === undefined || store === undefined)
    throw new FgaError('authorization_model_not_found', `Authorization Model '${id}' not found`)
  return note(call, store, model)
}

function note(
  call: Call,
  store: StoreState,
  model: Model,
): { readonly model: Model; readonly store: StoreState } {
  call.headers.set('Openfga-Authorization-Model-Id', model.id)
  return { model, store }
}

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

/** The error for a continuation token that cannot be read. */
export const badToken = (): FgaError =>
  new FgaError('invalid_continuation_token', 'Invalid continuation token')
