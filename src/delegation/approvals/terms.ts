import { documentObject, type FgaObject } from '../../kernel/ids.ts'
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
  const { id: approval, subject, agent, delegation, asked: access, lentUntil } = shownApproval
  const { documentIds, until: requestedEnd, remember } = approveAnswer
  if (access.kind !== 'documents' && (documentIds !== undefined || remember !== undefined))
    return refuse('not_offered', remember === undefined ? 'documentIds' : 'remember')
  if (access.kind === 'access') return ok({ answer: access, grant: undefined })
  const narrowed =
    access.kind === 'documents'
      ? narrowedDocuments(access, shownApproval, approveAnswer)
      : ok(onlyCall(access))
  if (!narrowed.ok) return narrowed
  const { answer, limits } = narrowed.value
  const until =
    remember === undefined
      ? endOf(requestedEnd, grantMsMax, now)
      : endOf(remember.until, rememberedMsMax, now)
  if (until === undefined) return refuse('not_offered', 'until')
  // What was lent ends it in any case.
  const grantEnd = new Date(Math.min(until, lentUntil.getTime()))
  return ok({ answer, grant: { approval, subject, agent, delegation, ...limits, until: grantEnd } })
}

/** What is agreed to, and what it is good for, until an end that is yet to be said. */
interface Narrowed extends Pick<ApprovedTerms, 'answer'> {
  readonly limits: Pick<GrantDraft, 'objects' | 'queryHmac' | 'vaultCall' | 'maxUses' | 'remembered'>
}

type AccessOf<Kind> = Extract<RequestedAccess, { readonly kind: Kind }>

/** Whatever is said: a call is for one use. */
const onlyCall = (access: AccessOf<'vault_call'>): Narrowed => ({
  answer: access,
  limits: { objects: [], vaultCall: access.call, maxUses: 1 },
})

function narrowedDocuments(
  access: AccessOf<'documents'>,
  { documents, places }: ShownApproval,
  { documentIds, oneUse, remember }: ApproveAnswer,
): Result<Narrowed, 'not_offered'> {
  const offered = documents.map(({ id }) => id)
  const chosen = [...new Set(documentIds ?? offered)].sort()
  if (chosen.length === 0 || !chosen.every((id) => offered.includes(id)))
    return refuse('not_offered', 'documentIds')
  const answer = { ...access, documentIds: chosen }
  if (remember === undefined) {
    const once = (oneUse ?? true) && { queryHmac: access.queryHmac, maxUses: 1 }
    return ok({ answer, limits: { objects: chosen.map(documentObject), ...once } })
  }
  if (oneUse === true) return refuse('not_offered', 'oneUse')
  const container = places.find(({ object }) => object === remember.object)
  // What is remembered holds for something that they say yes to.
  if (!chosen.some((id) => container?.documentIds.includes(id))) return refuse('not_offered', 'remember')
  return ok({ answer, limits: { objects: [remember.object], remembered: true } })
}

/** Undefined where the end is past or further off than may be, also for what is no time at all. */
function endOf(requestedEnd: Date | undefined, longestMs: number, now: number): number | undefined {
  const grantEnd = requestedEnd?.getTime() ?? now + grantDefaultMs
  return grantEnd > now && grantEnd <= now + longestMs + slackMs ? grantEnd : undefined
}
