import { exportJWK, generateKeyPair } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { openWorld, type World } from '../support/world.ts'

let world: World
let admin: string
beforeAll(async () => {
  world = await openWorld()
  await world.put({
    'handbook/travel': { text: 'Travel costs are refunded.', access: { viewers: ['user:anne'] } },
    'finance/budget': {
      collection: 'finance',
      text: 'The budget of travel.',
      access: { viewers: ['user:anne'] },
    },
  })
  await world.lend('anne', 'research-bot', 'collection:handbook', 'collection:finance')
  await world.service.administrators.add('user:dan', ['agents.write'])
  admin = await world.token({ user: 'dan' })
})
afterAll(() => world?.[Symbol.asyncDispose]())

const bot = {
  id: 'research-bot',
  owner: 'user:dan',
  title: 'Research',
  purpose: 'Answers questions.',
  scopes: ['docs.search', 'docs.read'],
  collections: null,
}
const call = async (method: string, path: string, body?: object, token = admin) => {
  const response = await world.call(method, path, { token, ...(body && { body }) })
  return { status: response.status, body: (await response.json()) as Readonly<Record<string, unknown>> }
}
/** Back to no limit of collections, and that what was lent stays is said at the machine. */
const keepsLent = async () => {
  const known = await world.service.agents.get('research-bot')
  if (known === undefined) throw new Error('no agent')
  const limits = { scopes: bot.scopes, collections: undefined }
  await world.service.agentAdministration.save(
    operator('t_1'),
    { ...known, jwks: null, limits },
    { lent: 'keep' },
  )
}
const found = async (token: string) =>
  (await world.retrieve(token, { query: 'travel' })).results.map(({ document_id }) => document_id).sort()

describe('POST /agents', () => {
  test('registers an agent with its limits and keys; the same again changes nothing', async () => {
    const { publicKey } = await generateKeyPair('ES256')
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] }
    const body = { ...bot, id: 'new-bot', collections: ['handbook'], jwks }
    const first = await call('POST', '/agents', body)
    const expected = {
      ...body,
      actor: { issuer: world.service.ownIssuer, sub: 'new-bot' },
      state: 'enabled',
    }
    expect(first).toMatchObject({ status: 201, body: { agent: expected } })
    expect(await call('POST', '/agents', body)).toMatchObject({ status: 200, body: { agent: expected } })
    expect((await call('GET', '/agents/new-bot')).body['agent']).toEqual(expected)
    const { agents } = (await call('GET', '/agents')).body as { agents: { id: string }[] }
    expect(agents.map(({ id }) => id)).toEqual(['new-bot', 'other-bot', 'research-bot'])
    expect(await world.service.agents.get('new-bot')).toMatchObject({ jwks })
  })

  test('without keys takes them away, and lifts no limit by what is left out', async () => {
    const { publicKey } = await generateKeyPair('ES256')
    const jwks = { keys: [await exportJWK(publicKey)] }
    const body = { ...bot, id: 'keyless-bot' }
    await call('POST', '/agents', { ...body, jwks })
    expect((await call('POST', '/agents', body)).body['agent']).not.toHaveProperty('jwks')
    for (const member of ['scopes', 'collections'] as const) {
      const { [member]: _, ...rest } = body
      expect(await call('POST', '/agents', rest)).toMatchObject({ status: 422, body: { field: member } })
    }
  })

  test.each([
    ['an owner that is no person', 'owner', { owner: 'group:eng' }],
    ['a scope that no agent may hold', 'scopes.0', { scopes: ['docs.write'] }],
    ['a scope that is none', 'scopes.0', { scopes: ['a b'] }],
    ['a collection that is no id', 'collections.0', { collections: ['..'] }],
    ['a collection that is not there', 'collections', { collections: ['nocoll'] }],
    ['a private key', 'jwks.keys.0', { jwks: { keys: [{ kty: 'EC', d: 'x' }] } }],
    ['a shared secret', 'jwks.keys.0.kty', { jwks: { keys: [{ kty: 'oct', k: 'x' }] } }],
    ['an unknown member', 'disabled', { disabled: false }],
  ])('refuses %s by name', async (_, field, wrong) => {
    expect(await call('POST', '/agents', { ...bot, id: 'wrong-bot', ...wrong })).toMatchObject({
      status: 422,
      body: { code: 'invalid_request', field },
    })
    expect(await world.service.agents.get('wrong-bot')).toBeUndefined()
  })

  test('refuses an agent that would answer to another one’s name, and puts nothing on record', async () => {
    const actor = { issuer: world.service.ownIssuer, sub: 'research-bot' }
    expect(await call('POST', '/agents', { ...bot, id: 'thief-bot', actor })).toMatchObject({ status: 409 })
    const rows = await world.database.query(
      `select 1 from decision_records where detail ->> 'agent' = 'thief-bot'`,
    )
    expect(rows).toEqual([])
  })
})

