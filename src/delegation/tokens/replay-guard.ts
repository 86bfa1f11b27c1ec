import { createHash } from 'node:crypto'
import type { Runtime } from '../../store/runtime.ts'
import { countRows } from '../../store/sql.ts'

/** What is good once, in whichever process it is shown first: proofs of possession, actor tokens. */
export interface ReplayGuard {
  /** True for the first call with this value only. Kept for `ms`, by when it is too old to pass anyway. */
  spend(value: string, ms: number): Promise<boolean>
  /** Drops what is over, and returns how many. */
  sweep(): Promise<number>
}

/** One statement that only one of many at once can win, on PGlite's one session too. */
export function createReplayGuard({ sql, clock }: Pick<Runtime, 'sql' | 'clock'>): ReplayGuard {
  return {
    async spend(value, ms) {
      const id = createHash('sha256').update(value).digest('base64url')
      const text =
        'insert into used_proofs (id, until) values ($1, $2) on conflict (id) do nothing returning id'
      return (await countRows(sql, text, [id, new Date(clock.now() + ms)])) === 1
    },
    sweep: () =>
      countRows(sql, 'delete from used_proofs where until < $1 returning id', [new Date(clock.now())]),
  }
}
