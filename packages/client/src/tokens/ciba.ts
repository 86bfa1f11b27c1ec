import type { RemitError } from '../errors/error.ts'
import {
  ApprovalDenied,
  ApprovalExpired,
  ApprovalPending,
  GrantedDiffers,
  type PendingApproval,
  WrongPerson,
} from '../errors/kinds.ts'
import { isRemitError } from '../errors/make.ts'
import { digest } from '../shared/digest.ts'
import { canonicalJson, isObject, isWord } from '../shared/json.ts'
import { createIssuerClient, type IssuerOptions } from './issuer-client.ts'
import { readTokenAnswer } from './read-answer.ts'
import type { AccessToken, TokenRequest } from './token.ts'
import type { Within } from './within.ts'

/** A question to a person on their own device (OpenID CIBA), and the token that their yes gives. */
export interface CibaRequest extends TokenRequest {
  /** What the person reads beside the question, in the agent's words: plain text on one line. */
  readonly bindingMessage: string
  /** Seconds that the person has. Default: the issuer's. */
  readonly expirySeconds?: number | undefined
  /**
   * Whether a detail that was granted is within one that was asked for. Default: the same, or plainly less.
   */
  readonly within?: Within | undefined
}

/** Asks people on their own device, and fetches the token that comes of it (CIBA, poll mode). */
export interface Ciba {
  readonly agent: string
  /** Asks the person of the request. What it gives may be stored, and gone on with in another process. */
  start(request: CibaRequest): Promise<PendingApproval>
  /**
   * Looks once. The same request as at the start is needed again: who, what and for which API is held against
   * what waits, and against what was granted.
   *
   * @throws ApprovalPending, ApprovalDenied, ApprovalExpired; WrongPerson and GrantedDiffers where it is not
   * that question's; Unavailable where the issuer cannot be asked.
   */
  poll(pending: PendingApproval, request: CibaRequest): Promise<AccessToken>
}

const grantType = 'urn:openid:params:grant-type:ciba'
const intervalDefault = 5
const slowDownSeconds = 5

/** Asks people through the issuer's backchannel endpoint (OpenID CIBA, poll mode). */
export function ciba(options: IssuerOptions): Ciba {
  const client = createIssuerClient(options)
  const { agent } = client

  return {
    agent,
    async start(request) {
      const { person, audience, scopes, details = [], bindingMessage, expirySeconds } = request
      const answer = await client.post(
        'backchannel',
        {
          login_hint: person.subject,
          // CIBA is OpenID's: without that scope a request is none.
          scope: ['openid', ...scopes].join(' '),
          resource: audience,
          binding_message: bindingMessage,
          authorization_details: details.length > 0 ? JSON.stringify(details) : undefined,
          requested_expiry: expirySeconds === undefined ? undefined : String(expirySeconds),
        },
        [],
      )
      const { auth_req_id: authReqId, expires_in: seconds, interval } = answer
      if (!isWord(authReqId)) throw differs('The issuer gave no id of the question.')
      return {
        authReqId,
        subject: person.subject,
        agent,
        digest: await digestOf(request),
        expiresAt: client.platform.now() + (typeof seconds === 'number' ? seconds : 300) * 1_000,
        interval: typeof interval === 'number' && interval > 0 ? interval : intervalDefault,
      }
    },
    async poll(pending, request) {
      const { person, audience, scopes, details, within: containment } = request
      // Before anything is sent: a token that came of it would be for that other person, whoever looks.
      if (pending.subject !== person.subject)
        throw new WrongPerson('wrong_person', { message: 'This question was put to somebody else.' }, {})
      if (pending.agent !== agent || pending.digest !== (await digestOf(request)))
        throw differs('This question was another one.')
      try {
        const form = { grant_type: grantType, auth_req_id: pending.authReqId }
        const answer = await client.post('token', form, [pending.authReqId])
        return readTokenAnswer(
          answer,
          { subject: person.subject, audience, scopes, details, within: containment },
          client,
        )
      } catch (error) {
        throw isRemitError(error) ? outcomeOf(error, pending) : error
      }
    },
  }
}

/** That the person was asked, or asks back first. */
export function approvalPendingOf(
  resume: PendingApproval,
  question?: ApprovalPending['data']['question'],
): ApprovalPending {
  const message = question === undefined ? 'The person was asked.' : 'The person has a question first.'
  const payload = { resume, ...(question !== undefined && { question }) }
  return new ApprovalPending('approval_pending', { message, retryAfter: resume.interval }, payload)
}

/** Of everything that is asked for, and of whom. */
export const digestOf = ({
  person,
  audience,
  scopes,
  details = [],
  bindingMessage,
}: CibaRequest): Promise<string> =>
  digest(canonicalJson([person.subject, audience, [...new Set(scopes)].sort(), details, bindingMessage]))

function outcomeOf(error: RemitError, pending: PendingApproval): RemitError {
  switch (error.code) {
    case 'authorization_pending':
      return approvalPendingOf(pending, questionOf(error.data))
    case 'slow_down': {
      const interval = Math.max(pending.interval + slowDownSeconds, error.retryAfter ?? 0)
      return approvalPendingOf({ ...pending, interval })
    }
    case 'access_denied': {
      const { reason } = { reason: undefined, ...error.data }
      const message = 'The person did not approve this.'
      return new ApprovalDenied('approval_denied', { message }, isWord(reason) ? { reason } : {})
    }
    case 'expired_token':
      return new ApprovalExpired('approval_expired', { message: 'Nobody answered in time.' }, {})
    default:
      return error
  }
}

function questionOf(payload: object): ApprovalPending['data']['question'] {
  const { infoRequest } = { infoRequest: undefined, ...payload }
  if (!isObject(infoRequest)) return undefined
  const { approval, question: text } = infoRequest
  return isWord(approval) && isWord(text) ? { approval, text } : undefined
}

const differs = (message: string) => new GrantedDiffers('granted_differs', { message }, {})
