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
  /** One answer to the very question that was asked, then it is over. Left out: true, unless it is remembered. */
  readonly oneUse?: boolean
  /** From now on this agent need not ask for what lies there, later documents included. At most 30 days. */
  readonly remember?: { readonly object: FgaObject; readonly until: Date }
}

export interface ApprovedTerms {
  /** As narrowed. */
  readonly answer: RequestedAccess
  /** undefined: a token for an API, which is its own proof. */
  readonly grant: GrantDraft | undefined
}

export const grantDefaultMs = 15 * 60_000
export const grantMsMax = 24 * 3_600_000
export const rememberedMsMax = 30 * grantMsMax
// The longest choice of a form, sent a little later.
const slackMs = 60_000

/**
 * What exactly is agreed to. `not_offered`, with what: a document or place that the page does not show, or an end that
 * is past or further off than may be. Nothing here widens what was asked.
 */
export function termsOf(
  shown: ShownApproval,
  yes: ApproveAnswer,
  now: number,
): Result<ApprovedTerms, 'not_offered'> {
  const { id: approval, subject, agent, delegation, asked } = shown
  const whose = { approval, subject, agent, delegation }
  if (asked.kind !== 'documents' && (yes.documentIds !== undefined || yes.remember !== undefined))
    return refuse('not_offered', yes.remember === undefined ? 'documentIds' : 'remember')
  if (asked.kind === 'access') return ok({ answer: asked, grant: undefined })
  if (asked.kind === 'vault_call') {
    const until = endOf(yes.until, { now, most: grantMsMax, lentUntil: shown.lentUntil })
    if (until === undefined) return refuse('not_offered', 'until')
    // Whatever is said: a call is for one use.
    return ok({
      answer: asked,
      grant: { ...whose, objects: [], vaultCall: asked.call, maxUses: 1, until },
    })
  }
  const offered = shown.documents.map(({ id }) => id)
  const chosen = [...new Set(yes.documentIds ?? offered)].sort()
  if (chosen.length === 0 || !chosen.every((id) => offered.includes(id)))
    return refuse('not_offered', 'documentIds')
  const answer: RequestedAccess = { ...asked, documentIds: chosen }
  if (yes.remember !== undefined) {
    const { object, until: wanted } = yes.remember
    if (yes.oneUse === true) return refuse('not_offered', 'oneUse')
    const place = shown.places.find((one) => one.object === object)
    // What is remembered holds for something that they say yes to.
    if (!chosen.some((id) => place?.documentIds.includes(id))) return refuse('not_offered', 'remember')
    const until = endOf(wanted, { now, most: rememberedMsMax, lentUntil: shown.lentUntil })
    if (until === undefined) return refuse('not_offered', 'until')
    return ok({ answer, grant: { ...whose, objects: [object], remembered: true, until } })
  }
  const until = endOf(yes.until, { now, most: grantMsMax, lentUntil: shown.lentUntil })
  if (until === undefined) return refuse('not_offered', 'until')
  const isOnce = yes.oneUse ?? true
  return ok({
    answer,
    grant: {
      ...whose,
      objects: chosen.map((id): FgaObject => `document:${id}`),
      until,
      ...(isOnce && { queryHmac: asked.queryHmac, maxUses: 1 }),
    },
  })
}

interface Bounds {
  readonly now: number
  readonly most: number
  readonly lentUntil: Date
}

/** Undefined where the end is past or further off than may be. What was lent ends it in any case. */
function endOf(wanted: Date | undefined, { now, most, lentUntil }: Bounds): Date | undefined {
  const until = wanted?.getTime() ?? now + grantDefaultMs
  // Also what is no time at all.
  if (!(until > now && until <= now + most + slackMs)) return undefined
  return new Date(Math.min(until, lentUntil.getTime()))
}
