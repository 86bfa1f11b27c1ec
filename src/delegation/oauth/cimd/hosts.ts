import { isIPv6 } from 'node:net'
import { type RecordActor, record } from '../../../audit/record.ts'
import { invalid } from '../../../kernel/errors.ts'
import type { Runtime } from '../../../store/runtime.ts'
import { countRows, type Sql } from '../../../store/sql.ts'
import { createAgents } from '../../registry/agents.ts'

/** A host whose client documents are refused, with those below it. */
export interface DeniedHost {
  /** It and every name below it, at any port. */
  readonly host: string
  readonly since: Date
}

/** Hosts of which no client that nobody registered is let in. Each change is on record with the row. */
export interface DeniedHosts {
  /**
   * The kill switch for a host: no program of it begins anything from the next request on, and every agent
   * that came from it is disabled. Again: those that came meanwhile. 422 for what is no name of a host.
   */
  deny(
    recordedAs: RecordActor,
    host: string,
  ): Promise<{ readonly host: string; readonly agents: readonly string[] }>
  /** Programs of it may come again; its agents stay disabled. False: it was not denied. */
  allow(recordedAs: RecordActor, host: string): Promise<boolean>
  list(): Promise<DeniedHost[]>
  isDenied(clientId: string): Promise<boolean>
  /**
   * Lets a program in by what `task` writes, all of it or nothing, and nothing where its host is denied.
   * Whoever denies the host at the same time comes wholly before or wholly after: then its agent is there to
   * be disabled.
   */
  unlessDenied(clientId: string, task: (sql: Sql) => Promise<void>): Promise<void>
}

/** Does NOT check who asks. */
export function createDeniedHosts({ database, clock }: Pick<Runtime, 'database' | 'clock'>): DeniedHosts {
  return {
    deny: (recordedAs, hostText) =>
      database.transaction(async (sql) => {
        const host = named(hostText)
        await sql.query('insert into denied_hosts (host, denied_at) values ($1, $2) on conflict do nothing', [
          host,
          new Date(clock.now()),
        ])
        const came = (await cameFrom(sql)).filter(({ client_id }) => namesOf(client_id).includes(host))
        const agents = came.map(({ agent }) => agent)
        await record(sql, recordedAs, { event: 'host_disabled', host, agents })
        const agentsInTransaction = createAgents({ sql, clock })
        for (const agent of agents) await agentsInTransaction.disable(agent)
        return { host, agents }
      }),
    allow: (recordedAs, hostText) =>
      database.transaction(async (sql) => {
        const host = named(hostText)
        const text = 'delete from denied_hosts where host = $1 returning host'
        const isRemoved = (await countRows(sql, text, [host])) > 0
        if (isRemoved) await record(sql, recordedAs, { event: 'host_enabled', host })
        return isRemoved
      }),
    list: () =>
      database.query<{ host: string; since: Date }>(
        'select host, denied_at as since from denied_hosts order by host',
      ),
    isDenied: (clientId) => isDenied(database, clientId),
    unlessDenied: (clientId, task) =>
      database.transaction(async (sql) => {
        // A row that is not there yet cannot be locked; whoever writes one locks the table against this.
        await sql.query('lock table denied_hosts in share mode')
        if (!(await isDenied(sql, clientId))) await task(sql)
      }),
  }
}

async function isDenied(sql: Sql, clientId: string): Promise<boolean> {
  const denied = 'select 1 from denied_hosts where host = any($1::text[]) limit 1'
  return (await countRows(sql, denied, [namesOf(clientId)])) > 0
}

/** Of clients that nobody registered: their ids are addresses. */
const cameFrom = (sql: Sql) =>
  sql.query<{ readonly agent: string; readonly client_id: string }>(
    `select agent, client_id from clients where agent like 'cimd/%' and client_id like 'https://%' order by agent`,
  )

/** Its host, and every name above it. Ports and a dot at the end make no other host. */
function namesOf(clientId: string): string[] {
  const labels = (URL.parse(clientId)?.hostname ?? '').split('.').filter((label) => label !== '')
  return labels.map((_, labelIndex) => labels.slice(labelIndex).join('.'))
}

/** Whether it reads as all names below another one, and would be no more than one of that name. */
export const isPattern = (host: string): boolean => host.split('.').includes('*')

/**
 * Whatever the address of a client may have: what the URL parser leaves as it is. A dot at the end is left
 * out; of IPv6 any spelling.
 */
function named(hostText: string): string {
  const name = hostText.toLowerCase().replace(/\.$/, '')
  const address = name.replace(/^\[(.*)\]$/, '$1')
  const host = isIPv6(address) ? URL.parse(`https://[${address}]`)?.hostname : name
  if (host === undefined || isPattern(host) || namesOf(`https://${host}`)[0] !== host)
    throw invalid('host', 'The name of a host is needed, such as assistant.example, without port or path.')
  return host
}
