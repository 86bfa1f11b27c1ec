import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSystemFetch } from '../../../../src/outbound/guarded-fetch.ts'
import { type IssuerWorld, openIssuerWorld } from '../world.ts'
import { redirectUri } from './web.ts'

let inside: Server
/** How many connections came. */
let connections = 0
let clientId: string
let world: IssuerWorld
beforeAll(async () => {
  inside = createServer((socket) => {
    connections += 1
    socket.on('error', () => undefined).destroy()
  }).listen(0, '127.0.0.1')
  await once(inside, 'listening')
  const address = inside.address()
  if (address === null || typeof address === 'string') throw new Error('There is no port.')
  const origin = `https://127.0.0.1:${address.port}`
  clientId = `${origin}/api/secrets`
  world = await openIssuerWorld({
    env: { CLIENT_ID_METADATA_DOCUMENTS: 'draft-02', OUTBOUND_ALLOWED_ORIGINS: origin },
  })
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  inside?.close()
})

const authorization = () => ({
  client_id: clientId,
  response_type: 'code',
  redirect_uri: redirectUri,
  resource: `${world.url}/mcp`,
  scope: 'docs.search',
  code_challenge: 'x'.repeat(43),
  code_challenge_method: 'S256',
})
const ways: Readonly<Record<string, () => Promise<Response>>> = {
  'at the authorization endpoint': () =>
    fetch(`${world.issuer}/auth?${new URLSearchParams(authorization())}`, { redirect: 'manual' }),
  'by a pushed request': () =>
    fetch(`${world.issuer}/request`, { method: 'POST', body: new URLSearchParams(authorization()) }),
}

test.each(Object.keys(ways))(
  'an origin inside that is named for sources is not asked for a stranger’s document, %s',
  async (way) => {
    const before = [connections, world.logged.length]
    const answer = await ways[way]?.()
    expect([400, 401]).toContain(answer?.status)
    expect(connections).toBe(before[0])
    expect(world.logged.slice(before[1])).toContainEqual({
      event: 'client_document_refused',
      fields: expect.objectContaining({ host: new URL(clientId).host, reason: 'address_refused' }),
    })
  },
)

test('what it is named for does reach it', async () => {
  const before = connections
  const limits = { timeoutMs: 5_000, bytesMax: 1_000 }
  await createSystemFetch(world.config.outboundAllowedOrigins)(clientId, limits).catch(() => undefined)
  expect(connections).toBe(before + 1)
})
