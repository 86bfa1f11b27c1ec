import { type RecordActor, record } from '../../audit/record.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import { pluralize } from '../../kernel/pluralize.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Sql } from '../../store/sql.ts'
import type { Delegations } from '../lending/delegations.ts'
import { type Agent, type Agents, createAgents, type NewAgent } from '../registry/agents.ts'
import { scopesOfKind } from '../registry/claims.ts'
import { canonicalJson } from '../registry/details.ts'
import { assertCollections } from '../registry/services.ts'
import { endAgreementsOf } from '../vault/agreements.ts'

/**
 * Registers, changes, disables and enables agents, and ends what people agreed to where that is asked for.
 */
export interface AgentAdministration {
  /**
   * Registers an agent, or gives a known one exactly these properties. The same again changes nothing. What
   * was lent to another program, or under narrower limits, was not lent to this: where anybody may act as the
   * agent who could not, or it reaches further, that ends in the same transaction (`ended`), if `lent` says
   * so; it stays where `lent` is `keep`, which is the machine's to say. `conflict` where there is something
   * and `lent` is left out: it says how much.
   */
  save(
    recordedAs: RecordActor,
    agent: NewAgent,
    options?: { readonly lent?: LentPolicy },
  ): Promise<{
    readonly agent: Agent
    readonly isNew: boolean
    readonly ended: AgentEntitlements
    /** Of its limit, those that no API has yet. */
    readonly unknownScopes: readonly string[]
  }>
  /** The kill switch. Again: nothing more happens. `not_found`: no such agent. */
  disable(recordedAs: RecordActor, id: string): Promise<Agent>
  /**
   * Takes the kill switch back. What people lent to it meanwhile counts in no check: it ends with this, or
   * counts again, as `lent` says. `conflict` where something is live and `lent` is left out: it says how
   * much, and the agent stays disabled. `not_found`: no such agent. `ended`: delegations.
   */
  enable(
    recordedAs: RecordActor,
    id: string,
    options?: { readonly lent?: LentPolicy },
  ): Promise<{ readonly ended: number }>
}

export interface AgentAdministrationDeps extends Pick<Runtime, 'database' | 'clock'> {
  readonly agents: Agents
  readonly delegations: Pick<Delegations, 'revokeWithin'>
}

/** What becomes of what people lent; undefined: nobody said. */
type LentPolicy = 'end' | 'keep' | undefined

const nothing: AgentEntitlements = { delegations: 0, consents: 0, connections: 0 }

/**
 * Changes of the registry by people, each on record with it. Routes are given no `enable`: that is a command
 * at the machine, so that no stolen session takes the switch back.
 */
export function createAgentAdministration(deps: AgentAdministrationDeps): AgentAdministration {
  const { database, agents, delegations, clock } = deps
  const registeredAgent = async (id: string): Promise<Agent> => {
    const agent = await agents.get(id)
    if (agent === undefined) throw new AppError('not_found')
    return agent
  }

  async function save(sql: Sql, recordedAs: RecordActor, agent: NewAgent, lentPolicy: LentPolicy) {
    const agentsInTransaction = createAgents({ sql, clock })
    // Whoever lends to it now is waited for, or finds it as it will be.
    await sql.query('select from agents where id = $1 for update', [agent.id])
    const previous = await agentsInTransaction.get(agent.id)
    const ends = previous !== undefined && lentPolicy !== 'keep' && isMore(previous, agent)
    const entitlements = ends ? await countEntitlements(sql, agent.id, new Date(clock.now())) : nothing
    const isAsked = lentPolicy === undefined && Object.values(entitlements).some((count) => count > 0)
    if (isAsked) throw new AppError('conflict', { public: saysWhat(agent.id, entitlements) })
    await record(sql, recordedAs, {
      event: 'agent_saved',
      agent: agent.id,
      scopes: agent.limits?.scopes ?? null,
      collections: agent.limits?.collections ?? null,
      keys: agent.jwks?.keys.length ?? 0,
    })
    await agentsInTransaction.save(agent)
    const settle = ends
      ? await endEntitlements(sql, agent.id, { delegations, recordedAs })
      : async () => undefined
    return { isNew: previous === undefined, ended: entitlements, settle }
  }

  async function enable(sql: Sql, recordedAs: RecordActor, id: string, lentPolicy: LentPolicy) {
    const agentsInTransaction = createAgents({ sql, clock })
    await sql.query('select from agents where id = $1 for update', [id])
    const previous = await agentsInTransaction.get(id)
    if (previous === undefined) throw new AppError('not_found', { public: `There is no agent ${id}.` })
    const isOff = previous.disabledAt !== undefined && lentPolicy !== 'keep'
    const liveDelegations = isOff ? await directDelegations(sql, id, new Date(clock.now())) : []
    if (liveDelegations.length > 0 && lentPolicy === undefined)
      throw new AppError('conflict', { public: saysWhatCounts(id, liveDelegations.length) })
    // With the enabling or not at all: whatever pulled the switch may still hold its tokens.
    const settles: (() => Promise<void>)[] = []
    for (const delegation of liveDelegations)
      settles.push(await delegations.revokeWithin(sql, delegation, recordedAs))
    if (previous.disabledAt !== undefined)
      await record(sql, recordedAs, { event: 'agent_enabled', agent: id })
    await agentsInTransaction.enable(id)
    return settles
  }

  return {
    async save(recordedAs, agent, { lent: lentPolicy } = {}) {
      await agents.assertSavable(agent)
      await assertCollections(database, agent.limits?.collections ?? [])
      const unknownScopes = await unknownScopesOf(database, agent.limits?.scopes ?? [])
      const { settle, ...saved } = await database.transaction((sql) =>
        save(sql, recordedAs, agent, lentPolicy),
      )
      await settle()
      return { agent: await registeredAgent(agent.id), unknownScopes, ...saved }
    },
    async disable(recordedAs, id) {
      await registeredAgent(id)
      await database.transaction(async (sql) => {
        await record(sql, recordedAs, { event: 'agent_disabled', agent: id })
        await createAgents({ sql, clock }).disable(id)
      })
      return registeredAgent(id)
    },
    async enable(recordedAs, id, { lent: lentPolicy } = {}) {
      const settles = await database.transaction((sql) => enable(sql, recordedAs, id, lentPolicy))
      for (const settle of settles) await settle()
      return { ended: settles.length }
    },
  }
}

