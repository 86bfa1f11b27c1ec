import { type RecordActor, record } from '../../audit/record.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Database, Sql } from '../../store/sql.ts'

/**
 * An agent that may ask this person nothing: it is told no at once, and they hear nothing of it. Of one that
 * nobody registered it holds for every other from the same host, which could come with another address for
 * each no.
 */
export interface Block {
  readonly agent: string
  readonly agentTitle: string
  readonly since: Date
}

/** Agents that a person wants no questions from. A block has no end; the person lifts it. */
export interface Blocks {
  of(subject: FgaObject): Promise<Block[]>
  /** On record; for every other from the same host as well. False: it was not blocked. */
  lift(subject: FgaObject, agent: string, recordedAs: RecordActor): Promise<boolean>
}

/** Reads and writes the table of blocks. Does NOT check that the caller is the person. */
export const createBlocks = (database: Database): Blocks => ({
  of: (subject) =>
    database.query<Block>(
      `select b.agent, g.title as "agentTitle", b.blocked_at as since from approval_askers b join agents g on g.id = b.agent
       where b.subject = $1 and b.blocked_at is not null order by b.blocked_at desc, b.agent`,
      [subject],
    ),
  lift: (subject, agent, recordedAs) =>
    database.transaction(async (sql) => {
      const blocked = await sql.query<{ agent: string; since: Date }>(
        `select agent, blocked_at as since from approval_askers
         where subject = $1 and ${ofSameHost} and blocked_at is not null order by agent for update`,
        [subject, agent],
      )
      const since = blocked.find((block) => block.agent === agent)?.since
      if (since === undefined) return false
      const lifted = blocked.map((block) => block.agent)
      await sql.query('update approval_askers set blocked_at = null where subject = $1 and agent = any($2)', [
        subject,
        lifted,
      ])
      // Once its client is removed, nothing but the moment of the block tells which host was blocked with it.
      await sql.query(
        `update approval_host_askers set blocked_at = null
         where subject = $1 and coalesce(host = ${hostOf}, blocked_at = $3)`,
        [subject, agent, since],
      )
      for (const agentId of lifted)
        await record(sql, recordedAs, { event: 'agent_unblocked', agent: agentId })
      return true
    }),
})

/** Within the transaction of the decision that says so. One that is blocked already stays so. */
export async function blockAgent(
  sql: Sql,
  { subject, agent }: { readonly subject: FgaObject; readonly agent: string },
  { recordedAs, now }: { readonly recordedAs: RecordActor; readonly now: Date },
): Promise<void> {
  await sql.query(
    `insert into approval_askers (subject, agent, blocked_at) values ($1, $2, $3)
     on conflict (subject, agent) do update set blocked_at = coalesce(approval_askers.blocked_at, excluded.blocked_at)`,
    [subject, agent, now],
  )
  await sql.query(
    `insert into approval_host_askers (subject, host, blocked_at)
     select $1, known.host, $3::timestamptz from ${hostOf} as known (host)
     on conflict (subject, host) do update set
       blocked_at = coalesce(approval_host_askers.blocked_at, excluded.blocked_at)`,
    [subject, agent, now],
  )
  await record(sql, recordedAs, { event: 'agent_blocked', agent })
}

const host = `rtrim(substring(client_id from '^https://(\\[[^\\]]*\\]|[^/:?#]+)'), '.')`
const isStranger = `agent like 'cimd/%' and client_id like 'https://%'`

// $2 the agent; null for one that somebody registered. The client of a stranger is the address of its
// document.
const hostOf = `(select ${host} from clients where agent = $2 and ${isStranger} limit 1)`

/** Rows of this agent, `$2`, and of every other from its host where nobody registered it. */
export const ofSameHost = `(agent = $2 or agent in (select agent from clients where ${isStranger} and ${host} = ${hostOf}))`

/**
 * Waits for whoever asks or blocks as another agent of the same host. A version from before there were rows
 * of hosts blocks one agent: read after the wait, and for the host all the same.
 */
export async function isHostBlocked(sql: Sql, subject: FgaObject, agent: string): Promise<boolean> {
  const rows = await sql.query<{ blocked_at: Date | null }>(
    `insert into approval_host_askers (subject, host) select $1, known.host from ${hostOf} as known (host)
     on conflict (subject, host) do update set host = excluded.host returning blocked_at`,
    [subject, agent],
  )
  if (rows.some(({ blocked_at }) => blocked_at !== null)) return true
  const alone = await sql.query(
    `select 1 from approval_askers where subject = $1 and ${ofSameHost} and blocked_at is not null limit 1`,
    [subject, agent],
  )
  return alone.length > 0
}
