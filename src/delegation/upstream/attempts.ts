import type { z } from 'zod'
import type { Runtime } from '../../store/runtime.ts'
import { countRows } from '../../store/sql.ts'

/** What was begun holds at least the state by which the browser comes back. */
interface Stateful {
  readonly checks: { readonly state: string }
}

export interface AttemptsDeps<Begun extends Stateful, Answered>
  extends Pick<Runtime, 'sql' | 'seal' | 'clock'> {
  /** Keeps those of one use from being those of another. */
  readonly use: string
  readonly begun: z.ZodType<Begun>
  readonly answered: z.ZodType<Answered>
}

const livesMs = 600_000
const answeredOne = `upstream_sign_ins
  where browser_hash = $1 and bound_to = $2 and stage = 'answered' and expires_at > $3`

/**
 * What went off to another provider and comes back, one row each; each step is one conditional statement, so
 * that it happens once. `browser`: the value that only the browser which began it has. `binding`: what began
 * it.
 */
export function createAttempts<Begun extends Stateful, Answered>({
  sql,
  seal,
  clock,
  use,
  begun: attemptSchema,
  answered,
}: AttemptsDeps<Begun, Answered>) {
  const hashOf = (browser: string) => seal.hash(`${use} browser`, browser)
  const stateHash = (state: string) => seal.hash(`${use} state`, state)
  const bound = (binding: string) => seal.hash(`${use} binding`, binding)
  const context = (hash: string, stage: string) => `${use} ${stage} ${hash}`
  const now = () => new Date(clock.now())
  const attemptEnd = () => new Date(clock.now() + livesMs)
  async function answeredBy(text: string, browser: string, binding: string): Promise<Answered | undefined> {
    const hash = hashOf(browser)
    const [row] = await sql.query<{ sealed: Uint8Array }>(text, [hash, bound(binding), now()])
    return row && answered.parse(seal.open(context(hash, 'answered'), row.sealed))
  }

  return {
    async begin(browser: string, binding: string, attempt: Begun): Promise<void> {
      const hash = hashOf(browser)
      await sql.query(
        `insert into upstream_sign_ins (browser_hash, state_hash, bound_to, stage, sealed, expires_at)
         values ($1, $2, $3, 'begun', $4, $5)`,
        [
          hash,
          stateHash(attempt.checks.state),
          bound(binding),
          seal.close(context(hash, 'begun'), attempt),
          attemptEnd(),
        ],
      )
    },
    /** Once, for this browser and state; then nobody else can redeem its code. */
    async claim(browser: string, state: string): Promise<Begun | undefined> {
      const hash = hashOf(browser)
      const [row] = await sql.query<{ sealed: Uint8Array }>(
        `update upstream_sign_ins set stage = 'claimed'
         where browser_hash = $1 and state_hash = $2 and stage = 'begun' and expires_at > $3 returning sealed`,
        [hash, stateHash(state), now()],
      )
      return row && attemptSchema.parse(seal.open(context(hash, 'begun'), row.sealed))
    },
    async answer(browser: string, answer: Answered): Promise<void> {
      const hash = hashOf(browser)
      await sql.query(
        `update upstream_sign_ins set stage = 'answered', sealed = $2, expires_at = $3
         where browser_hash = $1 and stage = 'claimed'`,
        [hash, seal.close(context(hash, 'answered'), answer), attemptEnd()],
      )
    },
    async drop(browser: string): Promise<void> {
      await sql.query('delete from upstream_sign_ins where browser_hash = $1', [hashOf(browser)])
    },
    /** What came back, for a page that asks before anything happens. */
    look: (browser: string, binding: string) =>
      answeredBy(`select sealed from ${answeredOne}`, browser, binding),
    /** The same, once. */
    take: (browser: string, binding: string) =>
      answeredBy(`delete from ${answeredOne} returning sealed`, browser, binding),
    // A process whose clock is ahead leaves others theirs.
    sweep: () =>
      countRows(sql, 'delete from upstream_sign_ins where expires_at <= least(now(), $1) returning stage', [
        now(),
      ]),
  }
}
