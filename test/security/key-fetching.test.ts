import { exportJWK, generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { remoteKeys } from '../../src/delegation/tokens/remote-keys.ts'

// What a trusted issuer's documents can make us fetch. An issuer that was taken over must not be a way into
// our network.

const issuer = 'https://idp.example'
const header = { alg: 'ES256', kid: 'a' }

/** An issuer whose discovery names `jwksUri`, and whatever else it answers. */
async function pointingTo(jwksUri: string, of = issuer) {
  const { publicKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'a', alg: 'ES256' }
  const asked: string[] = []
  const find = remoteKeys({
    issuer: of,
    fetch: async (url) => {
      asked.push(url)
      const document = url.includes('/.well-known/') ? { issuer: of, jwks_uri: jwksUri } : { keys: [jwk] }
      return new Response(JSON.stringify(document))
    },
  })
  const found = await find(header)
  return { found: found.ok, fetched: asked.filter((url) => !url.includes('/.well-known/')) }
}

test.each(['https://idp.example/keys', 'https://keys.elsewhere.example/a'])(
  'keys are fetched from the issuer’s own host and from a public name: %s',
  async (address) => {
    expect(await pointingTo(address)).toEqual({ found: true, fetched: [address] })
  },
)

test.each([
  'http://127.0.0.1:8788/metrics',
  'http://localhost:8787/keys',
  'https://localhost/keys',
  'https://admin.localhost./keys',
  'https://127.0.0.1/keys',
  'https://[::1]/keys',
  'https://[::ffff:127.0.0.1]/keys',
  'https://2130706433/keys',
  'https://0x7f.1/keys',
  'http://169.254.169.254/latest/meta-data/',
  'https://169.254.169.254/latest/meta-data/',
  'https://[fe80::1]/keys',
  'https://10.0.0.1/keys',
  'https://metadata.google.internal/keys',
  'https://printer.local/keys',
  'http://idp.example/keys',
  'http://keys.elsewhere.example/a',
  'https://user:secret@idp.example/keys',
  'file:///etc/passwd',
  'data:application/json,{"keys":[]}',
  'not a url',
])('nothing is fetched from %s, wherever a document says so', async (address) => {
  expect(await pointingTo(address)).toEqual({ found: false, fetched: [] })
})

test('an issuer on loopback, as in trials, has its keys there and nowhere else inside', async () => {
  const local = 'http://127.0.0.1:9000/realms/a'
  expect((await pointingTo('http://127.0.0.1:9000/keys', local)).found).toBe(true)
  expect(await pointingTo('http://169.254.169.254/keys', local)).toEqual({ found: false, fetched: [] })
})

test('of a document of 5 MB little more is read than the 256 KiB that one may have', async () => {
  let sent = 0
  const part = new Uint8Array(16 * 1024).fill(0x20)
  const find = remoteKeys({
    issuer,
    jwksUri: `${issuer}/keys`,
    fetch: async () =>
      new Response(
        new ReadableStream({
          pull(controller) {
            if (sent >= 5 * 1024 * 1024) return controller.close()
            sent += part.byteLength
            controller.enqueue(part)
          },
        }),
      ),
  })
  expect(await find(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
  expect(sent).toBeLessThan(512 * 1024)
})
