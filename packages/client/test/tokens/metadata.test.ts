import { expect, test } from 'vitest'
import { findIssuer } from '../../src/index.ts'
import { createDiscovery } from '../../src/tokens/metadata.ts'

const api = 'https://remit.test'
const issuer = 'https://remit.test/oauth'
const good = { issuer, token_endpoint: `${issuer}/token` }

/** Documents by address; undefined is a 404. */
function serving(documents: Readonly<Record<string, unknown>>) {
  const asked: string[] = []
  const fetch = async (url: string) => {
    asked.push(url)
    return documents[url] === undefined ? new Response('', { status: 404 }) : Response.json(documents[url])
  }
  return { asked, fetch }
}

test('an issuer is read once in ten minutes, however many ask, and again after a failure', async () => {
  let now = 0
  const documents: Record<string, unknown> = {}
  const { asked, fetch } = serving(documents)
  const discovery = createDiscovery({ fetch, now: () => now })
  await expect(discovery(issuer)).rejects.toMatchObject({ name: 'Unavailable' })
  documents['https://remit.test/.well-known/oauth-authorization-server/oauth'] = good
  asked.length = 0
  await Promise.all([1, 2, 3].map(() => discovery(issuer)))
  expect(asked).toHaveLength(1)
  now = 599_999
  await discovery(issuer)
  expect(asked).toHaveLength(1)
  now = 600_000
  await discovery(issuer)
  expect(asked).toHaveLength(2)
})

test('a document that names another issuer, or sends tokens over plain http, is not used', async () => {
  for (const document of [
    { ...good, issuer: 'https://elsewhere.test' },
    { ...good, issuer: `${issuer}/` },
    { ...good, token_endpoint: 'http://remit.test/oauth/token' },
    { issuer },
    [],
  ]) {
    const { fetch } = serving({
      'https://remit.test/.well-known/oauth-authorization-server/oauth': document,
      'https://remit.test/oauth/.well-known/openid-configuration': document,
    })
    const discovery = createDiscovery({ fetch, now: Date.now })
    await expect(discovery(issuer)).rejects.toMatchObject({ name: 'Unavailable' })
  }
  const { fetch } = serving({})
  await expect(createDiscovery({ fetch, now: Date.now })('http://remit.test')).rejects.toThrow('https')
})

test('an API names its issuer only within its own origin', async () => {
  const at = `${api}/.well-known/oauth-protected-resource`
  const found = (document: unknown) => findIssuer(api, serving({ [at]: document }))
  expect(await found({ resource: api, authorization_servers: [issuer, 'https://idp.test'] })).toBe(issuer)
  await expect(found({ resource: api, authorization_servers: ['https://idp.test'] })).rejects.toThrow('named')
  await expect(
    found({ resource: api, authorization_servers: [issuer, 'https://remit.test/other'] }),
  ).rejects.toThrow('named')
  await expect(found({ resource: `${api}/`, authorization_servers: [issuer] })).rejects.toMatchObject({
    name: 'Unavailable',
  })
  await expect(found(undefined)).rejects.toMatchObject({ name: 'Unavailable' })
})
