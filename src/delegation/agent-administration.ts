import { record, type Who } from '../audit/record.ts'
import { AppError } from '../kernel/errors.ts'
import type { Sql } from '../store/sql.ts'
import type { Agent, Agents, NewAgent } from './agents.ts'
import { assertCollections } from './services.ts'

export interface AgentAdministration {
  /** Registers an agent, or gives a known one exactly these properties. The same again changes nothing. */
  save(
    who: Who,
    agent: Required<Omit<NewAgent, 'hostClients'>>,
  ): Promise<{ readonly agent: Agent; readonly isNew: boolean }>
  /** The kill switch. Again: nothing more happens. `not_found`: no such agent. */
  disable(who: Who, id: string): Promise<Agent>
}

/**
 * Changes of the registry by people, each on record before it takes effect. There is deliberately nothing here that
 * enables an agent: that is a command at the machine, so that no stolen session takes the switch back.
 */
export function createAgentAdministration({
  sql,
  agents,
}: {
  readonly sql: Sql
  readonly agents: Agents
}): AgentAdministration {
  const known = async (id: string): Promise<Agent> => {
    const agent = await agents.get(id)
    if (agent === undefined) throw new AppError('not_found')
    return agent
  }
  return {
    async save(who, agent) {
      await agents.assertSavable(agent)
      await assertCollections(sql, agent.limits.collections ?? [])
      const isNew = (await agents.get(agent.id)) === undefined
      await record(sql, who, {
        event: 'agent_saved',
        agent: agent.id,
        scopes: agent.limits.scopes ?? null,
        collections: agent.limits.collections ?? null,
        keys: agent.jwks?.keys.length ?? 0,
      })
      await agents.save(agent)
      return { agent: await known(agent.id), isNew }
    },
    async disable(who, id) {
      await known(id)
      await record(sql, who, { event: 'agent_disabled', agent: id })
      await agents.disable(id)
      return known(id)
    },
  }
}
