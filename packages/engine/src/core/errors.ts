/**
 * OpenFGA's error codes that this engine answers, with their numbers (openfga.v1 ErrorCode and relatives).
 */
export const fgaCodes = {
  bearer_token_missing: 1010,
  unauthenticated: 1500,
  validation_error: 2000,
  authorization_model_not_found: 2001,
  authorization_model_resolution_too_complex: 2002,
  invalid_write_input: 2003,
  cannot_allow_duplicate_tuples_in_one_request: 2004,
  invalid_continuation_token: 2007,
  write_failed_due_to_invalid_input: 2017,
  latest_authorization_model_not_found: 2020,
  type_not_found: 2021,
  type_invalid_pattern: 2047,
  relation_not_found: 2022,
  invalid_tuple: 2027,
  store_id_invalid_length: 2030,
  authorization_model_id_too_long: 2034,
  tuple_key_value_not_specified: 2037,
  page_size_invalid: 2039,
  relations_invalid_pattern: 2050,
  type_definitions_too_few_items: 2045,
  query_string_type_continuation_token_mismatch: 2052,
  exceeded_entity_limit: 2053,
  invalid_authorization_model: 2056,
  invalid_start_time: 2059,
  internal_error: 4000,
  resource_exhausted: 4006,
  Aborted: 4009,
  undefined_endpoint: 5000,
  store_id_not_found: 5002,
  unimplemented: 5004,
} as const

/** An error code of OpenFGA's API. */
export type FgaCode = keyof typeof fgaCodes

/** An error as the server's HTTP API answers it: `{code, message}` with a status from its class. */
export class FgaError extends Error {
  readonly code: FgaCode

  constructor(code: FgaCode, message: string) {
    super(message)
    this.name = 'FgaError'
    this.code = code
  }

  get status(): number {
    const number = fgaCodes[this.code]
    if (this.code === 'Aborted') return 409
    if (number < 2000) return 401
    if (number < 3500) return 400
    return number < 5000 ? 500 : 404
  }
}

/** A request that does not have the form the API wants: 400 `validation_error`. */
export const invalidRequest = (message: string): FgaError => new FgaError('validation_error', message)

/** A model that has the form the API wants, and no meaning. */
export const invalidModel = (message: string): FgaError =>
  new FgaError('invalid_authorization_model', message)

/** The depth limit or the work limit was reached: neither yes nor no. */
export const tooComplex = (): FgaError =>
  new FgaError(
    'authorization_model_resolution_too_complex',
    'Authorization Model resolution required too many rewrite rules to be resolved. Check your authorization model for infinite recursion or too much nesting',
  )

/** A condition could not be evaluated: neither yes nor no. */
export class ConditionError extends Error {
  constructor(condition: string, cause: string) {
    super(`failed to evaluate relationship condition: '${condition}' - ${cause}`)
    this.name = 'ConditionError'
  }
}
