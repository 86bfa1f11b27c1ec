import { setTimeout as pause } from 'node:timers/promises'
import type { Queue } from '../../src/jobs/queue.ts'
import type { Database } from '../../src/store/sql.ts'

/** One task of a queue as the database holds it. */
export interface StoredTask {
  readonly state: 'created' | 'retry' | 'active' | 'completed' | 'cancelled' | 'failed'
  /** Seconds that it waits, counted from when it was sent. */
  readonly waits: number
}

/** The tasks of a queue whose key begins like this, the oldest first. */
export const tasksOf = (database: Database, name: string, key = ''): Promise<StoredTask[]> =>
  database.query(
    `select state, round(extract(epoch from start_after - created_on))::int as waits from pgboss.job
     where name = $1 and starts_with(singleton_key, $2) order by created_on, start_after`,
    [name, key],
  )

/** Has this process work until nothing of its queue runs, or could begin now. */
export async function drain(database: Database, name: string, queue: Pick<Queue, 'wake'>): Promise<void> {
  for (;;) {
    queue.wake()
    const rows = await database.query(
      `select 1 from pgboss.job
       where name = $1 and (state = 'active' or state in ('created', 'retry') and start_after <= now()) limit 1`,
      [name],
    )
    if (rows.length === 0) return
    await pause(10)
  }
}

/** As if the time of every task that waits had come. */
export const makeDue = (database: Database, name: string): Promise<unknown> =>
  database.query(
    `update pgboss.job set start_after = now() where name = $1 and state in ('created', 'retry')`,
    [name],
  )

/**
 * Takes what runs from whoever has it, as is done with the tasks of a process that was not heard of for 30
 * seconds.
 */
export const lapse = (database: Database, name: string): Promise<unknown> =>
  database.query(
    `update pgboss.job set state = 'retry', start_after = now() where name = $1 and state = 'active'`,
    [name],
  )
