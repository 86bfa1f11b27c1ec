import { createHash } from 'node:crypto'
import { clocksApartMs } from '../../kernel/clock.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows } from '../../store/sql.ts'

/** What is good once, in whichever process it is shown first: proofs of possession, actor tokens. */
export interface ReplayGuard {
  /**
   * True for the first call with this value only. `ms`: how long it may pass by one process's clock. It is
   * kept ten minutes longer: the first process may be five ahead of the database, another five behind.
   */
  spend(value: string, ms: number): Promise<boolean>
  /** Drops what is over, and returns how many. */
  sweep(): Promise<number>
}

/**
 * One statement that only one of many at once can win, on PGlite's one session too. What is over is told by
 * the database's clock: a process that is ahead would drop what others still take.
 */
export function createReplayGuard({ sql }: Pick<Runtime, 'sql'>): ReplayGuard {
  return {
    async spend(value, ms) {
      const id = createHash('sha256').update(value).digest('base64url')
      const text = `insert into used_proofs (id, until) values ($1, now() + make_interval(secs => $2))
        on conflict (id) do nothing returning id`
      return (await countRows(sql, text, [id, (ms + 2 * clocksApartMs) / 1_000])) === 1
    },
    sweep: () => countRows(sql, 'delete from used_proofs where until < now() returning id', []),
  }
}
