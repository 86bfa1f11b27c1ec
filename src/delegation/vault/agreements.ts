import { type RecordActor, record } from '../../audit/record.ts'
import type { Sql } from '../../store/sql.ts'
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
