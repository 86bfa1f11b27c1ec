import { timingSafeEqual } from 'node:crypto'
import type { Runtime } from '../../store/runtime.ts'
import { countRows } from '../../store/sql.ts'

/** A challenge counts for one use only. */
export type ChallengeUse = 'register' | 'sign in' | 'confirm'

const livesMs = 300_000
const timeBytes = 6
const headBytes = timeBytes + 16
const macBytes = 32

/**
 * Challenges for passkeys, single-use and short-lived. They are made by whoever opens the page, so that none is stored: when it was made, a random part, and
 * a keyed hash of both with what asked. Only those that come back ours are written down, so that they come
 * back once.
 */
export function createChallenges({
  database: sql,
  seal,
  clock,
  randomBytes,
}: Pick<Runtime, 'database' | 'seal' | 'clock' | 'randomBytes'>) {
  const mac = (use: ChallengeUse, binding: string, head: Buffer) =>
    Buffer.from(seal.hash(`passkey ${use} ${head.toString('base64url')}`, binding), 'base64url')

  return {
    /**
     * One question for this sign-in or session, good for 5 minutes. Kept nowhere: it says itself whose it is.
     */
    make(use: ChallengeUse, binding: string): Uint8Array<ArrayBuffer> {
      const head = randomBytes(headBytes)
      head.writeUIntBE(clock.now(), 0, timeBytes)
      return new Uint8Array(Buffer.concat([head, mac(use, binding, head)]))
    },
    /** True once, for this use and binding, in time: one conditional statement uses it up. */
    async use(use: ChallengeUse, binding: string, challenge: string): Promise<boolean> {
      const bytes = Buffer.from(challenge, 'base64url')
      if (bytes.length !== headBytes + macBytes) return false
      const head = bytes.subarray(0, headBytes)
      const expiresAt = head.readUIntBE(0, timeBytes) + livesMs
      if (!timingSafeEqual(bytes.subarray(headBytes), mac(use, binding, head)) || clock.now() >= expiresAt)
        return false
      const used = await countRows(
        sql,
        `insert into passkey_challenges_used (challenge_hash, expires_at) values ($1, $2)
         on conflict (challenge_hash) do nothing returning challenge_hash`,
        // Of its bytes: the same ones can be spelled in several ways.
        [seal.hash('passkey challenge', bytes.toString('base64url')), new Date(expiresAt)],
      )
      return used > 0
    },
    sweep: () =>
      countRows(sql, 'delete from passkey_challenges_used where expires_at <= $1 returning challenge_hash', [
        new Date(clock.now()),
      ]),
  }
}
