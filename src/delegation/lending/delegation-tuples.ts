import type { Tuple } from '../../authz/fga.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { agentObject } from '../registry/agents.ts'

interface Lent {
  readonly id: string
  readonly subject: FgaObject
  readonly agent: string
  readonly subAgents: readonly string[]
  readonly scope: readonly FgaObject[]
  readonly expiresAt: Date
}

/** What a delegation is in OpenFGA. Its end is a condition, so that a dead process leaves no door open. */
export function delegationTuples({ id, subject, agent, subAgents, scope, expiresAt }: Lent): Tuple[] {
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
