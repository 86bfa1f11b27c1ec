import { createHash } from 'node:crypto'
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'

export interface ProofOptions {
  readonly method?: string
  readonly url: string
  readonly accessToken?: string
  readonly nonce?: string
  /** Milliseconds since the epoch. Default now. */
  readonly now?: number
  /** Put in last; undefined removes a claim. */
  readonly claims?: Readonly<Record<string, unknown>>
  /** Put in last; undefined removes a member. */
  readonly header?: Readonly<Record<string, unknown>>
}

/** A key of a client's, and proofs made with it. */
export interface Holder {
  readonly jkt: string
  readonly jwk: JWK
  readonly privateKey: CryptoKey
  proof(options: ProofOptions): Promise<string>
}

export async function makeHolder(alg = 'ES256'): Promise<Holder> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = await exportJWK(publicKey)
  return {
    jwk,
    privateKey,
    jkt: await calculateJwkThumbprint(jwk),
    proof({ method = 'POST', url, accessToken, nonce, now = Date.now(), claims = {}, header = {} }) {
      const ath = accessToken && createHash('sha256').update(accessToken).digest('base64url')
      const all = {
        jti: crypto.randomUUID(),
        htm: method,
        htu: url,
        iat: Math.floor(now / 1_000),
        ath,
        nonce,
        ...claims,
      }
      const whole = { alg, typ: 'dpop+jwt', jwk, ...header }
      return new SignJWT(present(all)).setProtectedHeader(present(whole)).sign(privateKey)
    },
  }
}

const present = <T extends object>(members: T): T =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as T
