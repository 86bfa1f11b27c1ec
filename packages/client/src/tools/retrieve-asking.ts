import type { Question } from '@remit/contract/retrieval'
import type { ApprovalDenied, ApprovalExpired } from '../errors/kinds.ts'
import { isRemitError } from '../errors/make.ts'
import { internalsOf, type Session } from '../service/session.ts'
import type { ApprovalAsked, RetrieveAnswer } from '../shared/answers.ts'
import type { ToolCall } from './tool.ts'

/** Settings of `retrieveAsking`. */
export interface AskingOptions {
  /**
   * Why the agent wants to read it, in its own words, which the person sees as such: always the same, or by
   * the question.
   */
  readonly purpose: string | ((question: Question) => string)
  /**
   * Called once the person was asked, so that the app can say where they answer: their page of `asked.id`.
   * Not called where the service says no by itself.
   */
  readonly onPending?: (pendingApproval: ApprovalAsked, session: Session) => void | Promise<void>
  /** Answers what the person asks back. Left out: their question ends the wait, as a no would. */
  readonly onQuestion?: (question: string, session: Session) => string | Promise<string>
  /** They said no, or nothing in time: for the app to say so. */
  readonly onDenied?: (denied: ApprovalDenied | ApprovalExpired, session: Session) => void | Promise<void>
  /** Seconds that the person has. Default: the service's, 300. */
  readonly expirySeconds?: number
}

/**
 * `session.retrieve`, and where the service offers more that this person could release to the agent, they are
 * asked and waited for, and the question is put again with their yes. Without one the answer is what it was:
 * what needs no yes, with nothing in it of what was asked for or refused.
 *
 * @throws NoPerson; whatever `session.retrieve` throws, and the reason of `call.signal`.
 */
export async function retrieveAsking(
  options: AskingOptions,
  question: Question,
  session: Session,
  call: ToolCall = {},
): Promise<RetrieveAnswer> {
  internalsOf(session)
  const { signal } = call
  const answer = await session.retrieve(
    { ...question, ...(call.approval !== undefined && { approval: call.approval }) },
    { signal, offers: true },
  )
  const { approval: offered } = answer
  if (offered === undefined || call.approval !== undefined) return answer
  const grant = await agreed(options, offered.offer_id, question, session, signal)
  return grant === undefined ? answer : session.retrieve({ ...question, approval: grant }, { signal })
}

/**
 * The grant of a yes; undefined for everything else that a person, or the limit of questions to them, can
 * say.
 */
async function agreed(
  { purpose, onPending, onQuestion, onDenied, expirySeconds }: AskingOptions,
  offer: string,
  question: Question,
  session: Session,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  try {
    const pendingApproval = await session.approvals.request(
      {
        authorization_details: [{ type: 'document_access', offer }],
        purpose: typeof purpose === 'string' ? purpose : purpose(question),
        ...(expirySeconds !== undefined && { requested_expiry: expirySeconds }),
      },
      { signal },
    )
    // Blocked, or too soon after a no: the person was asked nothing.
    if (pendingApproval.state !== 'denied') await onPending?.(pendingApproval, session)
    const approval = await session.approvals.wait(pendingApproval.id, {
      ...(signal && { signal }),
      ...(onQuestion && { onQuestion: (text: string) => onQuestion(text, session) }),
    })
    return approval.grant_id
  } catch (error) {
    if (isRemitError(error, 'approval_denied') || isRemitError(error, 'approval_expired')) {
      await onDenied?.(error, session)
      return undefined
    }
    // Asked often enough.
    if (isRemitError(error, 'rate_limited')) return undefined
    throw error
  }
}