describe('an agent is limited', () => {
  test('to its collections from the next request on, with a token from before', async () => {
    const token = await world.token({ user: 'anne', agent: 'research-bot' })
    expect(await found(token)).toEqual(['finance/budget', 'handbook/travel'])
    await call('POST', '/agents', { ...bot, collections: ['handbook'] })
    expect(await found(token)).toEqual(['handbook/travel'])
    const path = `/documents/${encodeURIComponent('finance/budget')}`
    expect((await world.call('GET', path, { token })).status).toBe(404)
    await call('POST', '/agents', { ...bot, collections: [] })
    expect(await found(token)).toEqual([])
    await keepsLent()
    expect(await found(token)).toEqual(['finance/budget', 'handbook/travel'])
  })

  test('to its scopes from the next request on, with a token from before', async () => {
    const token = await world.token({ user: 'anne', agent: 'research-bot' })
    await call('POST', '/agents', { ...bot, scopes: ['docs.search'] })
    const path = `/documents/${encodeURIComponent('handbook/travel')}`
    expect(await call('GET', path, undefined, token)).toMatchObject({
      status: 403,
      body: { code: 'insufficient_scope' },
    })
    expect(await found(token)).toHaveLength(2)
    await keepsLent()
    expect((await world.call('GET', path, { token })).status).toBe(200)
  })
})

describe('POST /agents/{id}/disable', () => {
  test('is the kill switch, on record, and saving the agent does not take it back', async () => {
    const token = await world.token({ user: 'anne', agent: 'research-bot' })
    expect(await call('POST', '/agents/research-bot/disable')).toMatchObject({
      status: 200,
      body: { agent: { state: 'disabled', disabled_at: expect.any(String) } },
    })
    const refused = () => call('POST', '/retrieve', { query: 'travel' }, token)
    expect(await refused()).toMatchObject({ status: 403, body: { code: 'actor_unauthorized' } })
    expect((await call('POST', '/agents', bot)).body).toMatchObject({ agent: { state: 'disabled' } })
    expect((await refused()).status).toBe(403)
    expect(await call('POST', '/agents/nobody/disable')).toMatchObject({ status: 404 })
    const rows = await world.database.query(
      `select event, subject, detail ->> 'agent' as agent from decision_records
       where event in ('agent_saved', 'agent_disabled') order by record_no desc limit 2`,
    )
    expect(rows).toEqual([
      { event: 'agent_saved', subject: 'user:dan', agent: 'research-bot' },
      { event: 'agent_disabled', subject: 'user:dan', agent: 'research-bot' },
    ])
    await world.service.agents.enable('research-bot')
  })
})

describe('agents are registered and switched off', () => {
  const routes = [
    ['POST', '/agents', bot],
    ['GET', '/agents', undefined],
    ['GET', '/agents/research-bot', undefined],
    ['POST', '/agents/research-bot/disable', undefined],
  ] as const

  test('by administrators with agents.write alone, never by an agent or by who is none any more', async () => {
    await world.service.administrators.add('user:carol', ['security.write'])
    await world.service.administrators.add('user:bob', ['agents.write'])
    const former = await world.token({ user: 'bob' })
    await world.database.query(`delete from administrators where subject = 'user:bob'`)
    const agent = await world.token({ user: 'anne', agent: 'research-bot' })
    const others = [
      [await world.token({ user: 'carol' }), 'insufficient_scope'],
      [await world.token({ user: 'anne' }), 'insufficient_scope'],
      [agent, 'forbidden'],
      [former, 'forbidden'],
    ] as const
    for (const [method, path, body] of routes) {
      for (const [token, code] of others)
        expect((await call(method, path, body, token)).body, `${method} ${path}`).toMatchObject({ code })
      expect((await world.call(method, path, body && { body })).status).toBe(401)
    }
    expect((await world.service.agents.get('research-bot'))?.disabledAt).toBeUndefined()
  })
})

test('whoever may read the record looks at agents, and changes none', async () => {
  await world.service.administrators.add('user:carol', ['security.read'])
  const token = await world.token({ user: 'carol' })
  for (const [method, path, status] of [
    ['GET', '/agents', 200],
    ['GET', '/agents/research-bot', 200],
    ['POST', '/agents/research-bot/disable', 403],
  ] as const)
    expect((await world.call(method, path, { token })).status).toBe(status)
  await world.service.administrators.remove('user:carol', ['security.read'])
  // The role counts, and not what the token says of it.
  expect((await world.call('GET', '/agents', { token })).status).toBe(403)
})

test.each([
  ['is older than 15 minutes', -901],
  ['is of an hour to come: the clock was set back', 3_600],
])('an administrator whose sign-in %s changes nothing', async (_, seconds) => {
  let now = Date.now()
  await using aged = await openWorld({ now: () => now })
  await aged.service.administrators.add('user:dan', ['agents.write'])
  const token = await aged.token({ user: 'dan' })
  // The token itself lives for five minutes: its sign-in is moved instead.
  const { keys } = aged.service
  const { SignJWT, decodeJwt } = await import('jose')
  const key = keys.current()
  const claims = decodeJwt(token)
  const old = await new SignJWT({ ...claims, auth_time: Number(claims['auth_time']) + seconds })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.kid })
    .sign(key.privateKey)
  now += 1_000
  const answer = await aged.call('POST', '/agents/research-bot/disable', { token: old })
  expect(answer.status).toBe(401)
  expect(await answer.json()).toMatchObject({ code: 'insufficient_user_authentication' })
  expect((await aged.service.agents.get('research-bot'))?.disabledAt).toBeUndefined()
  expect((await aged.call('POST', '/agents/research-bot/disable', { token })).status).toBe(200)
})
