import { createHash } from 'node:crypto'
import { isId } from '@remit/contract/id'
import { AppError, invalid } from '../../kernel/errors.ts'
import { type FgaObject, splitObject } from '../../kernel/ids.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, readRows, type Sql } from '../../store/sql.ts'
import { neverForActors } from './claims.ts'
import { type PublicJwks, publicJwks } from './clients.ts'
import { digestOfJson } from './details.ts'

/** One registered agent. `issuer` and `sub` are what a token's `act` claim says of it. */
export interface Agent {
  readonly id: string
  /** The person who answers for it, `user:anne`. */
  readonly owner: string
  /** Shown to people beside its id. */
  readonly title: string
  readonly purpose: string
  readonly issuer: string
  readonly sub: string
  readonly limits: AgentLimits
  /** Verify its actor tokens; undefined: it proves itself by its client alone. */
  readonly jwks: PublicJwks | undefined
  /** Clients, beside its own, through which it may act: each time it says so itself, by an actor token. */
  readonly hostClients: readonly string[]
  readonly disabledAt: Date | undefined
}

/**
 * How far an agent goes at most, whoever lends it what. Read on every request: a limit that shrinks bites at
 * once.
 */
export interface AgentLimits {
  /** undefined: every scope that an agent may hold, and those of other APIs that people agree to. */
  readonly scopes: readonly string[] | undefined
  /** Documents filed elsewhere are out of its reach. undefined: wherever people lend it something. */
  readonly collections: readonly string[] | undefined
}

/** An agent to register or to change. */
export interface NewAgent extends Pick<Agent, 'id' | 'owner' | 'purpose' | 'issuer' | 'sub'> {
  /** Left out: its id; a known agent keeps its own. */
  readonly title?: string
  /** Left out: none; a known agent keeps its own, so that nothing is widened by saying nothing. */
  readonly limits?: AgentLimits
  /** Left out: a known agent keeps its own. null: none. */
  readonly jwks?: PublicJwks | null
  /** Left out: a known agent keeps its own. */
  readonly hostClients?: readonly string[]
}

/** The registry of agents. Does NOT end what people lent to them: administration does. */
export interface Agents {
  /**
   * Registers or updates an agent; never enables a disabled one. 409 where another agent has its (issuer,
   * sub). NOT checked: whether owner, scopes and collections exist; what is not there gives nothing.
   */
  save(agent: NewAgent): Promise<void>
  /** Throws what {@link save} would, and changes nothing. */
  assertSavable(agent: NewAgent): Promise<void>
  get(id: string): Promise<Agent | undefined>
  list(): Promise<Agent[]>
  /** Whether any agent may act through this client that is not its own. */
  isHost(clientId: string): Promise<boolean>
  /** The kill switch: from the next request on, no token in whose chain it stands is accepted. */
  disable(id: string): Promise<boolean>
  /** Takes the switch back. False: no such agent. NOT decided here: what becomes of what it was lent. */
  enable(id: string): Promise<boolean>
}

/** The agent as an object of the authorization model. */
export const agentObject = (id: string): FgaObject => `agent:${id}`

/**
 * Of who an agent is and what bounds it. What a page shows of agents carries it, and whoever lends sends it
 * back, so that a yes means what was shown.
 */
export const digestOfAgent = ({ disabledAt: _, ...agent }: Agent): string => digestOfJson(agent)

/** Agents as a page showed them: their ids and digests. */
export type ShownAgents = ReadonlyMap<string, string>

export const shownAgents = (agents: readonly Agent[]): ShownAgents =>
  new Map(agents.map((agent) => [agent.id, digestOfAgent(agent)]))

/** Of all agents that a page showed, in one. */
export const digestOfAgents = (agents: readonly Agent[]): string =>
  createHash('sha256').update(agents.map(digestOfAgent).sort().join()).digest('base64url')

/** A 409: nothing was lent to what no page had shown. */
export const changedSinceShown = (): AppError =>
  new AppError('conflict', {
    public: 'Something of this has changed since you looked. Nothing was lent: look again.',
  })

/** The rows of these, disabled ones too, in the order of their ids. */
export const readAgents = (sql: Sql, ids: readonly string[]) =>
  readRows<Agent>(sql, `${select} where id = any($1) order by id`, [ids])

/** The rows of these, held until the transaction ends. */
export const lockedAgents = (sql: Sql, ids: readonly string[], lock: 'update' | 'key share') =>
  readRows<Agent>(sql, `${select} where id = any($1) order by id for ${lock}`, [ids])

