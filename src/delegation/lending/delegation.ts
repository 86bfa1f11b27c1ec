import { isId } from '@remit/contract/id'
import type { Tuple } from '../../authz/fga.ts'
import { invalid } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import { type Agent, agentObject, lockedAgents, type ShownAgents } from '../registry/agents.ts'
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
 * What somebody is about to lend. It becomes a {@link Delegation} when it is checked. Without an `id`: `d_`
 * and randomness. With one: the same lending again answers with what stands.
 */
export type Lending = Pick<Delegation, 'subject' | 'agent' | 'scope' | 'purpose' | 'expiresAt'> &
  Partial<Pick<Delegation, 'id' | 'resource' | 'details' | 'subAgents' | 'standing'>> & {
    /** All its agents, where a page showed them. 409 where one is another by now, or was not there. */
    readonly shownAgents?: ShownAgents
  }

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

const scopeTypes = new Set(['organization', 'collection', 'folder', 'document'])
const scopeMax = 80
const subAgentsMax = 10

/**
 * A lending that is within its limits, of agents that are registered and not disabled; a 422 that names the
 * field.
 */
export async function checkedDelegation(
  sql: Sql,
  lending: Lending,
  now: Date,
  id: string,
): Promise<Delegation> {
  const { subject, agent, scope, subAgents = [], purpose, expiresAt, standing: isStanding = false } = lending
  const { resource, details = [], shownAgents: _, ...terms } = lending
  if (!isId(id) || id.includes('/')) throw invalid('id', 'The delegation id is not valid.')
  if (!subject.startsWith('user:') || !isId(splitObject(subject).id))
    throw invalid('subject', 'Only a person can lend.')
  if (resource !== undefined && (scope.length > 0 || isStanding))
    throw invalid('scope', 'What is lent for another’s API opens nothing here, and does not stand.')
  if ((scope.length < 1 && resource === undefined) || scope.length > scopeMax)
    throw invalid('scope', `Name 1 to ${scopeMax} objects.`)
  for (const [index, object] of scope.entries()) {
    const { type, id: objectId } = splitObject(object)
    if (!scopeTypes.has(type) || !isId(objectId)) {
      throw invalid(
        `scope.${index}`,
        'An organization, collection, folder or document is needed, as type:id.',
      )
    }
  }
  if (subAgents.length > subAgentsMax) throw invalid('sub_agents', `At most ${subAgentsMax} agents.`)
  if (subAgents.includes(agent)) throw invalid('sub_agents', 'The agent is not its own sub-agent.')
  if (!(expiresAt > now)) throw invalid('expires_at', 'The end has to be in the future.')
  if (purpose.length < 1 || purpose.length > 500)
    throw invalid('purpose', 'A purpose of 1 to 500 characters is needed.')
  await assertAgents(sql, [agent, ...subAgents])
  return {
    ...terms,
    id,
    standing: isStanding,
    subAgents: [...new Set(subAgents)],
    scope: [...new Set(scope)],
    resource,
    details,
    createdAt: now,
    state: 'lending',
  }
}

async function assertAgents(sql: Sql, ids: readonly string[]): Promise<void> {
  const rows = await sql.query<{ id: string }>(
    'select id from agents where id = any($1) and disabled_at is null',
    [[...ids]],
  )
  const usable = new Set(rows.map(({ id }) => id))
  const missing = ids.find((id) => !usable.has(id))
  if (missing !== undefined)
    throw invalid(missing === ids[0] ? 'agent' : 'sub_agents', 'The agent is not registered, or is disabled.')
}

/**
 * Holds the rows of all its agents until the transaction ends: whoever makes another program of one, or lets
 * it reach further, waits and finds this delegation to end, or has come wholly before. Exclusively for a
 * standing one: two at once would both find room, and the unique index would then answer with a bare error.
 */
export const lockAgents = (
  sql: Sql,
  { agent, subAgents, standing: isStanding }: Delegation,
): Promise<Agent[]> => lockedAgents(sql, [agent, ...subAgents], isStanding ? 'update' : 'key share')
