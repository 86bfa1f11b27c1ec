import { createECDH, hkdfSync } from 'node:crypto'
import webPush from 'web-push'
import type { Subscription } from './subscription.ts'

/** One message, ready to be sent to its endpoint by POST. */
export interface Message {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export interface MessagesOptions {
  readonly key: VapidKey
  /** By which push services reach whoever runs this: `https:` or `mailto:` (RFC 8292 §2.1). */
  readonly contact: string
}

/**
 * The same bytes for everybody, each time: who asks whom for what stands on the page alone, behind the
 * sign-in. The words that are shown are the worker's own.
 */
const content = JSON.stringify({ about: 'approvals' })
/** One for all: a newer message takes the place of one that is not delivered yet (RFC 8030 §5.4). */
const topic = 'approvals'

/**
 * Signed for the push service (RFC 8292) and encrypted for the browser (RFC 8291); `seconds`: how long it is
 * worth delivering. Sending it is the caller's, through the guarded fetcher: the library would ask any
 * address.
 */
export const createMessages =
  ({ key, contact }: MessagesOptions) =>
  ({ endpoint, p256dh, auth }: Subscription, seconds: number): Message => {
    const { headers, body } = webPush.generateRequestDetails({ endpoint, keys: { p256dh, auth } }, content, {
      vapidDetails: { subject: contact, ...key },
      contentEncoding: 'aes128gcm',
      TTL: seconds,
      urgency: 'high',
      topic,
    })
    // The length is the fetcher's to say.
    const { 'Content-Length': _, ...otherHeaders } = headers
    return {
      headers: Object.fromEntries(Object.entries(otherHeaders).map(([name, value]) => [name, String(value)])),
      body,
    }
  }

/** The key by which push services know this deployment (RFC 8292): P-256, raw and in base64url. */
interface VapidKey {
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
