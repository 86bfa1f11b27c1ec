import { createPublicKey } from 'node:crypto'
import { isIP } from 'node:net'
import { invalid } from '../../kernel/errors.ts'
import { isPublicAddress } from '../../outbound/addresses.ts'
import { destinationOf } from '../../outbound/destination.ts'

/** Where a browser wants to be told, and the keys that only it can open (RFC 8291 §2), in base64url. */
export interface Subscription {
  readonly endpoint: string
  /** Its public key: 65 bytes, a point of P-256. */
  readonly p256dh: string
  /** 16 bytes. */
  readonly auth: string
}

const endpointMax = 1_024

/**
 * 422 that names the field for what no browser makes, and for an endpoint that the guarded fetcher would
 * refuse by its spelling alone. NOT checked: what its name resolves to; that is judged with each request.
 */
export function assertSubscription(
  { endpoint, p256dh, auth }: Subscription,
  allowedOrigins: ReadonlySet<string>,
): void {
  const destination = endpoint.length > endpointMax ? undefined : destinationOf(endpoint, allowedOrigins)
  if (destination === undefined || isPrivate(destination))
    throw invalid('endpoint', 'must be the https address of a public push service')
  if (!isPoint(p256dh)) throw invalid('keys.p256dh', 'must be an uncompressed point of P-256 in base64url')
  if (bytesOf(auth)?.length !== 16) throw invalid('keys.auth', 'must be 16 bytes in base64url')
}

const isPrivate = ({ host, isAllowed }: { readonly host: string; readonly isAllowed: boolean }): boolean =>
  !isAllowed && isIP(host) !== 0 && !isPublicAddress(host)

function isPoint(text: string): boolean {
  const bytes = bytesOf(text)
  if (bytes?.length !== 65 || bytes[0] !== 4) return false
  const [x, y] = [bytes.subarray(1, 33), bytes.subarray(33)].map((coordinate) =>
    coordinate.toString('base64url'),
  )
  try {
    createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: x ?? '', y: y ?? '' }, format: 'jwk' })
    return true
  } catch {
    return false
  }
}

/** Undefined for what is not base64url without padding, written in the one way. */
function bytesOf(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}
