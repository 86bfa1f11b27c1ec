import { type RecordActor, record } from '../../audit/record.ts'
import type { Fga } from '../../authz/fga.ts'
import { rowsWithoutNulls, type Sql } from '../../store/sql.ts'
import { type ApprovalGrant, grantColumns } from './grant-row.ts'
import { grantTuples } from './grant-tuples.ts'

/** Why a grant counts no more, as the record says it. */
export type GrantEnd = 'revoked' | 'delegation_ended' | 'used_up' | 'forgotten'

/**
 * Ends whatever hangs on a delegation, in the transaction that ends the delegation itself. From its commit on
 * none of it is presented; the tuples of those that it gives back are left to {@link settleGrants}. Whoever
 * calls has locked the delegation's row first.
 */
export async function endGrantsOf(
  sql: Sql,
  delegation: string,
  { now, recordedAs }: { readonly now: Date; readonly recordedAs: RecordActor },
): Promise<ApprovalGrant[]> {
  // In the order of their ids, as a use takes them: neither waits for what the other holds.
  const ended = await rowsWithoutNulls<ApprovalGrant & { readonly wasLive: boolean }>(
    sql,
    `update approval_grants set state = 'ended', ended_at = $2
     where id in (
       select id from approval_grants where delegation = $1 and state <> 'ended' order by id for update
     ) returning ${grantColumns}, live_at is not null as "wasLive"`,
    [delegation, now],
  )
  for (const grant of ended) await recordEnd(sql, recordedAs, grant, 'delegation_ended')
  // Of one that is still being prepared somebody may be writing the tuples now: mend() removes them.
  return ended.filter(({ wasLive }) => wasLive)
}

/** Puts the end of a grant on record, in the caller's transaction. */
export const recordEnd = (
  sql: Sql,
  recordedAs: RecordActor,
  { id, approval, subject, agent, delegation }: ApprovalGrant,
  reason: GrantEnd,
): Promise<void> =>
  record(
    sql,
    { ...recordedAs, delegation },
    { event: 'grant_ended', grant: id, approval, grantor: subject, agent, reason },
  )

/** Removes the tuples of grants that have ended. May run twice. */
export async function settleGrants(
  { sql, fga }: { readonly sql: Sql; readonly fga: Pick<Fga, 'write'> },
  grants: readonly ApprovalGrant[],
  now: Date,
): Promise<void> {
  const deletes = grants.flatMap(grantTuples)
  if (deletes.length > 0) await fga.write({ deletes })
  await sql.query('update approval_grants set settled_at = $2 where id = any($1)', [
    grants.map(({ id }) => id),
    now,
  ])
}
