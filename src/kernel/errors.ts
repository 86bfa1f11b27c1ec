import { type ErrorCode, errorCodes } from '@remit/contract/errors'

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

/** Details of an error: `public` leaves in the answer, `internal` goes to the log alone. */
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
  /**
   * What a caller needs to go on, beside the members that every problem has (RFC 9457 §3.2). Goes out as it
   * stands.
   */
  readonly members?: ProblemMembers
  readonly cause?: unknown
}

/** Further members of the problem document. */
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

/**
 * Whether each such error is told to the operator. Of `overloaded` there are hundreds where turns are taken,
 * which are counted; the few others, of a full line of their own, say which in a detail.
 */
export const isLogged = ({ status, code, public: detail }: AppError): boolean =>
  status >= 500 && (code !== 'overloaded' || detail !== undefined)

/** A 503 of what never began for what others ask, that says after how many seconds to come again. */
export const overloaded = (seconds = 1, detail?: string): AppError =>
  new AppError('overloaded', {
    headers: { 'retry-after': String(seconds) },
    ...(detail !== undefined && { public: detail }),
  })

/** A 422 that names the field. */
export const invalid = (field: string, detail: string): AppError =>
  new AppError('invalid_request', { field, public: detail })
