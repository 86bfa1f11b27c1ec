import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { loadSecret } from '../../store/secret.ts'

/** Signs the heads of the record's chain: whoever has the database alone cannot make new ones. */
export interface SealKey {
  /** 32 bytes. */
  readonly publicKey: Buffer
  sign(head: Uint8Array): Buffer
}

const fileName = 'record-seal.key'
// RFC 8410: what stands before the 32 bytes of an Ed25519 key in PKCS #8, and in a SubjectPublicKeyInfo.
const privatePrefix = Buffer.from('302e020100300506032b657004220420', 'hex')
const publicPrefix = Buffer.from('302a300506032b6570032100', 'hex')

/** Made at the first call and kept in `dir` (0700, the file 0600). */
export async function openSealKey(dir: string): Promise<SealKey> {
  const privateKey = createPrivateKey({
    key: Buffer.concat([privatePrefix, await loadSecret(dir, fileName)]),
    format: 'der',
    type: 'pkcs8',
  })
  const der = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return {
    publicKey: Buffer.from(der.subarray(publicPrefix.length)),
    sign: (head) => sign(null, head, privateKey),
  }
}

/** Whether the holder of a key signed a head. */
export const isSigned = (head: Uint8Array, signature: Uint8Array, publicKey: Uint8Array): boolean =>
  verify(null, head, keyOf(publicKey), signature)

const keyOf = (publicKey: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([publicPrefix, publicKey]), format: 'der', type: 'spki' })

/** Short name of a key, for people. */
export const keyName = (publicKey: Uint8Array): string =>
  createHash('sha256').update(publicKey).digest('base64url').slice(0, 22)
