import { timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { clocksApartMs } from '../../kernel/clock.ts'
import type { Runtime } from '../../store/runtime.ts'
import { countRows, lastingEnd } from '../../store/sql.ts'

/** A challenge counts for one use only. */
export type ChallengeUse = 'register' | 'sign in' | 'confirm'

const livesMs = 300_000
const timeBytes = 6
const headBytes = timeBytes + 16
const macBytes = 32

/**
 * Challenges for passkeys, single-use and short-lived. They are made by whoever opens the page, so that none
 * is stored: when it was made, a random part, and a keyed hash of both with what asked. Only those that come
 * back ours are written down, so that they come back once.
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
      const at = clock.now()
      if (!timingSafeEqual(bytes.subarray(headBytes), mac(use, binding, head)) || at >= expiresAt)
        return false
      const used = await countRows(
        sql,
        `insert into passkey_challenges_used (challenge_hash, expires_at)
         values ($1, ${lastingEnd('$2', '$3')})
         on conflict (challenge_hash) do nothing returning challenge_hash`,
        // Of its bytes: the same ones can be spelled in several ways.
        [seal.hash('passkey challenge', bytes.toString('base64url')), new Date(expiresAt), new Date(at)],
      )
      return used > 0
    },
    // By both clocks: a process that is ahead would drop what others still take, one that is behind what it
    // takes itself.
    sweep: () =>
      countRows(
        sql,
        `delete from passkey_challenges_used where expires_at <= least(now(), $2) - make_interval(secs => $1)
         returning challenge_hash`,
        [clocksApartMs / 1_000, new Date(clock.now())],
      ),
  }
}

// What `PublicKeyCredential.toJSON()` gives (WebAuthn level 3 §5.1). Members that we do not know are dropped:
// browsers add some. The library judges what is in those that it reads.
const encoded = z
  .string()
  .min(1)
  .max(32_768)
  .regex(/^[A-Za-z0-9_-]+$/)
const transports = z.enum(['ble', 'cable', 'hybrid', 'internal', 'nfc', 'smart-card', 'usb'])
const credential = z.object({
  id: encoded.max(1_364),
  rawId: encoded.max(1_364),
  type: z.literal('public-key'),
})
const extensions = z.object({}).default({})

/** A passkey that a browser has just made. */
export const attestation = credential.extend({
  clientExtensionResults: extensions,
  response: z.object({
    clientDataJSON: encoded,
    attestationObject: encoded,
    // Kinds that come after us are left out, not refused.
    transports: z
      .array(z.string().max(40))
      .max(10)
      .default([])
      .transform((values) => values.flatMap((value) => transports.safeParse(value).data ?? [])),
  }),
})

/** A passkey's answer to a challenge. */
export const assertion = credential.extend({
  clientExtensionResults: extensions,
  response: z.object({
    clientDataJSON: encoded,
    authenticatorData: encoded,
    signature: encoded,
    // Whose it is: always there for a discoverable one.
    userHandle: encoded.max(88),
  }),
})

const clientData = z.object({ challenge: encoded.max(200), crossOrigin: z.literal(false).optional() })

/**
 * The challenge that was answered; undefined where there is none, or it was answered inside another site's
 * frame.
 */
export function challengeIn({
  response,
}: {
  readonly response: { readonly clientDataJSON: string }
}): string | undefined {
  try {
    const text = Buffer.from(response.clientDataJSON, 'base64url').toString('utf8')
    return clientData.safeParse(JSON.parse(text)).data?.challenge
  } catch {
    // Not JSON: what no browser makes.
    return undefined
  }
}
