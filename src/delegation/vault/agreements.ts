import { type RecordActor, record } from '../../audit/record.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import { agentOf } from '../../kernel/principal.ts'
import type { Seal } from '../../store/encryption.ts'
import type { Runtime } from '../../store/runtime.ts'
import type { Sql, SqlValue } from '../../store/sql.ts'
import { digestOfAgent, readAgents } from '../registry/agents.ts'
import { canonicalJson } from '../registry/details.ts'
import type { Rule } from './provider.ts'
import type { ConnectionRow } from './rows.ts'

/** Who may use a connection: an agent, and the client through which it speaks. */
export interface Party {
  readonly agent: string
  readonly client: string
}

/** The connection that an agreement is about. */
export type AgreedConnection = Pick<ConnectionRow, 'id' | 'subject' | 'provider'>

/**
 * Notes what a person agreed to, on record with it, and answers what agents were waiting for. An agent has
 * one account of a provider through one client: agreed to for another account, the one before is over.
 */
export async function recordAgreement(
  sql: Sql,
  { id, subject, provider }: AgreedConnection,
  agreement: { readonly parties: readonly Party[]; readonly rules: readonly Rule[]; readonly now: Date },
  recordedAs: RecordActor,
): Promise<void> {
  const { parties, rules, now } = agreement
  for (const { agent, client } of parties) {
    await sql.query(
      `delete from connection_agents as a using connections as c where a.connection = c.id and c.subject = $1
         and c.provider = $2 and c.id <> $3 and a.agent = $4 and a.client = $5`,
      [subject, provider, id, agent, client],
    )
    await sql.query(
      `insert into connection_agents (connection, agent, client, rules, agreed_at) values ($1, $2, $3, $4, $5)
       on conflict (connection, agent, client) do update set rules = excluded.rules, agreed_at = excluded.agreed_at`,
      [id, agent, client, JSON.stringify(rules), now],
    )
    await sql.query(
      'delete from connection_requests where subject = $1 and provider = $2 and agent = $3 and client = $4',
      [subject, provider, agent, client],
    )
    await record(sql, recordedAs, {
      event: 'connection_agreed',
      connection: id,
      provider,
      agent,
      through: client,
      rules: rules.map(({ methods, paths }) => ({ methods, paths })),
    })
  }
}

/** False: it was not agreed to. */
export async function endAgreement(
  sql: Sql,
  { id, provider }: AgreedConnection,
  { agent, client }: Party,
  recordedAs: RecordActor,
): Promise<boolean> {
  const ended = await sql.query(
    'delete from connection_agents where connection = $1 and agent = $2 and client = $3 returning agent',
    [id, agent, client],
  )
  if (ended.length === 0) return false
  await record(sql, recordedAs, {
    event: 'connection_agent_removed',
    connection: id,
    provider,
    agent,
    through: client,
    rules: [],
  })
  return true
}

/**
 * The condition under which an agent may use connection `c` by agreement `a`: both of this person, agent and
 * client, the agent registered and enabled, something lent, and none of them ended. Its parameters, first of
 * all: {@link usedBy}. NOT in it: the state of the connection.
 */
export const mayUse = `c.subject = $1 and a.agent = $2 and a.client = $3
  and exists (select from agents where id = $2 and disabled_at is null)
  and exists (select from delegations where id = $4 and subject = $1 and state = 'live' and expires_at > $5
    and resource is null and (agent = $2 or $2 = any(sub_agents)))
  and not exists (select from revocations where (until is null or until > $5)
    and (kind, key) in (('subject', $1), ('agent', $2)))`

/** Of {@link mayUse}. Whoever is no agent, or has no delegation, may not. */
export const usedBy = (asker: RecordActor, nowMs: number): readonly SqlValue[] => [
  asker.subject,
  agentOf(asker) ?? null,
  asker.client,
  asker.delegation ?? null,
  new Date(nowMs),
]

/** Every person's with this agent, each on record, and what it asked for. */
export async function endAgreementsOf(sql: Sql, agent: string, recordedAs: RecordActor): Promise<void> {
  await sql.query('delete from connection_requests where agent = $1', [agent])
  const agreed = await sql.query<AgreedConnection & { readonly client: string }>(
    `select c.id, c.subject, c.provider, a.client from connection_agents as a join connections as c on c.id = a.connection
     where a.agent = $1 order by c.id, a.client`,
    [agent],
  )
  for (const { client, ...connection } of agreed)
    await endAgreement(sql, connection, { agent, client }, recordedAs)
}

