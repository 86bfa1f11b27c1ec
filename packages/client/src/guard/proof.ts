import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose'
import { digest } from '../shared/digest.ts'
import { urlOf } from '../shared/fetch-json.ts'
import { isWord } from '../shared/json.ts'

/** Remembers proofs, for all processes of an API together. */
export interface ReplayStore {
  /**
   * Whether this key was not seen before, atomically. May be forgotten after `until` (ms since the epoch).
   */
  isFirst(key: string, until: number): Promise<boolean>
}

/** A DPoP proof with the request, token and key that it has to match. */
export interface Proof {
  readonly proof: string
  readonly token: string
  readonly method: string
  /** Public URL of the request. */
  readonly url: string
  /** `cnf.jkt` of the token. */
  readonly boundTo: string
}

/** Signature algorithms of DPoP proofs that the guard takes. */
export const proofAlgorithms = ['ES256', 'EdDSA']
const secondsMax = 60

/**
 * Whether a DPoP proof (RFC 9449 §4.3) is for this request, this token and its key, fresh (±60 s) and new.
 * Nonces of the server's own (§9) are not asked for.
 */
export async function isProven(
  { proof, token, method, url, boundTo }: Proof,
  { replays, now }: { readonly replays: ReplayStore; readonly now: () => number },
): Promise<boolean> {
  try {
    const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
      algorithms: proofAlgorithms,
      typ: 'dpop+jwt',
      currentDate: new Date(now()),
    })
    const { jwk } = protectedHeader
    const { htm, htu, iat, jti, ath } = payload
    if (jwk === undefined || 'd' in jwk || (await calculateJwkThumbprint(jwk)) !== boundTo) return false
    if (htm !== method || typeof htu !== 'string' || bare(htu) === undefined || bare(htu) !== bare(url))
      return false
    if (typeof iat !== 'number' || Math.abs(now() / 1_000 - iat) > secondsMax) return false
    if (!isWord(jti) || ath !== (await digest(token))) return false
    return await replays.isFirst(await digest(`${boundTo} ${jti}`), (iat + 2 * secondsMax) * 1_000)
  } catch {
    // jose throws for whatever is no sound proof; a store that fails proves nothing either.
    return false
  }
}

/** Without query and fragment, in one spelling (RFC 9449 §4.3 item 9). */
function bare(address: string): string | undefined {
  const url = urlOf(address)
  return url === null ? undefined : `${url.origin}${url.pathname}`
}
