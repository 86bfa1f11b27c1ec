import { createHash, randomBytes } from 'node:crypto'
import { CompactEncrypt, compactDecrypt } from 'jose'
import { z } from 'zod'
import { type KeyEncryption, NotUnwrapped, type WrappedKey } from './keys.ts'

/** What a connection keeps from everybody. */
export type ConnectionTokens = z.output<typeof tokens>

const tokens = z.strictObject({
  accessToken: z.string().min(1),
  refreshToken: z.string().min(1).optional(),
})

/** Which row it belongs to: what was sealed for one opens in no other. */
export interface EncryptionContext {
  readonly connection: string
  /** `user:anne` */
  readonly subject: string
}

/** Tokens as a row holds them. */
export interface SealedTokens {
  /** Compact JWE, `dir` and `A256GCM`. */
  readonly jwe: string
  readonly key: WrappedKey
}

/** Encrypts tokens by one data key each (envelope encryption). */
export interface Envelope {
  /** Of the key-encryption key by which data keys are wrapped from now on. */
  readonly currentVersion: string
  /** Under a new key of its own each time. */
  seal(context: EncryptionContext, content: ConnectionTokens): Promise<SealedTokens>
  /** Throws where it was sealed for another row, with a key that is not there, or was changed. */
  open(context: EncryptionContext, sealed: SealedTokens): Promise<ConnectionTokens>
  /** The same content under the current key-encryption key; undefined where it is that already. */
  rewrap(context: EncryptionContext, key: WrappedKey): Promise<WrappedKey | undefined>
  /** Whether the key that it was wrapped by is here. Throws where that cannot be told now. */
  opens(context: EncryptionContext, key: WrappedKey): Promise<boolean>
}

const purpose = 'connection tokens'
const dataKeyBytes = 32

/** Seals each record by a data key of its own, and that by a key that the database does not have. */
export function createEnvelope(keys: KeyEncryption): Envelope {
  return {
    currentVersion: keys.current,
    async seal(context, content) {
      const dataKey = randomBytes(dataKeyBytes)
      const header = { alg: 'dir', enc: 'A256GCM', ...headerOf(context, dataKey) }
      const jwe = await new CompactEncrypt(Buffer.from(JSON.stringify(tokens.parse(content))))
        .setProtectedHeader(header)
        .encrypt(dataKey)
      return { jwe, key: await keys.wrap(dataKey, contextOf(context)) }
    },
    async open(context, { jwe, key }) {
      const dataKey = await keys.unwrap(key, contextOf(context))
      const { plaintext, protectedHeader } = await compactDecrypt(jwe, dataKey, {
        keyManagementAlgorithms: ['dir'],
        contentEncryptionAlgorithms: ['A256GCM'],
      })
      const expected = headerOf(context, dataKey)
      // Wrapped key and content swapped together would decrypt: the header says whose they are.
      for (const [name, value] of Object.entries(expected)) {
        if (protectedHeader[name] !== value)
          throw new Error('A sealed record stands in the place of another.')
      }
      return tokens.parse(JSON.parse(Buffer.from(plaintext).toString('utf8')))
    },
    async rewrap(context, key) {
      if (key.version === keys.current) return undefined
      return keys.wrap(await keys.unwrap(key, contextOf(context)), contextOf(context))
    },
    async opens(context, key) {
      try {
        await keys.unwrap(key, contextOf(context))
        return true
      } catch (error) {
        if (error instanceof NotUnwrapped) return false
        throw error
      }
    },
  }
}

const contextOf = ({ connection, subject }: EncryptionContext): string => `${connection} ${hashOf(subject)}`

const hashOf = (value: string | Uint8Array): string =>
  createHash('sha256').update(value).digest('base64url').slice(0, 22)

/** `kid` names the data key, not the one that wraps it: that one changes while this stays as it is. */
const headerOf = ({ connection, subject }: EncryptionContext, dataKey: Uint8Array) => ({
  kid: hashOf(dataKey),
  connection,
  subject: hashOf(subject),
  purpose,
})
