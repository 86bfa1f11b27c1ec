import webPush from 'web-push'
import type { Subscription } from './subscription.ts'
import type { VapidKey } from './vapid.ts'

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
