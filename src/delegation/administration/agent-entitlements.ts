import type { RecordActor } from '../../audit/record.ts'
import type { Sql } from '../../store/sql.ts'
import type { Delegations } from '../lending/delegations.ts'
import { endAgreementsOf } from '../vault/agreements.ts'

/** How much people have agreed to with one agent that is not over. */
export interface AgentEntitlements {
  /** To it, or to another agent that may pass it on to this one. Grants of approvals hang on them. */
  readonly delegations: number
  /** Of its clients, without a delegation. */
  readonly consents: number
  /** On accounts that are connected. */
  readonly connections: number
}

// $1 the agent. Ended ones can be used by nobody.
const lentToAgent = `state <> 'revoked' and (agent = $1 or $1 = any(sub_agents))`
const consents = `delegation is null and client_id in (select client_id from clients where agent = $1)`

/** Counts what is live at `now`, each kind by itself. Throws where the database gives no row. */
export async function countEntitlements(sql: Sql, agent: string, now: Date): Promise<AgentEntitlements> {
  const [row] = await sql.query<AgentEntitlements>(
    `select
       (select count(*) from delegations where ${lentToAgent} and expires_at > $2) as delegations,
       (select count(*) from oauth_grants where ${consents} and expires_at > $2) as consents,
       (select count(*) from connection_agents where agent = $1) as connections`,
    [agent, now],
  )
  if (row === undefined) throw new Error('Nothing was counted.')
  return row
}

/** The delegations to it that are not over, without those that may only be passed on to it. */
export async function directDelegations(sql: Sql, agent: string, now: Date): Promise<readonly string[]> {
  const rows = await sql.query<{ readonly id: string }>(
    `select id from delegations where state <> 'revoked' and agent = $1 and expires_at > $2 order by id`,
    [agent, now],
  )
  return rows.map(({ id }) => id)
}

/**
 * Ends all of it in the caller's transaction, which has locked the agent's row: what is being lent now as
 * well. Answers with what is left to do once it is committed; where that is not done, `Delegations.mend` does
 * it.
 */
export async function endEntitlements(
  sql: Sql,
  agent: string,
  {
    delegations,
    recordedAs,
  }: { readonly delegations: Pick<Delegations, 'revokeWithin'>; readonly recordedAs: RecordActor },
): Promise<() => Promise<void>> {
  const settles: (() => Promise<void>)[] = []
  const rows = await sql.query<{ readonly id: string }>(
    `select id from delegations where ${lentToAgent} order by id`,
    [agent],
  )
  for (const { id } of rows) settles.push(await delegations.revokeWithin(sql, id, recordedAs))
  // Rows of these that somebody else is at are theirs to end: without its consent an artifact gives no token.
  await sql.query(
    `delete from oauth_artifacts where (model, id_hash) in (
       select model, id_hash from oauth_artifacts
       where grant_id in (select grant_id from oauth_grants where ${consents}) for update skip locked)`,
    [agent],
  )
  await sql.query(`delete from oauth_grants where ${consents}`, [agent])
  await endAgreementsOf(sql, agent, recordedAs)
  return async () => {
    for (const settle of settles) await settle()
  }
}
