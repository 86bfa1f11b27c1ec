import { KeyObject, verify } from 'node:crypto'
import type { CryptoKey, ProtectedHeaderParameters } from 'jose'

const keyObjects = new WeakMap<CryptoKey, KeyObject>()

/**
 * Whether a signature can be checked here at once instead of by jose, whose way over WebCrypto and its
 * threads costs about as much as the signature: ES256 (RFC 7518 §3.4) by a P-256 key, and no header that
 * changes what is signed.
 */
export function isPlainEs256({ alg, crit, b64 }: ProtectedHeaderParameters, key: CryptoKey): boolean {
  const { name, namedCurve } = key.algorithm as { readonly name: string; readonly namedCurve?: string }
  return (
    alg === 'ES256' && crit === undefined && b64 === undefined && name === 'ECDSA' && namedCurve === 'P-256'
  )
}

/**
 * Of a compact JWS that {@link isPlainEs256}. Only the signature: NOT its header, its payload or their
 * claims.
 */
export function verifiesEs256(token: string, key: CryptoKey): boolean {
  const keyObject = keyObjects.get(key) ?? KeyObject.from(key)
  keyObjects.set(key, keyObject)
  const lastDot = token.lastIndexOf('.')
  const signature = Buffer.from(token.slice(lastDot + 1), 'base64url')
  const signed = Buffer.from(token.slice(0, lastDot))
  return (
    signature.length === 64 &&
    verify('sha256', signed, { key: keyObject, dsaEncoding: 'ieee-p1363' }, signature)
  )
}