/**
 * Those that no API has: an API is added after its client, which is added after its agent. Throws
 * `invalid_request` for one that reads like Remit's own: a typing error, which would take it from the agent.
 */
async function unknownScopesOf(sql: Sql, scopes: readonly string[]): Promise<readonly string[]> {
  const rows = await sql.query<{ scope: string }>('select distinct unnest(scopes) as scope from resources')
  const own: readonly string[] = scopesOfKind.agent
  const unknownScopes = scopes.filter(
    (scope) => !own.includes(scope) && !rows.some((row) => row.scope === scope),
  )
  const namespaces = own.map((scope) => scope.slice(0, scope.indexOf('.') + 1))
  const wrong = unknownScopes.find((scope) => namespaces.some((namespace) => scope.startsWith(namespace)))
  if (wrong !== undefined)
    throw invalid('scopes', `There is no scope ${wrong}. Of Remit's an agent may hold ${own.join(', ')}.`)
  return unknownScopes
}

/** Whether somebody may act as the agent who could not, or it may reach what it did not. */
function isMore(previous: Agent, { issuer, sub, jwks, hostClients, limits }: NewAgent): boolean {
  return (
    previous.issuer !== issuer ||
    previous.sub !== sub ||
    grows(previous.jwks?.keys.map(canonicalJson) ?? [], jwks?.keys.map(canonicalJson) ?? []) ||
    grows(previous.hostClients, hostClients ?? []) ||
    (limits !== undefined &&
      (grows(previous.limits.scopes, limits.scopes) ||
        grows(previous.limits.collections, limits.collections)))
  )
}

/** undefined: everything. */
function grows(previous: readonly string[] | undefined, updated: readonly string[] | undefined): boolean {
  if (previous === undefined) return false
  return updated === undefined || updated.some((entry) => !previous.includes(entry))
}

const saysWhat = (id: string, { delegations, consents, connections }: AgentEntitlements): string =>
  `By this another program could act as ${id}, or it could reach further, than when people lent to it. What it would ` +
  `end: ${pluralize(delegations, 'delegation')}, ${pluralize(consents, 'other consent')}, ${pluralize(connections, 'agreement')} ` +
  'on connected accounts. Say ends_lent (remit agent add --end-lent, or --keep-lent where it is the same program).'

const saysWhatCounts = (id: string, count: number): string =>
  `${pluralize(count, 'delegation')} to ${id} would count again, so it stays disabled. Say --end-lent to end what people lent ` +
  'to it (whatever pulled the switch may still hold its tokens), or --keep-lent if the switch was pulled by mistake.'

/** How much people have agreed to with one agent that is not over. */
interface AgentEntitlements {
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
async function countEntitlements(sql: Sql, agent: string, now: Date): Promise<AgentEntitlements> {
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
async function directDelegations(sql: Sql, agent: string, now: Date): Promise<readonly string[]> {
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
async function endEntitlements(
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