/**
 * After an older copy of the database was put in place: what was agreed to may have been taken back since,
 * and tokens that were renewed since are none any more, which their provider would take for theft. Nothing is
 * agreed to from here on, and accounts are to be connected once more. Returns how many.
 */
export async function forgetAgreements(sql: Sql): Promise<number> {
  await sql.query('delete from connection_agents')
  await sql.query('delete from connection_requests')
  const rows = await sql.query(
    `update connections set state = 'needs_reconnect', lease = lease + 1, leased_until = null
     where state = 'live' returning id`,
  )
  return rows.length
}

/** An agent and its client, as a person is shown them. */
export interface LabelledParty extends Party {
  readonly agentTitle: string
  readonly purpose: string
  readonly clientTitle: string
  /** Digest of the agent, as the registry has it, and of the client: whoever agrees sends it back. */
  readonly shown: string
}

/** An agent that was sent to the person, since it lacks a connection. */
export interface ConnectionRequest extends LabelledParty {
  readonly id: string
  readonly provider: string
}

/**
 * Names of agents and clients for the page on which a person connects accounts. `transaction`: the caller's.
 */
export interface PartyLabels {
  /** To whom the person lends something now, through each of their registered clients. */
  offered(subject: FgaObject, transaction?: Sql): Promise<LabelledParty[]>
  /** Who waits for this person, newest first. Nobody else's are there. */
  requests(subject: FgaObject, transaction?: Sql): Promise<ConnectionRequest[]>
  /** Takes one away; the agent may ask again. */
  refuse(subject: FgaObject, id: string): Promise<void>
  sweep(): Promise<number>
}

/** Reads rows. Does NOT check that the caller is the person. */
export function createPartyLabels({
  sql,
  clock,
  seal,
}: Pick<Runtime, 'sql' | 'clock' | 'seal'>): PartyLabels {
  const now = () => new Date(clock.now())
  return {
    offered: async (subject, transaction = sql) =>
      labelled(
        transaction,
        seal,
        await transaction.query<Unlabelled>(
          `select a.id as agent, c.client_id as client, c.title as "clientTitle"
         from agents as a join clients as c on c.agent = a.id or c.client_id = any(a.host_clients)
         where a.disabled_at is null and c.kind = 'agent' and c.title is not null and exists (
           select from delegations as d where d.subject = $1 and d.state = 'live' and d.expires_at > $2
             and d.resource is null and (d.agent = a.id or a.id = any(d.sub_agents)))
         order by a.title, a.id, c.title limit 200`,
          [subject, now()],
        ),
      ),
    requests: async (subject, transaction = sql) =>
      labelled(
        transaction,
        seal,
        await transaction.query<Unlabelled & Pick<ConnectionRequest, 'id' | 'provider'>>(
          `select r.id, r.provider, a.id as agent, r.client, coalesce(c.title, r.client) as "clientTitle"
         from connection_requests as r join agents as a on a.id = r.agent left join clients as c on c.client_id = r.client
         where r.subject = $1 and r.expires_at > $2 and a.disabled_at is null order by r.expires_at desc, r.id limit 50`,
          [subject, now()],
        ),
      ),
    async refuse(subject, id) {
      await sql.query('delete from connection_requests where subject = $1 and id = $2', [subject, id])
    },
    async sweep() {
      const rows = await sql.query('delete from connection_requests where expires_at <= $1 returning id', [
        now(),
      ])
      return rows.length
    },
  }
}

type Unlabelled = Party & Pick<LabelledParty, 'clientTitle'>

/**
 * Words and digest come of one row: read apart, the digest could be of other words than are shown. It is
 * keyed, so that nobody tries out what an agent's row holds beside them.
 */
async function labelled<Row extends Unlabelled>(
  sql: Sql,
  seal: Seal,
  rows: readonly Row[],
): Promise<(Row & LabelledParty)[]> {
  const agents = await readAgents(
    sql,
    rows.map(({ agent }) => agent),
  )
  const enabled = new Map(
    agents.filter(({ disabledAt }) => disabledAt === undefined).map((agent) => [agent.id, agent]),
  )
  return rows.flatMap((row) => {
    const agent = enabled.get(row.agent)
    if (agent === undefined) return []
    const shown = seal.hash('party shown', canonicalJson([digestOfAgent(agent), row.client, row.clientTitle]))
    return [{ ...row, agentTitle: agent.title, purpose: agent.purpose, shown }]
  })
}
