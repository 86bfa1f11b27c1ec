import type { Clock } from '../kernel/clock.ts'
import type { Sql } from '../store/sql.ts'
import type { Seal } from './issuer/seal.ts'

export type ChallengeUse = 'register' | 'sign in'

export interface Challenges {
  /** Asks one question for this sign-in or session, for 5 minutes; one that was open for it is over. */
  open(use: ChallengeUse, binding: string, challenge: string): Promise<void>
  /** True once, for exactly this challenge, use and binding: one conditional statement uses it up. */
  use(use: ChallengeUse, binding: string, challenge: string): Promise<boolean>
  sweep(): Promise<number>
}

const livesMs = 300_000

export function createChallenges({
  sql,
  seal,
  clock,
}: {
  readonly sql: Sql
  readonly seal: Seal
  readonly clock: Clock
}): Challenges {
  const bound = (use: ChallengeUse, binding: string) => seal.hash(`passkey ${use}`, binding)
  const hash = (challenge: string) => seal.hash('passkey challenge', challenge)
  return {
    async open(use, binding, challenge) {
      await sql.query(
        `insert into passkey_challenges (bound_to, challenge_hash, expires_at) values ($1, $2, $3)
         on conflict (bound_to) do update set
           challenge_hash = excluded.challenge_hash, expires_at = excluded.expires_at`,
        [bound(use, binding), hash(challenge), new Date(clock.now() + livesMs)],
      )
    },
    async use(use, binding, challenge) {
      const used = await sql.query(
        `delete from passkey_challenges
         where bound_to = $1 and challenge_hash = $2 and expires_at > $3 returning bound_to`,
        [bound(use, binding), hash(challenge), new Date(clock.now())],
      )
      return used.length > 0
    },
    async sweep() {
      const rows = await sql.query(
        'delete from passkey_challenges where expires_at <= $1 returning bound_to',
        [new Date(clock.now())],
      )
      return rows.length
    },
  }
}
