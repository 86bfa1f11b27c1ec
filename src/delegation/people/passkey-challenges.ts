import { timingSafeEqual } from 'node:crypto'
import type { Clock } from '../../kernel/clock.ts'
import type { Seal } from '../../store/encryption.ts'
import type { Sql } from '../../store/sql.ts'

/** A challenge counts for one use only. */
export type ChallengeUse = 'register' | 'sign in' | 'confirm'

/** Challenges for passkeys, single-use and short-lived. */
export interface Challenges {
  /**
   * One question for this sign-in or session, good for 5 minutes. Kept nowhere: it says itself whose it is.
   */
  make(use: ChallengeUse, binding: string): Uint8Array<ArrayBuffer>
  /** True once, for this use and binding, in time: one conditional statement uses it up. */
  use(use: ChallengeUse, binding: string, challenge: string): Promise<boolean>
  sweep(): Promise<number>
}

export interface ChallengesDeps {
  readonly sql: Sql
  readonly seal: Seal
  readonly clock: Clock
  readonly randomBytes: (size: number) => Buffer
}

const livesMs = 300_000
const timeBytes = 6
const headBytes = timeBytes + 16
const macBytes = 32

/**
 * Challenges are made by whoever opens the page, so that none is stored: when it was made, a random part, and
 * a keyed hash of both with what asked. Only those that come back ours are written down, so that they come
 * back once.
 */
export function createChallenges({ sql, seal, clock, randomBytes }: ChallengesDeps): Challenges {
  const mac = (use: ChallengeUse, binding: string, head: Buffer) =>
    Buffer.from(seal.hash(`passkey ${use} ${head.toString('base64url')}`, binding), 'base64url')

  return {
    make(use, binding) {
      const head = randomBytes(headBytes)
      head.writeUIntBE(clock.now(), 0, timeBytes)
      return new Uint8Array(Buffer.concat([head, mac(use, binding, head)]))
    },
    async use(use, binding, challenge) {
      const bytes = Buffer.from(challenge, 'base64url')
      if (bytes.length !== headBytes + macBytes) return false
      const head = bytes.subarray(0, headBytes)
      const expiresAt = head.readUIntBE(0, timeBytes) + livesMs
      if (!timingSafeEqual(bytes.subarray(headBytes), mac(use, binding, head)) || clock.now() >= expiresAt)
        return false
      const used = await sql.query(
        `insert into passkey_challenges_used (challenge_hash, expires_at) values ($1, $2)
         on conflict (challenge_hash) do nothing returning challenge_hash`,
        // Of its bytes: the same ones can be spelled in several ways.
        [seal.hash('passkey challenge', bytes.toString('base64url')), new Date(expiresAt)],
      )
      return used.length > 0
    },
    async sweep() {
      const rows = await sql.query(
        'delete from passkey_challenges_used where expires_at <= $1 returning challenge_hash',
        [new Date(clock.now())],
      )
      return rows.length
    },
  }
}
