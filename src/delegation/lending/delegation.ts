import type { Tuple } from '../../authz/fga.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { agentObject } from '../registry/agents.ts'
import type { ForeignDetail } from '../registry/details.ts'

/** One consent: who lent what to which agent until when. */
export interface Delegation {
  readonly id: string
  /** `user:anne` */
  readonly subject: FgaObject
  /** `research-bot` */
  readonly agent: string
  /** Agents to which `agent` may pass it on. */
  readonly subAgents: readonly string[]
  /** Organizations, collections, folders, documents. Empty where it is for another's API. */
  readonly scope: readonly FgaObject[]
  /** The other's API that it is for: then it opens nothing here. undefined: for Remit's own. */
  readonly resource: string | undefined
  /** What exactly was agreed to there, as the person was shown it. */
  readonly details: readonly ForeignDetail[]
  readonly purpose: string
  /** Used where an external issuer may leave the `delegation` claim out; at most one a (subject, agent). */
  readonly standing: boolean
  readonly createdAt: Date
  readonly expiresAt: Date
  readonly state: 'lending' | 'live' | 'revoked'
}

/**
 * What somebody is about to lend. It becomes a {@link Delegation} when it is checked. Without an `id`: `d_` and randomness.
 * With one: the same lending again answers with what stands.
 */
export type Lending = Pick<Delegation, 'subject' | 'agent' | 'scope' | 'purpose' | 'expiresAt'> &
  Partial<Pick<Delegation, 'id' | 'resource' | 'details' | 'subAgents' | 'standing'>>

/** What a delegation is in OpenFGA. Its end is a condition, so that a dead process leaves no door open. */
export function delegationTuples({ id, subject, agent, subAgents, scope, expiresAt }: Delegation): Tuple[] {
  const delegation: FgaObject = `delegation:${id}`
  return [
    {
      user: subject,
      relation: 'delegator',
      object: delegation,
      condition: { name: 'until', context: { expires_at: expiresAt.toISOString() } },
    },
    { user: agentObject(agent), relation: 'agent', object: delegation },
    ...subAgents.map((sub) => ({ user: agentObject(sub), relation: 'sub_agent', object: delegation })),
    ...scope.map((object) => ({ user: delegation, relation: 'delegated_to', object })),
  ]
}
