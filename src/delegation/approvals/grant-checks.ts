import { isId } from '@remit/contract/id'
import { AppError, invalid } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import type { ApprovalGrant } from '../lending/approval-grant.ts'

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
export interface GrantChecking {
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
