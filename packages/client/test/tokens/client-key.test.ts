import { exportJWK, generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { clientKey } from '../../src/tokens/client-key.ts'

const pair = await generateKeyPair('ES256', { extractable: true })
const named = { kid: 'desk-app-1', alg: 'ES256' }

test('reads a private key from the text of its file, with its names', async () => {
  const read = await clientKey(JSON.stringify({ ...(await exportJWK(pair.privateKey)), ...named }))
  expect(read).toMatchObject({ ...named, privateKey: { type: 'private', extractable: false } })
})

test.each([
  ['a public key', async () => JSON.stringify({ ...(await exportJWK(pair.publicKey)), ...named })],
  ['a shared secret', async () => JSON.stringify({ kty: 'oct', k: 'c2VjcmV0', alg: 'HS256' })],
  ['a file that is no JSON', async () => 'secret'],
  ['nothing', async () => 'null'],
])('refuses %s, and repeats nothing of it', async (_, text) => {
  await expect(clientKey(await text())).rejects.toThrow(
    /^This is no private key: a JWK is needed, as in NAME\.key\.json\.$/,
  )
})
