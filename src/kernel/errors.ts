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
  storage_unavailable: { status: 503, title: 'The database is not answering.' },
  deadline_exceeded: { status: 503, title: 'The request ran out of time.' },
  outcome_unknown: { status: 504, title: 'Nobody knows whether the call took effect.' },
} as const

export type ErrorCode = keyof typeof errorCodes

/** What a token would have to be like, for a caller who showed none that would do (RFC 6750 §3, 9470 §3). */
export interface Challenge {
  /** No token was shown at all: then nothing was wrong with it. */
  readonly isBare?: boolean
  /** The token is bound to a key, and was shown as if it were not. */
  readonly isBound?: boolean
  /** Every scope that the operation needs, not only those that are missing. */
  readonly scopes?: readonly string[]
  /** How old the person's sign-in may be, in seconds. */
  readonly maxAgeSeconds?: number
  /** What the token has to be for: an audience of ours. Left out: the API. */
  readonly resource?: string
}

export interface AppErrorOptions {
  /** Said to the caller. Must not tell whether an object exists. */
  readonly public?: string
  /** Said to the operator's log only. */
  readonly internal?: string
  /** The member of the request that is wrong, as a dotted path: `access.viewers.0`. */
  readonly field?: string
  /** Response headers that belong to the error, such as Retry-After. */
  readonly headers?: Readonly<Record<string, string>>
  /** Goes out as `WWW-Authenticate`, with where the API is described (RFC 9728 §5.1). */
  readonly challenge?: Challenge
  /** What a caller needs to go on, beside the members that every problem has (RFC 9457 §3.2). Goes out as it stands. */
  readonly members?: ProblemMembers
  readonly cause?: unknown
}

export interface ProblemMembers {
  /** Of `approval_required`: what may be asked for by POST /approvals, as it stands. */
  readonly authorization_details?: readonly object[]
  /** Of `connection_required` and `reconnect_required`: the person's page. */
  readonly connect_url?: string
}

/** An expected failure. Only its code's title and its public half leave the service. */
export class AppError extends Error {
  readonly code: ErrorCode
  readonly public: string | undefined
  readonly field: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly challenge: Challenge | undefined
  readonly members: ProblemMembers

  constructor(code: ErrorCode, options: AppErrorOptions = {}) {
    super(options.internal ?? options.public ?? errorCodes[code].title, { cause: options.cause })
    this.name = 'AppError'
    this.code = code
    this.public = options.public
    this.field = options.field
    this.headers = options.headers ?? {}
    this.challenge = options.challenge
    this.members = options.members ?? {}
  }

  get status(): number {
    return errorCodes[this.code].status
  }
}

/** Whatever was thrown, as what may leave: an expected failure itself, an end of time, or a bare 500. */
export function asAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  if (thrown instanceof Error && (thrown.name === 'AbortError' || thrown.name === 'TimeoutError')) {
    return new AppError('deadline_exceeded', { cause: thrown })
  }
  return new AppError('internal_error', {
    internal: thrown instanceof Error ? thrown.message : 'thrown value',
    cause: thrown,
  })
}

/** The stack of what nobody expected, for the operator's log. */
export const stackOf = (thrown: unknown): string | undefined =>
  thrown instanceof AppError ? undefined : thrown instanceof Error ? thrown.stack : undefined

/** A 422 that names the field. */
export const invalid = (field: string, detail: string): AppError =>
  new AppError('invalid_request', { field, public: detail })
