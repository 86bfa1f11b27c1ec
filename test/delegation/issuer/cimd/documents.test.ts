import { describe, expect, test } from 'vitest'
import { createClientDocuments } from '../../../../src/delegation/oauth/cimd/documents.ts'
import { createElapsed } from '../../../../src/kernel/elapsed.ts'
import { createSystemFetch } from '../../../../src/outbound/guarded-fetch.ts'
import { clientId, document, openWeb, redirectUri } from './web.ts'

function open(outbound = openWeb()) {
  const clock = { at: 1_000_000, steady: 0 }
  const elapsed = createElapsed(
    () => clock.at,
    () => clock.steady,
  )
  const logged: object[] = []
  const log = (event: string, fields?: object) => logged.push({ event, ...fields })
  return {
    web: outbound,
    clock,
    logged,
    documents: createClientDocuments({ outbound: outbound.fetch, elapsed, log }),
  }
}

describe('a document', () => {
  test('says where the person may be led back to, and nothing else counts', async () => {
    const { web, documents } = open()
    web.at.set(clientId, document())
    expect(await documents.get(clientId)).toEqual({
      clientId,
      host: 'assistant.example',
      redirectUris: [redirectUri],
    })
  })

  test('is asked for once in five minutes, and once by many at the same time', async () => {
    const { web, clock, documents } = open()
    web.at.set(clientId, document())
    await Promise.all(Array.from({ length: 20 }, () => documents.get(clientId)))
    await documents.get(clientId)
    expect(web.asked).toHaveLength(1)
    clock.at += 5 * 60_000
    await documents.get(clientId)
    expect(web.asked).toHaveLength(2)
  })

  test('is asked for once in five minutes also where the clock was set back meanwhile', async () => {
    const { web, clock, documents } = open()
    web.at.set(clientId, document())
    await documents.get(clientId)
    clock.at -= 3_600_000
    await documents.get(clientId)
    expect(web.asked).toHaveLength(1)
    clock.at += 5 * 60_000
    clock.steady += 5 * 60_000
    web.at.delete(clientId)
    expect(await documents.get(clientId)).toBeUndefined()
  })

  test('that was taken away is gone after that; a host that is away for a while changes nothing for a day', async () => {
    const { web, clock, documents } = open()
    web.at.set(clientId, document())
    await documents.get(clientId)
    clock.at += 3_600_000
    web.at.set(clientId, 'unreachable')
    expect(await documents.get(clientId)).toBeDefined()
    clock.at += 24 * 3_600_000
    expect(await documents.get(clientId)).toBeUndefined()
    web.at.set(clientId, document())
    expect(await documents.get(clientId)).toBeDefined()
    clock.at += 3_600_000
    web.at.delete(clientId)
    expect(await documents.get(clientId)).toBeUndefined()
    web.at.set(clientId, 'timed_out')
    expect(await documents.get(clientId)).toBeUndefined()
  })

  test('keeps the redirect addresses that a registered client could have, and is none without one', async () => {
    const { web, documents } = open()
    const usable = [
      'http://127.0.0.1:4711/cb',
      'http://[::1]/cb',
      'http://localhost/cb',
      'https://a.example/x',
    ]
    const others = [
      'http://localhost.a.example/cb',
      'http://a.localhost/cb',
      'myapp://cb',
      'http://a.example/cb',
      'https://a.example/#f',
      'javascript:1',
    ]
    web.at.set(clientId, document({ redirect_uris: [...usable, ...others] }))
    expect(await documents.get(clientId)).toMatchObject({ redirectUris: usable })
    const other = 'https://other.example/client'
    web.at.set(other, document({ client_id: other, redirect_uris: others }))
    expect(await documents.get(other)).toBeUndefined()
  })

  test.each<[string, object | string | { status: number }]>([
    ['that names another client', document({ client_id: 'https://assistant.example/oauth/other.json' })],
    ['that names nobody', document({ client_id: undefined })],
    ['with a secret, which everybody could read', document({ client_secret: 'x' })],
    ['with the end of a secret', document({ client_secret_expires_at: 0 })],
    ['that would prove itself by a secret', document({ token_endpoint_auth_method: 'client_secret_basic' })],
    ['that would prove itself by keys', document({ token_endpoint_auth_method: 'private_key_jwt' })],
    ['without redirect addresses', document({ redirect_uris: undefined })],
    ['with none', document({ redirect_uris: [] })],
    ['with more than anybody needs', document({ redirect_uris: Array(51).fill(redirectUri) })],
    ['that is no object', [document()]],
    ['that is no JSON', '<html>'],
    ['that leads elsewhere', { status: 302 }],
    ['that asks for a sign-in', { status: 401 }],
    ['that is too large', 'too_large'],
    ['at an address that is not public', 'address_refused'],
  ])('%s is none', async (_, found) => {
    const { web, documents, logged } = open()
    web.at.set(clientId, found)
    expect(await documents.get(clientId)).toBeUndefined()
    expect(logged).toMatchObject([{ event: 'client_document_refused', host: 'assistant.example' }])
  })

  test.each([
    'http://assistant.example/client',
    'https://assistant.example',
    'https://assistant.example/',
    'https://assistant.example/a/../client',
    'https://assistant.example/%2e%2e/client',
    'https://assistant.example/client#x',
    'https://user@assistant.example/client',
    'https://user:pw@assistant.example/client',
    'https://ASSISTANT.example/client',
    'HTTPS://assistant.example/client',
    'https://assistant.example:443/client',
    'https://assistant.example\\client',
    'https://assistant.example/cl ient',
    'https://2130706433/client',
    'https://*.assistant.example/client',
    'https://a.*/client',
    `https://assistant.example/${'x'.repeat(1_000)}`,
    'ftp://assistant.example/client',
    'agent-app',
    '',
  ])('is never asked for at %s', async (address) => {
    const { web, documents } = open()
    web.at.set(address, document({ client_id: address }))
    expect(await documents.get(address)).toBeUndefined()
    expect(web.asked).toEqual([])
  })

  test.each([
    'https://127.0.0.1/client',
    'https://localhost/client',
    'https://[::1]/client',
    'https://169.254.169.254/latest/meta-data',
    'https://10.0.0.1/client',
    'https://[::ffff:7f00:1]/client',
  ])('is not fetched from inside, by the real fetcher: %s', async (address) => {
    const logged: object[] = []
    const documents = createClientDocuments({
      outbound: createSystemFetch([]),
      log: (_, fields) => logged.push(fields ?? {}),
    })
    expect(await documents.get(address)).toBeUndefined()
    expect(logged).toMatchObject([{ reason: 'address_refused' }])
  })
})
