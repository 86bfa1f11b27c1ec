import {
  type CryptoKey,
  calculateJwkThumbprint,
  decodeJwt,
  exportJWK,
  generateKeyPair,
  type JWK,
  SignJWT,
} from 'jose'
import { digest } from '../shared/digest.ts'

/**
 * The key that an agent's tokens are bound to (DPoP, RFC 9449). The private half may be one that cannot be
 * exported.
 */
export interface ProofKey {
  readonly privateKey: CryptoKey
  readonly publicJwk: JWK
  /** Default ES256. */
  readonly alg?: 'ES256' | 'Ed25519' | 'EdDSA'
}

/** The request that a DPoP proof is made for. */
export interface ProofRequest {
  readonly method: string
  readonly url: string
  /** The token that it goes with; left out at a token endpoint. */
  readonly token?: string
}

/** Makes proofs with one key, and keeps the nonces that servers ask for. */
export interface Prover {
  /** Thumbprint of the key (RFC 7638). */
  thumbprint(): Promise<string>
  prove(request: ProofRequest): Promise<string>
  /**
   * Keeps the nonce of an answer for the next proof to that origin (RFC 9449 §8.2). True: it is another than
   * this proof carried. What is kept says nothing of that, since others send proofs meanwhile.
   */
  learn(url: string, response: Response, proof?: string): boolean
}

/** An ES256 key whose private half never leaves the platform's key store. */
export async function createProofKey(): Promise<ProofKey> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: false })
  return { privateKey, publicJwk: await exportJWK(publicKey), alg: 'ES256' }
}

const originsMax = 100

/**
 * Makes DPoP proofs (RFC 9449) with one key, and remembers each origin's latest nonce. Throws TypeError where
 * `publicJwk` holds a private key.
 */
export function createProver({ privateKey, publicJwk, alg = 'ES256' }: ProofKey, now: () => number): Prover {
  if ('d' in publicJwk)
    throw new TypeError('publicJwk holds the private key; every proof would give it away.')
  const nonces = new Map<string, string>()
  return {
    thumbprint: () => calculateJwkThumbprint(publicJwk),
    async prove({ method, url, token }) {
      const { origin, pathname } = new URL(url)
      const nonce = nonces.get(origin)
      const claims = {
        htm: method,
        htu: `${origin}${pathname}`,
        jti: crypto.randomUUID(),
        ...(token !== undefined && { ath: await digest(token) }),
        ...(nonce !== undefined && { nonce }),
      }
      return new SignJWT(claims)
        .setProtectedHeader({ alg, typ: 'dpop+jwt', jwk: publicJwk })
        .setIssuedAt(Math.floor(now() / 1_000))
        .sign(privateKey)
    },
    learn(url, response, proof) {
      const nonce = response.headers.get('dpop-nonce')
      if (nonce === null) return false
      const { origin } = new URL(url)
      nonces.delete(origin)
      if (nonces.size >= originsMax) nonces.clear()
      nonces.set(origin, nonce)
      return proof === undefined || decodeJwt(proof)['nonce'] !== nonce
    },
  }
}
