import { z } from 'zod'
import type { Clock } from '../../kernel/clock.ts'
import type { Sql } from '../../store/sql.ts'
import type { Seal } from '../issuer/seal.ts'

/** A sign-in that went off to another provider. */
export interface Begun {
  readonly issuer: string
  readonly checks: { readonly state: string; readonly nonce: string; readonly verifier: string }
  /** Paths of ours: where it goes on, and where it was begun. */
  readonly next: string
  readonly back: string
}

/** Who came back. */
export type Answered = z.output<typeof answered>

const checks = z.object({ state: z.string(), nonce: z.string(), verifier: z.string() })
const begun = z.object({ issuer: z.string(), checks, next: z.string(), back: z.string() })
const answered = z.object({
  issuer: z.string(),
  sub: z.string(),
  key: z.string(),
  name: z.string(),
  signedInAt: z.number(),
  amr: z.array(z.string()),
})

/** `browser`: the value that only the browser which began it has. `binding`: what began it. */
export interface Attempts {
  begin(browser: string, binding: string, attempt: Begun): Promise<void>
  /** Once, for this browser and state; then nobody else can redeem its code. */
  claim(browser: string, state: string): Promise<Begun | undefined>
  answer(browser: string, identity: Answered): Promise<void>
  drop(browser: string): Promise<void>
  /** Who came back, for a page that asks before anything happens. */
  look(browser: string, binding: string): Promise<Answered | undefined>
  /** The same, once. */
  take(browser: string, binding: string): Promise<Answered | undefined>
  sweep(): Promise<number>
}

const livesMs = 600_000

/** Sign-ins under way, one row each; each step is one conditional statement, so that it happens once. */
export function createAttempts({
  sql,
  seal,
  clock,
}: {
  readonly sql: Sql
  readonly seal: Seal
  readonly clock: Clock
}): Attempts {
  const hashOf = (browser: string) => seal.hash('upstream browser', browser)
  const stateHash = (state: string) => seal.hash('upstream state', state)
  const bound = (binding: string) => seal.hash('upstream binding', binding)
  const context = (hash: string, stage: string) => `upstream ${stage} ${hash}`
  const now = () => new Date(clock.now())
  const end = () => new Date(clock.now() + livesMs)
  const opened = (hash: string, [row]: readonly { readonly sealed: Uint8Array }[]) =>
    row && answered.parse(seal.open(context(hash, 'answered'), row.sealed))

  return {
    async begin(browser, binding, attempt) {
      const hash = hashOf(browser)
      await sql.query(
        `insert into upstream_sign_ins (browser_hash, state_hash, bound_to, stage, sealed, expires_at)
         values ($1, $2, $3, 'begun', $4, $5)`,
        [
          hash,
          stateHash(attempt.checks.state),
          bound(binding),
          seal.close(context(hash, 'begun'), attempt),
          end(),
        ],
      )
    },
    async claim(browser, state) {
      const hash = hashOf(browser)
      const [row] = await sql.query<{ sealed: Uint8Array }>(
        `update upstream_sign_ins set stage = 'claimed'
         where browser_hash = $1 and state_hash = $2 and stage = 'begun' and expires_at > $3 returning sealed`,
        [hash, stateHash(state), now()],
      )
      return row && begun.parse(seal.open(context(hash, 'begun'), row.sealed))
    },
    async answer(browser, identity) {
      const hash = hashOf(browser)
      await sql.query(
        `update upstream_sign_ins set stage = 'answered', sealed = $2, expires_at = $3
         where browser_hash = $1 and stage = 'claimed'`,
        [hash, seal.close(context(hash, 'answered'), identity), end()],
      )
    },
    async drop(browser) {
      await sql.query('delete from upstream_sign_ins where browser_hash = $1', [hashOf(browser)])
    },
    async look(browser, binding) {
      const hash = hashOf(browser)
      return opened(
        hash,
        await sql.query<{ sealed: Uint8Array }>(
          `select sealed from upstream_sign_ins
           where browser_hash = $1 and bound_to = $2 and stage = 'answered' and expires_at > $3`,
          [hash, bound(binding), now()],
        ),
      )
    },
    async take(browser, binding) {
      const hash = hashOf(browser)
      return opened(
        hash,
        await sql.query<{ sealed: Uint8Array }>(
          `delete from upstream_sign_ins
           where browser_hash = $1 and bound_to = $2 and stage = 'answered' and expires_at > $3 returning sealed`,
          [hash, bound(binding), now()],
        ),
      )
    },
    async sweep() {
      const rows = await sql.query('delete from upstream_sign_ins where expires_at <= $1 returning stage', [
        now(),
      ])
      return rows.length
    },
  }
}
