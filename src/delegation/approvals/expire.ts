import { record } from '../../audit/record.ts'
import type { Clock } from '../../kernel/clock.ts'
import type { Database } from '../../store/sql.ts'
import type { Approval } from './approval.ts'
import { recordedRequester } from './request-approval.ts'
import { isCurrent, readApprovals } from './rows.ts'

const batchMax = 200
// Decided or not: a grant that came of it has ended long before.
const keptMs = 90 * 24 * 3_600_000

/**
 * Writes down, and puts on record, what the clock decided long ago: open ones whose time, delegation or agent
 * is over. Forgets those that were over 90 days ago. Returns how many expired.
 */
export async function expireApprovals({
  database,
  clock,
}: {
  readonly database: Database
  readonly clock: Clock
}): Promise<number> {
  const now = new Date(clock.now())
  await database.query(
    `delete from approvals where expires_at < $1 and state not in ('pending', 'info_requested')`,
    [new Date(clock.now() - keptMs)],
  )
  let count = 0
  for (;;) {
    const overdue = await readApprovals(database, isOver, now, [])
    for (const approval of overdue) if (await write(database, approval)) count += 1
    if (overdue.length < batchMax) return count
  }
}

const isOver = `a.state in ('pending', 'info_requested') and not ${isCurrent} order by a.expires_at limit ${batchMax}`

/** False: somebody was there before. */
const write = (database: Database, approval: Approval): Promise<boolean> =>
  database.transaction(async (sql) => {
    const rows = await sql.query(
      `update approvals set state = 'expired', version = version + 1
       where id = $1 and version = $2 and state in ('pending', 'info_requested') returning id`,
      [approval.id, approval.version],
    )
    if (rows.length === 0) return false
    await record(sql, recordedRequester(approval), { event: 'approval_expired', approval: approval.id })
    return true
  })
