import { type CryptoKey, importJWK, type JWK } from 'jose'

/** By what a client proves itself, as the token sources take it. */
export interface ClientKey {
  readonly privateKey: CryptoKey
  readonly kid?: string
  readonly alg: string
}

/**
 * The client's key from the text of its file, a JWK as `remit client key-pair NAME` makes it.
 *
 * @throws TypeError where it holds no private key; with no word of what it holds.
 */
export async function clientKey(text: string): Promise<ClientKey> {
  const jwk = readJwk(text)
  const { kid, alg = 'ES256' } = jwk
  const privateKey = await importJWK(jwk, alg).catch(() => undefined)
  // A symmetric one comes as bytes.
  if (privateKey === undefined || privateKey instanceof Uint8Array || privateKey.type !== 'private')
    throw new TypeError('This is no private key: a JWK is needed, as in NAME.key.json.')
  return { privateKey, alg, ...(kid !== undefined && { kid }) }
}

function readJwk(text: string): JWK {
  try {
    return Object(JSON.parse(text)) as JWK
  } catch {
    return {}
  }
}
