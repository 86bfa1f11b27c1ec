import type { ErrorCode } from '@remit/contract/errors'
import type { Job } from '../shared/answers.ts'
import { type Detail, isDetail } from '../shared/detail.ts'
import { type Check, isAnyObject, isNumber, isText, listOf, optional, shape } from '../shared/shape.ts'
import { isJob } from '../writer/wire.ts'
import { type ErrorFacts, RemitError } from './error.ts'

/** A person has to agree first. What to ask them for is in `data.authorizationDetails`. */
export class ApprovalRequired extends RemitError<{ readonly authorizationDetails: readonly Detail[] }> {
  override readonly name = 'ApprovalRequired'
}

/**
 * The person said no. Never a result: nothing of what was asked for happened, and asking again is for the
 * person to begin.
 */
export class ApprovalDenied extends RemitError<{
  readonly approval?: string
  /** The person's words, if any. Not part of the message, which a model may read. */
  readonly reason?: string
}> {
  override readonly name = 'ApprovalDenied'
}

/** Nobody answered in time. */
export class ApprovalExpired extends RemitError<{ readonly approval?: string }> {
  override readonly name = 'ApprovalExpired'
}

/**
 * What an app keeps of a question that waits for its answer, to go on with in whatever process. Holds no
 * token.
 */
export interface PendingApproval {
  readonly authReqId: string
  /** Whom it was asked of: nobody else's session goes on with it. */
  readonly subject: string
  /** The agent's client that asked. */
  readonly agent: string
  /** Of everything that was asked for: a call with other arguments does not go on with it. */
  readonly digest: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  /** Seconds between two looks at least. */
  readonly interval: number
}

/** A question waits for the person's answer; nothing is wrong. `data.resume` goes on with it. */
export class ApprovalPending extends RemitError<{
  readonly resume: PendingApproval
  /** What the person wants to know first, if they asked, and where the answer goes. */
  readonly question?: { readonly approval: string; readonly text: string }
}> {
  override readonly name = 'ApprovalPending'
}

/** The person has to sign in, in any browser: show them the address and the code. */
export class SignInRequired extends RemitError<{
  readonly verificationUri: string
  readonly verificationUriComplete?: string
  readonly userCode: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}> {
  override readonly name = 'SignInRequired'
}

/** The person has to link their account at a third party (or link it again): show them `data.connectUrl`. */
export class ConnectionRequired extends RemitError<{ readonly connectUrl: string }> {
  override readonly name = 'ConnectionRequired'
}

/** This agent may not act here for this person; why is not said. */
export class ActorUnauthorized extends RemitError {
  override readonly name = 'ActorUnauthorized'
}

/** `data.scopes` is all that the request needs, not only what was missing. */
export class InsufficientScope extends RemitError<{ readonly scopes: readonly string[] }> {
  override readonly name = 'InsufficientScope'
}

/** Not there, or not for this person and agent: the service makes no difference. */
export class NotFound extends RemitError {
  override readonly name = 'NotFound'
}

/** Asked too often; `retryAfter` says when to come again. */
export class RateLimited extends RemitError {
  override readonly name = 'RateLimited'
}

/**
 * No answer, or none now: it cannot be reached, was too slow, or says that it cannot decide. Nothing was
 * given out.
 */
export class Unavailable extends RemitError {
  override readonly name = 'Unavailable'
}

/** A call to a third party was sent, and nobody knows whether it took effect: look before doing it again. */
export class OutcomeUnknown extends RemitError {
  override readonly name = 'OutcomeUnknown'
}

/** A tool was called for nobody: no session was given, or none that `remit.for` made. */
export class NoPerson extends RemitError {
  override readonly name = 'NoPerson'
}

/**
 * A token, or a question that waits, belongs to somebody else than the person of this session. It was not
 * used.
 */
export class WrongPerson extends RemitError {
  override readonly name = 'WrongPerson'
}

/** The token that came is for something else than what was asked for. It was not used. */
export class GrantedDiffers extends RemitError {
  override readonly name = 'GrantedDiffers'
}

/** A write was taken in and failed; `data.job` says of which document and why. */
export class WriteFailed extends RemitError<{ readonly job: Job }> {
  override readonly name = 'WriteFailed'
}

/** What the service never answers with: errors of OAuth's endpoints, and the client's own. */
type OwnCode =
  | 'approval_denied'
  | 'approval_expired'
  | 'approval_pending'
  | 'sign_in_required'
  | 'unavailable'
  | 'temporarily_unavailable'
  | 'no_person'
  | 'wrong_person'
  | 'granted_differs'
  | 'write_failed'

/** Undefined: the data is not what this kind says. */
type Make<E> = (code: string, errorFacts: ErrorFacts, payload: unknown) => E | undefined

const kind =
  <Data extends object, E extends RemitError<Data>>(
    Kind: new (code: string, errorFacts: ErrorFacts, payload: Data) => E,
    check: Check<Data>,
  ): Make<E> =>
  (code, errorFacts, payload) =>
    check(payload) ? new Kind(code, errorFacts, payload) : undefined

const denied = shape<ApprovalDenied['data']>({ approval: optional(isText), reason: optional(isText) })
const pending = shape<ApprovalPending['data']>({
  resume: shape<PendingApproval>({
    authReqId: isText,
    subject: isText,
    agent: isText,
    digest: isText,
    expiresAt: isNumber,
    interval: isNumber,
  }),
  question: optional(shape<{ approval: string; text: string }>({ approval: isText, text: isText })),
})
const signIn = shape<SignInRequired['data']>({
  verificationUri: isText,
  verificationUriComplete: optional(isText),
  userCode: isText,
  expiresAt: isNumber,
})
const connection = kind(ConnectionRequired, shape<ConnectionRequired['data']>({ connectUrl: isText }))
const unavailable = kind(Unavailable, isAnyObject)

/** How each code becomes an error. One that the service no longer has is a compile error here. */
export const kinds = {
  approval_required: kind(
    ApprovalRequired,
    shape<ApprovalRequired['data']>({ authorizationDetails: listOf(isDetail) }),
  ),
  approval_denied: kind(ApprovalDenied, denied),
  approval_expired: kind(ApprovalExpired, shape<ApprovalExpired['data']>({ approval: optional(isText) })),
  approval_pending: kind(ApprovalPending, pending),
  sign_in_required: kind(SignInRequired, signIn),
  connection_required: connection,
  reconnect_required: connection,
  actor_unauthorized: kind(ActorUnauthorized, isAnyObject),
  insufficient_scope: kind(InsufficientScope, shape<InsufficientScope['data']>({ scopes: listOf(isText) })),
  not_found: kind(NotFound, isAnyObject),
  rate_limited: kind(RateLimited, isAnyObject),
  unavailable,
  authorization_unavailable: unavailable,
  search_unavailable: unavailable,
  overloaded: unavailable,
  storage_unavailable: unavailable,
  temporarily_unavailable: unavailable,
  provider_unavailable: unavailable,
  deadline_exceeded: unavailable,
  outcome_unknown: kind(OutcomeUnknown, isAnyObject),
  no_person: kind(NoPerson, isAnyObject),
  wrong_person: kind(WrongPerson, isAnyObject),
  granted_differs: kind(GrantedDiffers, isAnyObject),
  write_failed: kind(WriteFailed, shape<WriteFailed['data']>({ job: isJob })),
} satisfies Readonly<Partial<Record<ErrorCode | OwnCode, unknown>>>

/** The error class of each code that has one of its own. */
export type ErrorsByCode = {
  readonly [C in keyof typeof kinds]: NonNullable<ReturnType<(typeof kinds)[C]>>
}
