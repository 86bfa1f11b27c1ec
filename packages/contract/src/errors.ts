/**
 * Every error that may leave the service: code → status and title. Each has a page in `docs/errors/`.
 * Forbidden and missing share `not_found`, so that nobody learns what exists.
 */
export const errorCodes = {
  invalid_request: { status: 422, title: 'The request does not fit the contract.' },
  malformed_body: { status: 400, title: 'The body cannot be read.' },
  invalid_token: { status: 401, title: 'The access token is missing, invalid or expired.' },
  invalid_dpop_proof: { status: 401, title: 'The proof of the token’s key is missing or wrong.' },
  use_dpop_nonce: { status: 401, title: 'The proof of the token’s key needs a fresh nonce.' },
  insufficient_user_authentication: { status: 401, title: 'A more recent sign-in is needed.' },
  insufficient_scope: { status: 403, title: 'The access token lacks a scope.' },
  actor_unauthorized: { status: 403, title: 'This agent may not act here.' },
  approval_required: { status: 403, title: 'The person has to agree to exactly this first.' },
  forbidden: { status: 403, title: 'The caller may not do this.' },
  not_found: { status: 404, title: 'There is nothing here for this caller.' },
  method_not_allowed: { status: 405, title: 'This path does not take this method.' },
  conflict: { status: 409, title: 'The state of the resource does not allow this.' },
  connection_required: { status: 409, title: 'The person has not linked this account for this agent.' },
  reconnect_required: { status: 409, title: 'The person has to connect this account once more.' },
  idempotency_mismatch: { status: 409, title: 'The idempotency key was used for another request.' },
  plan_outdated: { status: 409, title: 'The plan no longer describes what would happen.' },
  model_refused: { status: 422, title: 'This model may not come into force.' },
  payload_too_large: { status: 413, title: 'The body is too large.' },
  uri_too_long: { status: 414, title: 'The request target is too long.' },
  unsupported_media_type: { status: 415, title: 'The media type is not supported.' },
  misdirected_request: { status: 421, title: 'The Host header names another server.' },
  rate_limited: { status: 429, title: 'Too many requests.' },
  internal_error: { status: 500, title: 'Something broke on our side.' },
  authorization_unavailable: { status: 503, title: 'Permissions cannot be checked now.' },
  search_unavailable: { status: 503, title: 'Search is not answering.' },
  provider_unavailable: { status: 503, title: 'The provider does not answer.' },
  overloaded: { status: 503, title: 'More is asked than can be answered in time.' },
  storage_unavailable: { status: 503, title: 'The database is not answering.' },
  deadline_exceeded: { status: 503, title: 'The request ran out of time.' },
  outcome_unknown: { status: 504, title: 'Nobody knows whether the call took effect.' },
} as const

/** `code` of every problem (RFC 9457) that the service answers with. */
export type ErrorCode = keyof typeof errorCodes
