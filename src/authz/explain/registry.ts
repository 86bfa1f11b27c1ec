import { splitObject } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import { isDelegated } from './agent-inputs.ts'
import type { ExplainQuestion } from './input.ts'

/** What the registry of agents says beside OpenFGA: a request of the agent is held to both. */
export interface RegistryLimit {
  /** The only collections that the agent may reach; undefined: no limit. */
  readonly collections: readonly string[] | undefined
  /**
   * Whether the limit lets it have this document. False also for an agent that is disabled or not registered.
   */
  readonly allows: boolean
  readonly inWords: string
}

/** A registered agent and what the registry limits it to. */
export interface LimitedAgent {
  readonly limits: { readonly collections: readonly string[] | undefined }
  readonly disabledAt: Date | undefined
}

/** Where {@link registryLimit} looks. */
export interface RegistryDeps {
  readonly sql: Sql
  /** From the registry of agents. */
  readonly agentOf: (id: string) => Promise<LimitedAgent | undefined>
}

/**
 * What narrows an agent's question about a document beyond its tuples; undefined where nothing does. NOT
 * looked at: what narrows one token, and other agents of its chain, which no question names.
 */
export async function registryLimit(
  { sql, agentOf }: RegistryDeps,
  { agent: id, relation, object }: ExplainQuestion,
): Promise<RegistryLimit | undefined> {
  const { type, id: document } = splitObject(object)
  if (id === undefined || type !== 'document' || !isDelegated(relation)) return undefined
  const agent = await agentOf(id)
  if (agent === undefined || agent.disabledAt !== undefined) {
    const reason = agent === undefined ? 'is not registered' : 'is disabled'
    return {
      collections: agent?.limits.collections,
      allows: false,
      inWords: `The registry: agent:${id} ${reason}, and is given nothing.`,
    }
  }
  const { collections } = agent.limits
  if (collections === undefined) return undefined
  const [filed] = await sql.query<{ collection: string }>('select collection from documents where id = $1', [
    document,
  ])
  const allows = filed !== undefined && collections.includes(filed.collection)
  const limit = collections.length === 0 ? 'no collection' : collections.join(', ')
  const placing =
    filed === undefined ? 'this document is filed nowhere' : `this is filed in ${filed.collection}`
  return {
    collections,
    allows,
    inWords: `The registry limits agent:${id} to ${limit}; ${placing}: ${allows ? 'within the limit' : 'it is not given to it, whatever OpenFGA says'}.`,
  }
}
