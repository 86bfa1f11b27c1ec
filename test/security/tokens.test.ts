import { generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { startTestIssuer, type TestIssuer } from '../support/issuer.ts'
import { openWorld, type World } from '../support/world.ts'

// Each token goes through the whole service, on every route that wants one. The same token whole is let in.

const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const put = { collection: 'handbook', title: 'T', text: 'Hello.' }

/** Every route behind a token. */
const routes: readonly (readonly [string, string, unknown?])[] = [
  ['POST', '/retrieve', { query: 'travel' }],
  ['GET', '/documents/handbook%2Ftravel'],
  ['GET', '/collections'],
  ['PUT', '/documents/handbook%2Fnew', put],
  ['DELETE', '/documents/handbook%2Ftravel'],
  ['PUT', '/documents/handbook%2Ftravel/access', { viewers: ['user:bob'] }],
  ['POST', '/imports', JSON.stringify({ id: 'handbook/new', ...put })],
  [
    'POST',
    '/access',
    { writes: [{ user: 'user:bob', relation: 'viewer', object: 'document:handbook/travel' }] },
  ],
  ['PUT', '/collections/handbook', { title: 'Mine' }],
  ['PUT', '/fields', { year: 'number' }],
  ['GET', '/jobs/j_1'],
]

async function statuses(world: World, token: string | undefined): Promise<string[]> {
  const seen: string[] = []
  for (const [method, path, body] of routes) {
    const headers = path === '/imports' ? { 'content-type': 'application/x-ndjson' } : {}
    const response = await world.call(method, path, { ...(token !== undefined && { token }), body, headers })
    const text = await response.text()
    expect(text).not.toContain('Book trains')
    seen.push(`${response.status} ${(JSON.parse(text) as { code?: string }).code ?? 'answer'}`)
  }
  return [...new Set(seen)]
}

let demo: World
let world: World
let issuer: TestIssuer
let stranger: TestIssuer

const travel = {
  'handbook/travel': { text: 'Book trains early.', access: { viewers: ['user:anne', 'user:test/anne'] } },
}

beforeAll(async () => {
  issuer = await startTestIssuer()
  stranger = await startTestIssuer()
  demo = await openWorld()
  // The same keys, so that nothing but the mode can refuse a token of the demo.
  world = await openWorld({
    env: {
      REMIT_HOME: demo.config.home,
      REMIT_DEMO: 'false',
      TRUSTED_ISSUERS: JSON.stringify([issuer.entry()]),
    },
  })
  await demo.put(travel)
  await world.put(travel)
  for (const { service } of [demo, world]) {
    await service.agents.save({
      id: 'ext-bot',
      owner: 'user:dan',
      purpose: 'tests',
      issuer: issuer.issuer,
      sub: 'bot',
    })
  }
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await demo?.[Symbol.asyncDispose]()
  await issuer?.[Symbol.asyncDispose]()
  await stranger?.[Symbol.asyncDispose]()
})

const ask = (token: string, on = world) =>
  on.call('POST', '/retrieve', { token, body: { query: 'trains' } }).then(async (response) => ({
    status: response.status,
    text: await response.text(),
  }))

test('a whole token of a person, and one of an agent with its delegation, are let in', async () => {
  expect((await ask(await issuer.token())).text).toContain('Book trains')
  const { id: delegation } = await world.service.delegations.lend({
    subject: 'user:test/anne',
    agent: 'ext-bot',
    scope: ['collection:handbook'],
    purpose: 'tests',
    expiresAt: new Date(Date.now() + 600_000),
  })
  const act = { iss: issuer.issuer, sub: 'bot' }
  expect((await ask(await issuer.token({ client_id: 'bot-app', act, delegation }))).text).toContain(
    'Book trains',
  )
})

describe('nothing is let in, on any route, by', () => {
  const tokens: Readonly<Record<string, () => Promise<string> | string>> = {
    'a token for MCP': () => issuer.token({ aud: issuer.audiences.mcp }),
    'a token for another API': () => issuer.token({ aud: 'https://elsewhere.test' }),
    'a token for two APIs': () => issuer.token({ aud: [issuer.audiences.api, 'https://elsewhere.test'] }),
    'a token for an address that ours begins with': () =>
      issuer.token({ aud: issuer.audiences.api.slice(0, -1) }),
    'an ID token': () => issuer.token({ header: { typ: 'JWT' } }),
    'a token without typ': () => issuer.token({ header: { typ: undefined } }),
    'a token without signature (alg none)': async () => {
      const [, payload] = (await issuer.token()).split('.')
      return `${base64({ alg: 'none', typ: 'at+jwt' })}.${payload}.`
    },
    'a token that claims alg none and is signed': async () => {
      const [, payload, signature] = (await issuer.token()).split('.')
      return `${base64({ alg: 'none', typ: 'at+jwt' })}.${payload}.${signature}`
    },
    'a token signed by HS256 with the public key': async () => {
      const [, payload = ''] = (await issuer.token()).split('.')
      const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
      return new SignJWT(claims)
        .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt', kid: issuer.publicJwk.kid ?? '' })
        .sign(Buffer.from(JSON.stringify(issuer.publicJwk)))
    },
    'a token of another key': async () => issuer.token({ key: (await generateKeyPair('ES256')).privateKey }),
    'an expired token': () => issuer.token({ ttl: -1 }),
    'a token of tomorrow': () => issuer.token({ now: Date.now() + 86_400_000 }),
    'a token of an unknown issuer': () => stranger.token(),
    'a token whose claims were changed': async () => {
      const [header, payload = '', signature] = (await issuer.token({ sub: 'bob' })).split('.')
      const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object
      return `${header}.${base64({ ...claims, sub: 'anne' })}.${signature}`
    },
    'a token of the demo, outside of it': () => demo.token({ user: 'anne' }),
    'an agent’s token of the demo, outside of it': async () => {
      await demo.lend('anne', 'research-bot', 'collection:handbook')
      return demo.token({ user: 'anne', agent: 'research-bot' })
    },
    'a service’s token of the demo, outside of it': () => demo.token({ service: 'loader' }),
    'no JWT at all': () => 'opaque',
    'half a JWT': async () => (await issuer.token()).split('.').slice(0, 2).join('.'),
    'two tokens': async () => `${await issuer.token()} ${await issuer.token()}`,
  }
  test.each(Object.entries(tokens))('%s', async (_, make) => {
    expect(await statuses(world, await make())).toEqual(['401 invalid_token'])
  })
  test('no token', async () => {
    expect(await statuses(world, undefined)).toEqual(['401 invalid_token'])
  })
})

describe('no agent is taken for its person, on any route, with', () => {
  const tokens: Readonly<Record<string, () => Promise<string>>> = {
    'a token without an actor': () => issuer.token({ client_id: 'bot-app' }),
    'an actor and no delegation': () =>
      issuer.token({ client_id: 'bot-app', act: { iss: issuer.issuer, sub: 'bot' } }),
    'an actor that a person’s client sends': () => issuer.token({ act: { iss: issuer.issuer, sub: 'bot' } }),
    'an actor of null': () => issuer.token({ overrides: { act: null } }),
    'an unregistered actor': () =>
      issuer.token({ act: { iss: issuer.issuer, sub: 'nobody' }, delegation: 'd_1' }),
    'a delegation that nobody made': () =>
      issuer.token({ act: { iss: issuer.issuer, sub: 'bot' }, delegation: 'd_1' }),
    'the client itself as subject': () => issuer.token({ sub: 'person-app' }),
  }
  test.each(Object.entries(tokens))('%s', async (_, make) => {
    expect(await statuses(world, await make())).toEqual(['403 actor_unauthorized'])
  })
})

test('in the demo a trusted issuer elsewhere is unknown, and tokens for MCP are not for this API', async () => {
  expect(await statuses(demo, await issuer.token())).toEqual(['401 invalid_token'])
  const mcp = await demo.token({ user: 'anne', resource: 'mcp' })
  expect(await statuses(demo, mcp)).toEqual(['401 invalid_token'])
})

test('a key that its issuer took back lets nobody in after a sleep, also where the clock was set back before', async () => {
  await using own = await startTestIssuer()
  await using service = await openWorld({
    env: { REMIT_DEMO: 'false', TRUSTED_ISSUERS: JSON.stringify([own.entry()]) },
  })
  const token = await own.token()
  const status = async () => (await service.call('GET', '/collections', { token })).status
  expect(await status()).toBe(200)
  await own.rotate()
  expect(await status()).toBe(200)
  const hour = 3_600_000
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - hour })
  try {
    // Looks at the clock, as it does by itself; nobody shows a token meanwhile.
    await service.service.index.catchUp()
    vi.setSystemTime(Date.now() + hour)
    await expect.poll(status, { timeout: 10_000 }).toBe(401)
  } finally {
    vi.useRealTimers()
  }
})

test('what was refused changed nothing', async () => {
  for (const on of [demo, world]) {
    const [{ count } = { count: -1 }] = await on.database.query<{ count: number }>(
      `select count(*) as count from documents where live_revision is not null and title <> 'T'`,
    )
    expect(count).toBe(1)
    expect(await on.database.query('select 1 from fields')).toEqual([])
    expect(await on.database.query(`select 1 from collections where title = 'Mine'`)).toEqual([])
  }
})
