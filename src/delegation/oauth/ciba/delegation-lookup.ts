import type { Runtime } from '../../../store/runtime.ts'

/** The one delegation on which a question rests. */
export interface FoundDelegation {
  readonly delegation: string
}

/** What this person has lent to this agent and is live; undefined: nothing, or there is no such person. */
export type DelegationLookup = (person: string, agent: string) => Promise<FoundDelegation | undefined>

/**
 * Whether an agent may ask a person at all: they have an account, are not barred, and lent it something of
 * ours, or lent it to an agent that may pass it on to this one. One statement, so that a name that nobody has
 * and a person who lent nothing cannot be told apart by how long it takes.
 */
export const createDelegationLookup =
  ({ sql, clock }: Pick<Runtime, 'sql' | 'clock'>): DelegationLookup =>
  async (person, agent) => {
    const [found] = await sql.query<FoundDelegation>(
      `select delegations.id as delegation
       from people
       join delegations on delegations.subject = 'user:' || people.key
       join agents as lender_of on lender_of.id = delegations.agent
       where people.key = $1 and ($2 = delegations.agent or $2 = any(delegations.sub_agents))
         and delegations.state = 'live' and delegations.expires_at > $3 and delegations.resource is null
         and lender_of.disabled_at is null
         and not exists (
           select from revocations where kind = 'subject' and key = delegations.subject
             and (until is null or until > $3))
       order by $2 = delegations.agent desc, delegations.standing desc, delegations.created_at desc, delegations.id
       limit 1`,
      [person, agent, new Date(clock.now())],
    )
    return found
  }
