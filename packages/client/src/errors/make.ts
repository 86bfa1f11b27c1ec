import { isObject } from '../shared/json.ts'
import { type Check, isNumber, isRecord, isText, optional, shape } from '../shared/shape.ts'
import { type ErrorFacts, isBranded, RemitError, type SerializedError } from './error.ts'
import { type ErrorsByCode, kinds } from './kinds.ts'

/** Whether this is an error of the client, of whatever copy of the package; with `code` also which. */
export function isRemitError(value: unknown): value is RemitError
export function isRemitError<C extends keyof ErrorsByCode>(value: unknown, code: C): value is ErrorsByCode[C]
export function isRemitError(value: unknown, code: string): value is RemitError
export function isRemitError(value: unknown, code?: string): value is RemitError {
  return isBranded(value) && (code === undefined || value.code === code)
}

/**
 * The error of this code, of its own class where it has one; of a code that is not known here, by its status.
 * Undefined: `data` is not what that class says.
 */
export function makeError(code: string, errorFacts: ErrorFacts, payload: unknown): RemitError | undefined {
  if (isKnown(code)) return kinds[code](code, errorFacts, payload)
  // A code of a newer service: the two statuses that say all that a caller can do.
  if (errorFacts.status === 404) return kinds.not_found(code, errorFacts, payload)
  if (errorFacts.status === 503) return kinds.unavailable(code, errorFacts, payload)
  return isObject(payload) ? new RemitError(code, errorFacts, payload) : undefined
}

/**
 * The error that `toJSON` made this of, in another process perhaps. Checks every member that it takes over.
 *
 * @throws TypeError where it is none.
 */
export function errorFromJSON(json: unknown): RemitError {
  const error = isSerialized(json) ? revived(json) : undefined
  if (error === undefined) throw new TypeError('This is no serialized error of Remit.')
  return error
}

const isKnown = (code: string): code is keyof ErrorsByCode => Object.hasOwn(kinds, code)

const isSerialized: Check<SerializedError> = shape<SerializedError>({
  remit_error: isText,
  message: isText,
  status: optional(isNumber),
  txn: optional(isText),
  field: optional(isText),
  retry_after: optional(isNumber),
  data: optional((value): value is NonNullable<SerializedError['data']> => isRecord(value)),
})

const revived = ({ remit_error, message, status, txn, field, retry_after, data: payload }: SerializedError) =>
  makeError(remit_error, { message, status, txn, field, retryAfter: retry_after }, payload ?? {})
