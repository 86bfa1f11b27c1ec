import { type CryptoKey, SignJWT } from 'jose'

/** How an agent's program proves at the issuer that it is this client. */
export interface ClientProof {
  readonly clientId: string
  /** Left out: a public client, which has no way to. */
  readonly key?: {
    readonly privateKey: CryptoKey
    readonly kid?: string
    /** Default ES256. */
    readonly alg?: string
  }
}

const assertionSeconds = 60
const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** Form members that prove the client (`private_key_jwt`, RFC 7523), good once and for a minute. */
export async function proveClient(
  { clientId, key }: ClientProof,
  issuer: string,
  now: number,
): Promise<Readonly<Record<string, string>>> {
  if (key === undefined) return { client_id: clientId }
  const { privateKey, kid, alg = 'ES256' } = key
  const seconds = Math.floor(now / 1_000)
  const assertion = await new SignJWT({ jti: crypto.randomUUID() })
    .setProtectedHeader({ alg, ...(kid !== undefined && { kid }) })
    .setIssuer(clientId)
    .setSubject(clientId)
    // The issuer, not an endpoint: an assertion that another server asked for is worth nothing here.
    .setAudience(issuer)
    .setIssuedAt(seconds)
    .setExpirationTime(seconds + assertionSeconds)
    .sign(privateKey)
  return { client_id: clientId, client_assertion: assertion, client_assertion_type: assertionType }
}
