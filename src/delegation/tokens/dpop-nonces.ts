import { hkdfSync } from 'node:crypto'
import type { Clock } from '../../kernel/clock.ts'

const stepMs = 60_000
const around = [-2, -1, 0, 1, 2]

/**
 * Values that a proof may hold to show that it was made now, whatever its maker's clock says (RFC 9449 §8, §9). Derived
 * from the minute and a secret, so that nothing is kept and every process with the same secret knows them. No secret
 * themselves: anybody may ask for one. Derived as `oidc-provider` derives its own, so that a client needs one for the
 * whole server; where a later version differs, a client is told the right one and comes again.
 */
export function createNonces(secret: Uint8Array, clock: Clock) {
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
