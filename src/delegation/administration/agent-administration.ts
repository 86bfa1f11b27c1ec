import { record, type Who } from '../../audit/record.ts'
import type { Clock } from '../../kernel/clock.ts'
import { AppError } from '../../kernel/errors.ts'
import { pluralize } from '../../kernel/pluralize.ts'
import type { Database, Sql } from '../../store/sql.ts'
import type { Delegations } from '../lending/delegations.ts'
import { type Agent, type Agents, createAgents, type NewAgent } from '../registry/agents.ts'
import { canonicalJson } from '../registry/details.ts'
import { assertCollections } from '../registry/services.ts'
import {
  type AgentEntitlements,
  countEntitlements,
  directDelegations,
  endEntitlements,
} from './agent-entitlements.ts'

export interface AgentAdministration {
  /**
   * Registers an agent, or gives a known one exactly these properties. The same again changes nothing. What was lent to
   * another program, or under narrower limits, was not lent to this: where anybody may act as the agent who could not, or
   * it reaches further, that ends in the same transaction (`ended`), if `lent` says so; it stays where `lent` is `keep`,
   * which is the machine's to say. `conflict` where there is something and `lent` is left out: it says how much.
   */
  save(
    who: Who,
    agent: NewAgent,
    options?: { readonly lent?: 'end' | 'keep' | undefined },
  ): Promise<{ readonly agent: Agent; readonly isNew: boolean; readonly ended: AgentEntitlements }>
  /** The kill switch. Again: nothing more happens. `not_found`: no such agent. */
  disable(who: Who, id: string): Promise<Agent>
  /**
   * Takes the kill switch back. What people lent to it meanwhile counts in no check: it ends with this, or counts again,
   * as `lent` says. `conflict` where something is live and `lent` is left out: it says how much, and the agent stays
   * disabled. `not_found`: no such agent. `ended`: delegations.
   */
  enable(
    who: Who,
    id: string,
    options?: { readonly lent?: 'end' | 'keep' | undefined },
  ): Promise<{ readonly ended: number }>
}

export interface AgentAdministrationDeps {
  readonly database: Database
  readonly agents: Agents
  readonly delegations: Pick<Delegations, 'revokeWithin'>
  readonly clock: Clock
}

const nothing: AgentEntitlements = { delegations: 0, consents: 0, connections: 0 }

/**
 * Changes of the registry by people, each on record with it. Routes are given no `enable`: that is a command at the machine,
 * so that no stolen session takes the switch back.
 */
export function createAgentAdministration(deps: AgentAdministrationDeps): AgentAdministration {
  const { database, agents, delegations, clock } = deps
  const known = async (id: string): Promise<Agent> => {
    const agent = await agents.get(id)
    if (agent === undefined) throw new AppError('not_found')
    return agent
  }

  async function save(sql: Sql, who: Who, agent: NewAgent, lent: 'end' | 'keep' | undefined) {
    const within = createAgents({ sql, clock })
    // Whoever lends to it now is waited for, or finds it as it will be.
    await sql.query('select from agents where id = $1 for update', [agent.id])
    const before = await within.get(agent.id)
    const ends = before !== undefined && lent !== 'keep' && isMore(before, agent)
    const standing = ends ? await countEntitlements(sql, agent.id, new Date(clock.now())) : nothing
    const isAsked = lent === undefined && Object.values(standing).some((count) => count > 0)
    if (isAsked) throw new AppError('conflict', { public: saysWhat(agent.id, standing) })
    await record(sql, who, {
      event: 'agent_saved',
      agent: agent.id,
      scopes: agent.limits?.scopes ?? null,
      collections: agent.limits?.collections ?? null,
      keys: agent.jwks?.keys.length ?? 0,
    })
    await within.save(agent)
    const settle = ends ? await endEntitlements(sql, agent.id, { delegations, who }) : async () => undefined
    return { isNew: before === undefined, ended: standing, settle }
  }

  async function enable(sql: Sql, who: Who, id: string, lent: 'end' | 'keep' | undefined) {
    const within = createAgents({ sql, clock })
    await sql.query('select from agents where id = $1 for update', [id])
    const before = await within.get(id)
    if (before === undefined) throw new AppError('not_found', { public: `There is no agent ${id}.` })
    const isOff = before.disabledAt !== undefined && lent !== 'keep'
    const live = isOff ? await directDelegations(sql, id, new Date(clock.now())) : []
    if (live.length > 0 && lent === undefined)
      throw new AppError('conflict', { public: saysWhatCounts(id, live.length) })
    // With the enabling or not at all: whatever pulled the switch may still hold its tokens.
    const settles: (() => Promise<void>)[] = []
    for (const one of live) settles.push(await delegations.revokeWithin(sql, one, who))
    if (before.disabledAt !== undefined) await record(sql, who, { event: 'agent_enabled', agent: id })
    await within.enable(id)
    return settles
  }

  return {
    async save(who, agent, { lent } = {}) {
      await agents.assertSavable(agent)
      await assertCollections(database, agent.limits?.collections ?? [])
      const { settle, ...saved } = await database.transaction((sql) => save(sql, who, agent, lent))
      await settle()
      return { agent: await known(agent.id), ...saved }
    },
    async disable(who, id) {
      await known(id)
      await database.transaction(async (sql) => {
        await record(sql, who, { event: 'agent_disabled', agent: id })
        await createAgents({ sql, clock }).disable(id)
      })
      return known(id)
    },
    async enable(who, id, { lent } = {}) {
      const settles = await database.transaction((sql) => enable(sql, who, id, lent))
      for (const settle of settles) await settle()
      return { ended: settles.length }
    },
  }
}

/** Whether somebody may act as the agent who could not, or it may reach what it did not. */
function isMore(before: Agent, { issuer, sub, jwks, hostClients, limits }: NewAgent): boolean {
  return (
    before.issuer !== issuer ||
    before.sub !== sub ||
    grows(before.jwks?.keys.map(canonicalJson) ?? [], jwks?.keys.map(canonicalJson) ?? []) ||
    grows(before.hostClients, hostClients ?? []) ||
    (limits !== undefined &&
      (grows(before.limits.scopes, limits.scopes) || grows(before.limits.collections, limits.collections)))
  )
}

/** undefined: everything. */
function grows(before: readonly string[] | undefined, after: readonly string[] | undefined): boolean {
  if (before === undefined) return false
  return after === undefined || after.some((one) => !before.includes(one))
}

const saysWhat = (id: string, { delegations, consents, connections }: AgentEntitlements): string =>
  `By this another program could act as ${id}, or it could reach further, than when people lent to it. What it would ` +
  `end: ${pluralize(delegations, 'delegation')}, ${pluralize(consents, 'other consent')}, ${pluralize(connections, 'agreement')} ` +
  'on connected accounts. Say ends_lent (remit agent add --end-lent, or --keep-lent where it is the same program).'

const saysWhatCounts = (id: string, count: number): string =>
  `${pluralize(count, 'delegation')} to ${id} would count again, so it stays disabled. Say --end-lent to end what people lent ` +
  'to it (whatever pulled the switch may still hold its tokens), or --keep-lent if the switch was pulled by mistake.'
