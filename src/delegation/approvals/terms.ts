import type { FgaObject } from '../../kernel/ids.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { GrantDraft } from './grant-checks.ts'
import type { RequestedAccess } from './requested-access.ts'
import type { ShownApproval } from './view.ts'

/** A person's yes, narrowed or not. */
export interface ApproveAnswer {
  readonly answer: 'approve'
  /** Of those that the page shows; left out: all of them. Only where documents are asked for. */
  readonly documentIds?: readonly string[]
  /** Left out: 15 minutes from now. At most 24 hours, and never longer than what was lent. */
  readonly until?: Date
  /**
   * One answer to the very question that was asked, then it is over. Left out: true, unless it is remembered.
   */
  readonly oneUse?: boolean
  /** From now on this agent need not ask for what lies there, later documents included. At most 30 days. */
  readonly remember?: { readonly object: FgaObject; readonly until: Date }
}

/** What a yes gives, after narrowing. */
export interface ApprovedTerms {
  /** As narrowed. */
  readonly answer: RequestedAccess
  /** undefined: a token for an API, which is its own proof. */
  readonly grant: GrantDraft | undefined
}

/** Milliseconds of a grant whose end nobody named: 15 minutes. */
export const grantDefaultMs = 15 * 60_000
/** Milliseconds that a grant may last: 24 hours. */
export const grantMsMax = 24 * 3_600_000
/** Milliseconds that a remembered grant may last: 30 days. */
export const rememberedMsMax = 30 * grantMsMax
// The longest choice of a form, sent a little later.
const slackMs = 60_000

/**
 * What exactly is agreed to. `not_offered`, with what: a document or place that the page does not show, or an
 * end that is past or further off than may be. Nothing here widens what was asked.
 */
export function termsOf(
  shownApproval: ShownApproval,
  approveAnswer: ApproveAnswer,
  now: number,
): Result<ApprovedTerms, 'not_offered'> {
  const { id: approval, subject, agent, delegation, asked: access } = shownApproval
  const whose = { approval, subject, agent, delegation }
  if (
    access.kind !== 'documents' &&
    (approveAnswer.documentIds !== undefined || approveAnswer.remember !== undefined)
  )
    return refuse('not_offered', approveAnswer.remember === undefined ? 'documentIds' : 'remember')
  if (access.kind === 'access') return ok({ answer: access, grant: undefined })
  if (access.kind === 'vault_call') {
    const grantEnd = endOf(approveAnswer.until, { now, most: grantMsMax, lentUntil: shownApproval.lentUntil })
    if (grantEnd === undefined) return refuse('not_offered', 'until')
    // Whatever is said: a call is for one use.
    return ok({
      answer: access,
      grant: { ...whose, objects: [], vaultCall: access.call, maxUses: 1, until: grantEnd },
    })
  }
  const offered = shownApproval.documents.map(({ id }) => id)
  const chosen = [...new Set(approveAnswer.documentIds ?? offered)].sort()
  if (chosen.length === 0 || !chosen.every((id) => offered.includes(id)))
    return refuse('not_offered', 'documentIds')
  const answer: RequestedAccess = { ...access, documentIds: chosen }
  if (approveAnswer.remember !== undefined) {
    const { object, until: requestedEnd } = approveAnswer.remember
    if (approveAnswer.oneUse === true) return refuse('not_offered', 'oneUse')
    const container = shownApproval.places.find((candidate) => candidate.object === object)
    // What is remembered holds for something that they say yes to.
    if (!chosen.some((id) => container?.documentIds.includes(id))) return refuse('not_offered', 'remember')
    const grantEnd = endOf(requestedEnd, { now, most: rememberedMsMax, lentUntil: shownApproval.lentUntil })
    if (grantEnd === undefined) return refuse('not_offered', 'until')
    return ok({ answer, grant: { ...whose, objects: [object], remembered: true, until: grantEnd } })
  }
  const grantEnd = endOf(approveAnswer.until, { now, most: grantMsMax, lentUntil: shownApproval.lentUntil })
  if (grantEnd === undefined) return refuse('not_offered', 'until')
  const isOnce = approveAnswer.oneUse ?? true
  return ok({
    answer,
    grant: {
      ...whose,
      objects: chosen.map((id): FgaObject => `document:${id}`),
      until: grantEnd,
      ...(isOnce && { queryHmac: access.queryHmac, maxUses: 1 }),
    },
  })
}

interface Bounds {
  readonly now: number
  readonly most: number
  readonly lentUntil: Date
}

/** Undefined where the end is past or further off than may be. What was lent ends it in any case. */
function endOf(
  requestedEnd: Date | undefined,
  { now, most: longestMs, lentUntil }: Bounds,
): Date | undefined {
  const grantEnd = requestedEnd?.getTime() ?? now + grantDefaultMs
  // Also what is no time at all.
  if (!(grantEnd > now && grantEnd <= now + longestMs + slackMs)) return undefined
  return new Date(Math.min(grantEnd, lentUntil.getTime()))
}
