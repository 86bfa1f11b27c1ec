import type { ApprovalInput } from '@remit/contract/approvals'
import { ApprovalDenied, ApprovalExpired } from '../errors/kinds.ts'
import type { Approval, ApprovalAsked } from '../shared/answers.ts'
import { type Detail, isDetail } from '../shared/detail.ts'
import type { Platform } from '../shared/platform.ts'
import { type Check, isNumber, isText, listOf, optional, shape } from '../shared/shape.ts'
import type { Person } from '../tokens/token.ts'
import type { Api, ApiRequest, CallOptions } from './api.ts'

/** What to ask a person for. */
export interface ApprovalQuestion extends Omit<ApprovalInput, 'authorization_details' | 'resource'> {
  /** What to ask for: `{type: 'document_access', offer: 'o_…'}`, or what `ApprovalRequired` says. */
  readonly authorization_details: readonly Detail[]
}

/** Options of `Approvals.wait`. */
export interface WaitOptions {
  readonly signal?: AbortSignal
  /** Answers what the person asks back, in the agent's words. Left out: `wait` ends with their question. */
  readonly onQuestion?: (question: string) => string | Promise<string>
}

/** Asks one person for more than they lent, and reads their answers. */
export interface Approvals {
  /** Asks the person. An equal question that is open is that one. */
  request(question: ApprovalQuestion, options?: CallOptions): Promise<ApprovalAsked>
  get(id: string, options?: CallOptions): Promise<Approval>
  /**
   * Waits until the person has answered, or asks back: `approved`, with the grant in `grant_id`, or
   * `info_requested`. A state that this version does not know is no answer: it is waited for until
   * `expires_at`.
   *
   * @throws ApprovalDenied, ApprovalExpired
   */
  wait(id: string, options?: WaitOptions): Promise<Approval>
  /** Answers what the person asked back. */
  answer(id: string, text: string, options?: CallOptions): Promise<Approval>
}

const scopes = ['approvals.request']
const waitSeconds = 30
const marginMs = 15_000
const pauseMs = 1_000
/** The service itself says when these are over. */
const openStates: ReadonlySet<string> = new Set(['pending', 'info_requested'])

/** The approvals of one person, over the service's API. */
export function createApprovals(api: Api, person: Person, platform: Platform): Approvals {
  const pathOf = (id: string, suffix = '') => `/approvals/${encodeURIComponent(id)}${suffix}`
  const readApproval = (id: string, request: Partial<ApiRequest> = {}): Promise<Approval> =>
    api.json(person, { method: 'GET', path: pathOf(id), scopes, isRepeatable: true, ...request }, isApproval)

  const approvals: Approvals = {
    request: (question, options) =>
      api.json(
        person,
        { method: 'POST', path: '/approvals', body: question, scopes, isRepeatable: false, ...options },
        isApprovalAsked,
      ),
    get: (id, options) => readApproval(id, options),
    async wait(id, { signal, onQuestion } = {}) {
      const patient = {
        headers: { prefer: `wait=${waitSeconds}` },
        timeoutMs: waitSeconds * 1_000 + marginMs,
        signal,
      }
      for (;;) {
        const startedAt = platform.now()
        const found = await readApproval(id, patient)
        if (found.state === 'approved') return found
        if (found.state === 'denied') throw deniedOf(found)
        // A state that is not known here is no answer, and may never become one that is.
        const isOpen = openStates.has(found.state) || platform.now() < Date.parse(found.expires_at)
        if (found.state === 'expired' || !isOpen) {
          const message = 'Nobody answered in time.'
          throw new ApprovalExpired('approval_expired', { message }, { approval: id })
        }
        if (found.state === 'info_requested' && found.question !== undefined) {
          if (onQuestion === undefined) return found
          await approvals.answer(id, await onQuestion(found.question), { ...(signal && { signal }) })
        } else if (platform.now() - startedAt < pauseMs) {
          // A service that does not wait must not be asked without end.
          await platform.sleep(pauseMs, signal)
        }
      }
    },
    answer: (id, text, options) =>
      api.json(
        person,
        {
          method: 'POST',
          path: pathOf(id, '/answers'),
          body: { text },
          scopes,
          isRepeatable: false,
          ...options,
        },
        isApproval,
      ),
  }
  return Object.freeze(approvals)
}

function deniedOf({ id, reason }: Approval): ApprovalDenied {
  const message = 'The person did not approve this.'
  return new ApprovalDenied('approval_denied', { message }, { approval: id, ...(reason && { reason }) })
}

const isApprovalAsked: Check<ApprovalAsked> = shape<ApprovalAsked>({
  id: isText,
  state: isText,
  expires_at: isText,
  interval: isNumber,
})

const isApproval: Check<Approval> = shape<Approval>({
  id: isText,
  state: isText,
  question: optional(isText),
  grant_id: optional(isText),
  authorization_details: optional(listOf(isDetail)),
  reason: optional(isText),
  expires_at: isText,
})
