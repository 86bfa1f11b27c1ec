import { describe, expect, test } from 'vitest'
import {
  type ConnectionTokens,
  createEnvelope,
  type SealedTokens,
} from '../../../src/delegation/vault/envelope.ts'
import { createLocalKeys, NotUnwrapped, type VaultKey } from '../../../src/delegation/vault/keys.ts'

const keyOf = (version: string, byte: number): VaultKey => ({
  version,
  key: new Uint8Array(Buffer.alloc(32, byte)),
})
const [one, two] = [keyOf('one', 1), keyOf('two', 2)]
const envelope = createEnvelope(createLocalKeys([one]))
const context = { connection: 'c_1', subject: 'user:anne' }
const tokens: ConnectionTokens = { accessToken: 'at_of_anne', refreshToken: 'rt_of_anne' }

const flipped = (text: string, at: number): string =>
  `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`

describe('what is sealed', () => {
  test('opens in its own row, and is not to be seen in it', async () => {
    const sealed = await envelope.seal(context, tokens)
    expect(await envelope.open(context, sealed)).toEqual(tokens)
    const row = JSON.stringify({ ...sealed, key: Buffer.from(sealed.key.bytes).toString('latin1') })
    for (const secret of ['at_of_anne', 'rt_of_anne']) {
      expect(row).not.toContain(secret)
      expect(row).not.toContain(Buffer.from(secret).toString('base64url').slice(0, -1))
    }
    // The header, which anybody can read, names nobody.
    expect(Buffer.from(sealed.jwe.split('.')[0] ?? '', 'base64url').toString()).not.toContain('anne')
  })

  test('is sealed by another key each time, of 256 bits, by A256GCM', async () => {
    const [first, second] = [await envelope.seal(context, tokens), await envelope.seal(context, tokens)]
    expect(first.jwe).not.toBe(second.jwe)
    await expect(envelope.open(context, { jwe: first.jwe, key: second.key })).rejects.toThrow()
    expect(JSON.parse(Buffer.from(String(first.jwe.split('.')[0]), 'base64url').toString())).toMatchObject({
      alg: 'dir',
      enc: 'A256GCM',
    })
  })

  test.each([
    ['another account of the same person', { ...context, connection: 'c_2' }],
    ['the same account given to another person', { ...context, subject: 'user:mallory' }],
  ])('does not open in the row of %s, wrapped key and all', async (_, other) => {
    const sealed = await envelope.seal(context, tokens)
    await expect(envelope.open(other, sealed)).rejects.toThrow()
    // Nor where only one of the two columns is put there.
    const theirs = await envelope.seal(other, { accessToken: 'at_of_mallory' })
    await expect(envelope.open(other, { jwe: sealed.jwe, key: theirs.key })).rejects.toThrow()
    await expect(envelope.open(other, { jwe: theirs.jwe, key: sealed.key })).rejects.toThrow()
  })

  test('is held to its row by the header also where the key would fit', async () => {
    // Keys that do not look at what they wrap for: then the sealed header alone is in the way.
    const careless = createEnvelope({
      current: 'none',
      wrap: async (bytes) => ({ bytes, version: 'none' }),
      unwrap: async ({ bytes }) => bytes,
    })
    const sealed = await careless.seal(context, tokens)
    expect(await careless.open(context, sealed)).toEqual(tokens)
    await expect(careless.open({ ...context, connection: 'c_2' }, sealed)).rejects.toThrow('of another')
    await expect(careless.open({ ...context, subject: 'user:bob' }, sealed)).rejects.toThrow('of another')
  })

  test('opens for nobody who has the whole database and not the key', async () => {
    const sealed = await envelope.seal(context, tokens)
    for (const key of [two, keyOf('one', 2)])
      await expect(createEnvelope(createLocalKeys([key])).open(context, sealed)).rejects.toThrow(NotUnwrapped)
    await expect(envelope.open(context, renamed(sealed, 'two'))).rejects.toThrow(NotUnwrapped)
  })

  test('does not open once any part of it was changed', async () => {
    const sealed = await envelope.seal(context, tokens)
    const parts = sealed.jwe.split('.')
    for (const [index, part] of parts.entries()) {
      // Of `dir` the second one is empty.
      if (part === '') continue
      const changed = parts.with(index, flipped(part, 2)).join('.')
      await expect(envelope.open(context, { ...sealed, jwe: changed }), String(index)).rejects.toThrow()
    }
    for (let at = 0; at < sealed.key.bytes.length; at += 1) {
      const bytes = Uint8Array.from(sealed.key.bytes)
      bytes[at] = (bytes[at] ?? 0) ^ 1
      await expect(
        envelope.open(context, { ...sealed, key: { ...sealed.key, bytes } }),
        String(at),
      ).rejects.toThrow(NotUnwrapped)
    }
  })

  test.each(['{"alg":"none"}', '{"alg":"dir","enc":"A128GCM"}', '{"alg":"RSA-OAEP","enc":"A256GCM"}'])(
    'is not opened as its header says: %s',
    async (header) => {
      const sealed = await envelope.seal(context, tokens)
      const jwe = sealed.jwe.split('.').with(0, Buffer.from(header).toString('base64url')).join('.')
      await expect(envelope.open(context, { ...sealed, jwe })).rejects.toThrow()
    },
  )
})

describe('a change of the key', () => {
  const both = createEnvelope(createLocalKeys([two, one]))

  test('wraps anew and leaves what is sealed as it is', async () => {
    const sealed = await envelope.seal(context, tokens)
    const key = await both.rewrap(context, sealed.key)
    expect(key?.version).toBe('two')
    const after = { jwe: sealed.jwe, key: key ?? sealed.key }
    expect(await createEnvelope(createLocalKeys([two])).open(context, after)).toEqual(tokens)
    await expect(envelope.open(context, after)).rejects.toThrow(NotUnwrapped)
    expect(await both.rewrap(context, after.key)).toBeUndefined()
  })

  test('does not lend a hand to whoever swapped rows', async () => {
    const sealed = await envelope.seal(context, tokens)
    await expect(both.rewrap({ ...context, connection: 'c_2' }, sealed.key)).rejects.toThrow(NotUnwrapped)
    expect(await both.opens({ ...context, connection: 'c_2' }, sealed.key)).toBe(false)
    expect(await both.opens(context, sealed.key)).toBe(true)
  })
})

const renamed = (sealed: SealedTokens, version: string): SealedTokens => ({
  ...sealed,
  key: { ...sealed.key, version },
})
