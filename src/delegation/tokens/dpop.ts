import { createHash, hkdfSync } from 'node:crypto'
import { calculateJwkThumbprint, decodeProtectedHeader, EmbeddedJWK, jwtVerify } from 'jose'
import { z } from 'zod'
import type { Clock } from '../../kernel/clock.ts'
import { ok, type Result, refuse } from '../../kernel/result.ts'
import type { Runtime } from '../../store/runtime.ts'
import { createReplayGuard } from './replay-guard.ts'

/** A proof as it came with a request. */
export interface PresentedProof {
  /** The `DPoP` header; empty where there was none. */
  readonly proof: string
  readonly method: string
  /** The request's address by PUBLIC_URL, never by a sender's `Host`. Its query and fragment do not count. */
  readonly url: string
}

/** What a proof has to hold beside its own claims. */
export interface ProofDemand {
  /** The access token that it is shown with, whose digest it must hold (`ath`). */
  readonly accessToken?: string
  /** Whether it must hold a nonce of ours. Default: only where its time is off. */
  readonly nonce?: 'demanded'
}

/** Error codes of RFC 9449 §5, §7.1, §8 and §9. */
export type ProofReason = 'invalid_dpop_proof' | 'use_dpop_nonce'

/** Checks DPoP proofs (RFC 9449). Each is good once. */
export interface Proofs {
  /**
   * Gives the thumbprint (RFC 7638) of the key that the proof was made with, and spends the proof: it never
   * passes again, in whichever process. Throws only when the database cannot be asked, which is a refusal
   * too. NOT checked: that this is the key that a token is bound to; the caller must.
   */
  check(presentedProof: PresentedProof, demand?: ProofDemand): Promise<Result<string, ProofReason>>
  /** For `DPoP-Nonce`. */
  nonce(): string
  /** Drops what was spent and is too old to pass anyway, and returns how many. */
  sweep(): Promise<number>
}

export interface ProofsDeps extends Pick<Runtime, 'sql' | 'clock'> {
  /** 32 bytes from which nonces are derived; the same for every process of a deployment. */
  readonly secret: Uint8Array
}

/** Asymmetric ones only: whoever checks a proof must not be able to make one. */
export const proofAlgorithms = ['ES256', 'Ed25519', 'EdDSA'] as const

const leewayMs = 60_000
// Longer than any proof passes: a minute to each side of its iat, or four minutes after its nonce was given
// out.
const keptMs = 300_000
const charactersMax = 4_096

/**
 * Checks DPoP proofs (RFC 9449 §4.3): `typ`, algorithm, a public key in the header, `htm`, `htu`, `iat`
 * within a minute or a nonce of ours, `ath`, and a `jti` that no process has seen before.
 */
export function createProofs({ sql, clock, secret }: ProofsDeps): Proofs {
  const replayGuard = createReplayGuard({ sql })
  const nonces = createNonces(secret, clock)

  function isFresh({ iat, nonce }: Claims, demand: ProofDemand): boolean {
    if (nonce !== undefined) return nonces.isCurrent(nonce)
    return demand.nonce === undefined && Math.abs(clock.now() - iat * 1_000) <= leewayMs
  }

  return {
    async check({ proof, method, url }, demand = {}) {
      const read = await readProof(proof, new Date(clock.now()))
      if (read === undefined) return refuse('invalid_dpop_proof')
      const { claims, jkt } = read
      if (claims.htm !== method || addressOf(claims.htu) !== addressOf(url))
        return refuse('invalid_dpop_proof', 'made for another request')
      if (demand.accessToken !== undefined && claims.ath !== digest(demand.accessToken))
        return refuse('invalid_dpop_proof', 'made for another token')
      // Told to whoever holds the key only; a clock that is wrong gets along with a nonce.
      if (!isFresh(claims, demand)) return refuse('use_dpop_nonce')
      // By key: nobody can use up the proofs of somebody else.
      const isFirst = await replayGuard.spend(`${jkt} ${claims.jti}`, keptMs)
      return isFirst ? ok(jkt) : refuse('invalid_dpop_proof', 'used before')
    },
    nonce: nonces.next,
    sweep: replayGuard.sweep,
  }
}

const proofClaims = z.looseObject({
  jti: z.string().min(1).max(256),
  htm: z.string(),
  htu: z.string(),
  iat: z.number(),
  ath: z.string().optional(),
  nonce: z.string().optional(),
})
type Claims = z.output<typeof proofClaims>

// A private one is refused by EmbeddedJWK: whoever sends it has shown it to everybody on the way.
const publicKey = z.looseObject({ kty: z.enum(['EC', 'OKP']) })

async function readProof(
  proof: string,
  now: Date,
): Promise<{ readonly claims: Claims; readonly jkt: string } | undefined> {
  if (proof === '' || proof.length > charactersMax) return undefined
  try {
    const jwk = publicKey.parse(decodeProtectedHeader(proof).jwk)
    const { payload } = await jwtVerify(proof, EmbeddedJWK, {
      algorithms: [...proofAlgorithms],
      typ: 'dpop+jwt',
      currentDate: now,
    })
    return { claims: proofClaims.parse(payload), jkt: await calculateJwkThumbprint(jwk) }
  } catch {
    // jose throws TypeErrors and WebCrypto's own errors too for what is neither a proof nor a key.
    return undefined
  }
}

/**
 * Without query and fragment (RFC 9449 §4.3); the rest is compared as an exact string once URL has spelled
 * it.
 */
function addressOf(text: string): string | undefined {
  const url = URL.parse(text)
  if (url === null) return undefined
  url.search = ''
  url.hash = ''
  return url.href
}

const digest = (token: string): string => createHash('sha256').update(token).digest('base64url')

const stepMs = 60_000
const around = [-2, -1, 0, 1, 2]

/**
 * Values that a proof may hold to show that it was made now, whatever its maker's clock says (RFC 9449 §8,
 * §9). Derived from the minute and a secret, so that nothing is kept and every process with the same secret
 * knows them. No secret themselves: anybody may ask for one. Derived as `oidc-provider` derives its own, so
 * that a client needs one for the whole server; where a later version differs, a client is told the right one
 * and comes again.
 */
function createNonces(secret: Uint8Array, clock: Clock) {
  const step = () => Math.floor(clock.now() / stepMs)
  const nonceAt = (moment: number): string => {
    const salt = Buffer.alloc(8)
    salt.writeBigUInt64BE(BigInt(moment))
    return Buffer.from(hkdfSync('sha256', secret, salt, 'DPoP', 32)).toString('base64url')
  }
  return {
    /** The one to give out now. */
    next: () => nonceAt(step() + 1),
    /** Whether it was given out within the last three to four minutes. */
    isCurrent: (nonce: string) => around.some((distance) => nonceAt(step() + distance) === nonce),
  }
}