/** Reads and writes rows. Does NOT check who asks. */
export function createAgents({ sql, clock }: Pick<Runtime, 'sql' | 'clock'>): Agents {
  const assertSavable: Agents['assertSavable'] = async (agent) => {
    assertUsable(agent)
    const { issuer, sub, id } = agent
    const clashing = 'select 1 from agents where issuer = $1 and sub = $2 and id <> $3'
    if ((await countRows(sql, clashing, [issuer, sub, id])) > 0)
      throw new AppError('conflict', { public: 'Another agent has this issuer and sub.' })
  }
  return {
    assertSavable,
    async save(agent) {
      await assertSavable(agent)
      const { id, owner, purpose, issuer, sub, title, limits, jwks, hostClients } = agent
      await sql.query(
        `insert into agents (id, owner, purpose, issuer, sub, title, scopes, collections, jwks, host_clients)
         values ($1, $2, $3, $4, $5, coalesce($6, $1), $7, $8, $9, coalesce($12::text[], '{}'))
         on conflict (id) do update set owner = excluded.owner, purpose = excluded.purpose,
           issuer = excluded.issuer, sub = excluded.sub,
           title = case when $6::text is null then agents.title else excluded.title end,
           scopes = case when $10 then excluded.scopes else agents.scopes end,
           collections = case when $10 then excluded.collections else agents.collections end,
           jwks = case when $11 then excluded.jwks else agents.jwks end,
           host_clients = coalesce($12::text[], agents.host_clients)`,
        [
          id,
          owner,
          purpose,
          issuer,
          sub,
          title ?? null,
          limits?.scopes ?? null,
          limits?.collections ?? null,
          jwks ?? null,
          limits !== undefined,
          jwks !== undefined,
          hostClients ?? null,
        ],
      )
    },
    get: async (id) => (await readRows<Agent>(sql, `${select} where id = $1`, [id]))[0],
    list: () => readRows<Agent>(sql, `${select} order by id`),
    async isHost(clientId) {
      const hosted = 'select 1 from agents where $1 = any(host_clients) limit 1'
      return (await countRows(sql, hosted, [clientId])) > 0
    },
    async disable(id) {
      const text = 'update agents set disabled_at = coalesce(disabled_at, $2) where id = $1 returning id'
      return (await countRows(sql, text, [id, new Date(clock.now())])) > 0
    },
    async enable(id) {
      const text = 'update agents set disabled_at = null where id = $1 returning id'
      return (await countRows(sql, text, [id])) > 0
    },
  }
}

/** What all agents of a chain allow: every one narrows. */
export function withinLimits<One extends string>(
  scopes: readonly One[],
  chain: readonly Pick<AgentLimits, 'scopes'>[],
): readonly One[] {
  return scopes.filter((scope) => chain.every((agent) => agent.scopes?.includes(scope) ?? true))
}

const scopesMax = 50
const collectionsMax = 100
/** Whether a text is a scope token of RFC 6749 §3.3, of at most 100 characters. */
export const isScope = (scope: string): boolean => /^[\x21\x23-\x5b\x5d-\x7e]{1,100}$/.test(scope)

function assertUsable({ id, owner, title = id, purpose, issuer, sub, limits, jwks }: NewAgent): void {
  if (!isId(id)) throw invalid('id', 'The agent id is not valid.')
  const { type, id: person } = splitObject(owner as FgaObject)
  if (type !== 'user' || !isId(person)) throw invalid('owner', 'A person answers for an agent: user:ID.')
  for (const [field, value, max] of [
    ['title', title, 200],
    ['purpose', purpose, 500],
    ['issuer', issuer, 1_024],
    ['sub', sub, 1_024],
  ] as const) {
    if (value.length < 1 || value.length > max) throw invalid(field, `1 to ${max} characters are needed.`)
  }
  const { scopes = [], collections = [] } = limits ?? {}
  if (scopes.length > scopesMax) throw invalid('scopes', `At most ${scopesMax} scopes.`)
  for (const [index, scope] of scopes.entries()) {
    if (!isScope(scope)) throw invalid(`scopes.${index}`, 'This is not a scope.')
    if (neverForActors.has(scope)) throw invalid(`scopes.${index}`, 'No agent may hold this scope.')
  }
  if (collections.length > collectionsMax) throw invalid('collections', `At most ${collectionsMax}.`)
  for (const [index, collection] of collections.entries()) {
    if (!isId(collection)) throw invalid(`collections.${index}`, 'This is not the id of a collection.')
  }
  if (jwks !== undefined && jwks !== null) {
    const parsed = publicJwks.safeParse(jwks)
    if (!parsed.success) throw invalid('jwks', parsed.error.issues[0]?.message ?? 'Public keys are needed.')
  }
}

// A limit that is null is none.
const select = `select id, owner, title, purpose, issuer, sub, jwks, host_clients as "hostClients",
    disabled_at as "disabledAt",
    json_strip_nulls(json_build_object('scopes', scopes, 'collections', collections)) as limits
  from agents`
