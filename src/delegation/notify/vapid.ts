import { createECDH, hkdfSync } from 'node:crypto'

/** The key by which push services know this deployment (RFC 8292): P-256, raw and in base64url. */
export interface VapidKey {
  readonly publicKey: string
  readonly privateKey: string
}

/** Of P-256. */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/**
 * Derived from the secret that also seals the subscriptions: each process that can open one signs with the
 * key that it was made for, and there is no second file that one of them could lack. 16 bytes more than the
 * order has, so that the remainder is as good as even (FIPS 186-5, A.2.1).
 */
export function vapidKeyOf(secret: Uint8Array): VapidKey {
  const bits = Buffer.from(hkdfSync('sha256', secret, '', 'remit push vapid', 48))
  const scalar = (BigInt(`0x${bits.toString('hex')}`) % (order - 1n)) + 1n
  const privateKey = Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex')
  const curve = createECDH('prime256v1')
  curve.setPrivateKey(privateKey)
  return {
    publicKey: curve.getPublicKey('base64url'),
    privateKey: privateKey.toString('base64url'),
  }
}
