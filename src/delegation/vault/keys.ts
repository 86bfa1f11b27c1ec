import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

/**
 * Where the keys are that wrap data keys: here in memory, or at a key management service, which then is asked
 * once for each record that is sealed or opened. `context` names the record; what was wrapped for one unwraps
 * for no other. A service in its place needs nothing more: AWS KMS Encrypt and Decrypt with `context` as
 * encryption context, Google's and Azure's with it as additional authenticated data. `version` is then the id
 * of the key there.
 */
export interface KeyEncryption {
  /** Version by which data keys are wrapped from now on. */
  readonly current: string
  /** By the current version. */
  wrap(dataKey: Uint8Array, context: string): Promise<WrappedKey>
  /**
   * Throws {@link NotUnwrapped} for a version that is not there, another key of its name, another context,
   * and for what was changed. Whatever else it throws says that it cannot be asked now.
   */
  unwrap(wrapped: WrappedKey, context: string): Promise<Uint8Array>
}

/** A data key, encrypted by a key-encryption key. */
export interface WrappedKey {
  readonly bytes: Uint8Array
  readonly version: string
}

/** One key of 32 bytes, by the name under which it stands beside what it wraps. */
export interface VaultKey {
  readonly version: string
  readonly key: Uint8Array
}

/** It does not open here, and will not by being tried again. */
export class NotUnwrapped extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'NotUnwrapped'
  }
}

const ivBytes = 12
const tagBytes = 16

/** Keys in this process, the current one first: AES-256-GCM, version and context authenticated. */
export function createLocalKeys(keys: readonly [VaultKey, ...VaultKey[]]): KeyEncryption {
  const [{ version: current }] = keys
  const byVersion = new Map(keys.map(({ version, key }) => [version, key]))
  const keyOf = (version: string): Uint8Array => {
    const key = byVersion.get(version)
    if (key === undefined) throw new NotUnwrapped(`The vault has no key of version ${version}.`)
    return key
  }
  const aad = (version: string, context: string) => Buffer.from(`remit vault key\0${version}\0${context}`)

  return {
    current,
    async wrap(dataKey, context) {
      const iv = randomBytes(ivBytes)
      const cipher = createCipheriv('aes-256-gcm', keyOf(current), iv).setAAD(aad(current, context))
      const wrapped = Buffer.concat([cipher.update(dataKey), cipher.final()])
      return { version: current, bytes: Buffer.concat([iv, cipher.getAuthTag(), wrapped]) }
    },
    async unwrap({ bytes, version }, context) {
      const allBytes = Buffer.from(bytes)
      const key = keyOf(version)
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, allBytes.subarray(0, ivBytes), {
          authTagLength: tagBytes,
        })
        decipher.setAAD(aad(version, context)).setAuthTag(allBytes.subarray(ivBytes, ivBytes + tagBytes))
        return Buffer.concat([decipher.update(allBytes.subarray(ivBytes + tagBytes)), decipher.final()])
      } catch (error) {
        throw new NotUnwrapped(`The key ${version} does not open this.`, error)
      }
    },
  }
}
