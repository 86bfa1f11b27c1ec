import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto'

/** Keeps what the database must not be able to use. One key for both, derived apart. */
export interface Seal {
  /** Stands for a bearer value in an index: the same value gives the same hash, the hash gives no value. */
  hash(label: string, value: string): string
  /** AES-256-GCM. `context` is bound to it: what was sealed for one row does not open in another. */
  close(context: string, value: unknown): Uint8Array
  /** Throws where it was sealed with another key or for another context, or was changed. */
  open(context: string, sealed: Uint8Array): unknown
}

const ivBytes = 12
const tagBytes = 16

/** Derives its keys from this secret. See {@link Seal}. */
export function createSeal(secret: Uint8Array): Seal {
  const derive = (use: string) => new Uint8Array(hkdfSync('sha256', secret, '', `remit oauth ${use}`, 32))
  const indexKey = derive('index')
  const contentKey = derive('content')
  return {
    hash: (label, value) => createHmac('sha256', indexKey).update(`${label}\0${value}`).digest('base64url'),
    close(context, value) {
      const iv = randomBytes(ivBytes)
      const cipher = createCipheriv('aes-256-gcm', contentKey, iv).setAAD(Buffer.from(context))
      const text = Buffer.concat([cipher.update(JSON.stringify(value), 'utf8'), cipher.final()])
      return Buffer.concat([iv, cipher.getAuthTag(), text])
    },
    open(context, sealed) {
      const bytes = Buffer.from(sealed)
      const tag = bytes.subarray(ivBytes, ivBytes + tagBytes)
      const cipher = createDecipheriv('aes-256-gcm', contentKey, bytes.subarray(0, ivBytes), {
        authTagLength: tagBytes,
      })
      cipher.setAAD(Buffer.from(context)).setAuthTag(tag)
      const text = Buffer.concat([cipher.update(bytes.subarray(ivBytes + tagBytes)), cipher.final()])
      return JSON.parse(text.toString('utf8'))
    },
  }
}
