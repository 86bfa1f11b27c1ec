import { record, type Who } from '../../audit/record.ts'
import type { FgaObject } from '../../kernel/ids.ts'
import type { Database, Sql } from '../../store/sql.ts'
import { atPages } from '../sign-in/sign-ins.ts'

/** An agent that may ask this person nothing: it is told no at once, and they hear nothing of it. */
export interface Block {
  readonly agent: string
  readonly agentTitle: string
  readonly since: Date
}

export interface Blocks {
  of(subject: FgaObject): Promise<Block[]>
  /** On record. False: it was not blocked. */
  lift(subject: FgaObject, agent: string, txn: string): Promise<boolean>
}

export const createBlocks = (database: Database): Blocks => ({
  async of(subject) {
    const rows = await database.query<{ agent: string; title: string; blocked_at: Date }>(
      `select b.agent, g.title, b.blocked_at from approval_askers b join agents g on g.id = b.agent
       where b.subject = $1 and b.blocked_at is not null order by b.blocked_at desc, b.agent`,
      [subject],
    )
    return rows.map(({ agent, title, blocked_at }) => ({ agent, agentTitle: title, since: blocked_at }))
  },
  lift: (subject, agent, txn) =>
    database.transaction(async (sql) => {
      const lifted = await sql.query(
        `update approval_askers set blocked_at = null
         where subject = $1 and agent = $2 and blocked_at is not null returning agent`,
        [subject, agent],
      )
      if (lifted.length === 0) return false
      await record(sql, atPages(subject.slice('user:'.length), txn), { event: 'agent_unblocked', agent })
      return true
    }),
})

/** Within the transaction of the decision that says so. One that is blocked already stays so. */
export async function blockAgent(
  sql: Sql,
  { subject, agent }: { readonly subject: FgaObject; readonly agent: string },
  { by, now }: { readonly by: Who; readonly now: Date },
): Promise<void> {
  await sql.query(
    `insert into approval_askers (subject, agent, blocked_at) values ($1, $2, $3)
     on conflict (subject, agent) do update set blocked_at = coalesce(approval_askers.blocked_at, excluded.blocked_at)`,
    [subject, agent, now],
  )
  await record(sql, by, { event: 'agent_blocked', agent })
}
