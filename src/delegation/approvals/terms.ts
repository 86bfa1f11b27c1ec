import { isId } from '@remit/contract/id'
import { AppError, invalid } from '../../kernel/errors.ts'
import { documentObject, type FgaObject, splitObject } from '../../kernel/ids.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Sql } from '../../store/sql.ts'
import type { ApprovalGrant } from '../lending/approval-grant.ts'
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

/** What a yes is about to become. */
export type GrantDraft = Pick<
  ApprovalGrant,
  'approval' | 'subject' | 'agent' | 'delegation' | 'objects' | 'until'
> &
  Partial<Pick<ApprovalGrant, 'queryHmac' | 'vaultCall' | 'maxUses' | 'remembered'>>

/** As OpenFGA takes in one write, with the two that say whose it is. */
const objectsMax = 90
/** Each is a tuple in every check of the agent's. */
const rememberedMax = 20

/** A draft and the moment for which it is checked. */
interface GrantChecking {
  readonly id: string
  readonly wanted: GrantDraft
  readonly now: Date
  /** Whatever ends at or before this never counts. */
  readonly soonest: Date
}

/**
 * A grant within its limits and its delegation's time; a 422 that names the field, a 409 without that
 * delegation.
 */
export async function checkedGrant(
  sql: Sql,
  { id, wanted: draft, now, soonest }: GrantChecking,
): Promise<ApprovalGrant> {
  const { subject, agent, delegation, remembered = false, queryHmac, vaultCall } = draft
  const maxUses = queryHmac === undefined && vaultCall === undefined ? draft.maxUses : 1
  const objects = checkedObjects(draft)
  if (remembered && maxUses !== undefined)
    throw invalid('max_uses', 'What is remembered counts until its end.')
  if (maxUses !== undefined && !(Number.isSafeInteger(maxUses) && maxUses > 0 && maxUses <= 1_000))
    throw invalid('max_uses', '1 to 1000 uses are possible.')
  if (remembered) await assertRoom(sql, draft, now)
  const [delegationRow] = await sql.query<{ expires_at: Date }>(
    `select expires_at from delegations
     where id = $1 and subject = $2 and ($3 = agent or $3 = any(sub_agents)) and state = 'live' and expires_at > $4`,
    [delegation, subject, agent, now],
  )
  if (delegationRow === undefined)
    throw new AppError('conflict', { public: 'What was lent to the agent has ended.' })
  const grantEnd = new Date(Math.min(draft.until.getTime(), delegationRow.expires_at.getTime()))
  if (!(grantEnd > soonest)) throw invalid('until', 'The end has to be in the future.')
  const limits = { objects, queryHmac, vaultCall, until: grantEnd, maxUses, remembered }
  return { ...draft, ...limits, id, used: 0, state: 'preparing' }
}

function checkedObjects({ objects, remembered, vaultCall }: GrantDraft): readonly FgaObject[] {
  if (vaultCall !== undefined) {
    if (objects.length > 0) throw invalid('objects', 'A call reads no documents.')
    return []
  }
  const types = remembered ? ['folder', 'collection'] : ['document']
  const distinct = [...new Set(objects)]
  if (distinct.length < 1 || distinct.length > objectsMax)
    throw invalid('objects', `Name 1 to ${objectsMax} objects.`)
  for (const [index, object] of distinct.entries()) {
    const { type, id } = splitObject(object)
    if (!types.includes(type) || !isId(id))
      throw invalid(`objects.${index}`, `${types.join(' or ')}:id is needed.`)
  }
  return distinct
}

async function assertRoom(sql: Sql, { subject, agent, delegation }: GrantDraft, now: Date): Promise<void> {
  const rememberedGrants = await sql.query(
    `select from approval_grants where subject = $1 and agent = $2 and delegation = $3 and remembered
       and state <> 'ended' and expires_at > $4`,
    [subject, agent, delegation, now],
  )
  if (rememberedGrants.length >= rememberedMax)
    throw new AppError('conflict', { public: `No more than ${rememberedMax} can be remembered at a time.` })
}
