import type { Clock } from '../../kernel/clock.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Sql } from '../../store/sql.ts'
import type { Party } from './agreements.ts'

/** An agent and its client, as a person is shown them. */
export interface LabelledParty extends Party {
  readonly agentTitle: string
  readonly purpose: string
  readonly clientTitle: string
}

/** An agent that was sent to the person, since it lacks a connection. */
export interface ConnectionRequest extends LabelledParty {
  readonly id: string
  readonly provider: string
}

/** Names of agents and clients for the page on which a person connects accounts. */
export interface PartyLabels {
  /** To whom the person lends something now, through each of their registered clients. */
  offered(subject: FgaObject): Promise<LabelledParty[]>
  /** Who waits for this person, newest first. Nobody else's are there. */
  requests(subject: FgaObject): Promise<ConnectionRequest[]>
  /** Takes one away; the agent may ask again. */
  refuse(subject: FgaObject, id: string): Promise<void>
  sweep(): Promise<number>
}

/** Reads rows. Does NOT check that the caller is the person. */
export function createPartyLabels({ sql, clock }: { readonly sql: Sql; readonly clock: Clock }): PartyLabels {
  const now = () => new Date(clock.now())
  return {
    offered: (subject) =>
      sql.query<LabelledParty>(
        `select a.id as agent, a.title as "agentTitle", a.purpose, c.client_id as client, c.title as "clientTitle"
         from agents as a join clients as c on c.agent = a.id or c.client_id = any(a.host_clients)
         where a.disabled_at is null and c.kind = 'agent' and c.title is not null and exists (
           select from delegations as d where d.subject = $1 and d.state = 'live' and d.expires_at > $2
             and d.resource is null and (d.agent = a.id or a.id = any(d.sub_agents)))
         order by a.title, a.id, c.title limit 200`,
        [subject, now()],
      ),
    requests: (subject) =>
      sql.query<ConnectionRequest>(
        `select r.id, r.provider, a.id as agent, a.title as "agentTitle", a.purpose, r.client,
           coalesce(c.title, r.client) as "clientTitle"
         from connection_requests as r join agents as a on a.id = r.agent left join clients as c on c.client_id = r.client
         where r.subject = $1 and r.expires_at > $2 and a.disabled_at is null order by r.expires_at desc, r.id limit 50`,
        [subject, now()],
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
