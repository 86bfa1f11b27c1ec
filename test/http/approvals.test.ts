import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Decision } from '../../src/delegation/approvals/decide.ts'
import { digestOf } from '../../src/delegation/approvals/view.ts'
import { approvalRoutes } from '../../src/http/routes/approvals/approvals.ts'
import type { Principal } from '../../src/kernel/principal.ts'
import { listen } from '../../src/start.ts'
import { describeBackends } from '../support/backends.ts'
import { openWorld, type World } from '../support/world.ts'
import { principal } from './principal.ts'

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Readonly<Record<string, unknown>>
}

describeBackends('/approvals for agents', (backend) => {
  let world: World
  let token: string
  let moved = 0
  let offered = 0
  beforeAll(async () => {
    world = await openWorld({
      backend,
      now: () => Date.now() + moved,
      env: { REQUEST_DEADLINE_MS: '500' },
    })
    const board = { collection: 'finance', text: 'The budget.' }
    await world.put({
      'board/1': { ...board, access: { viewers: ['user:anne'], sensitive: true } },
      'board/2': { ...board, access: { viewers: ['user:anne'], sensitive: true } },
    })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(() => anew())

  let delegation = ''
  /** Far enough for every limit to be forgotten, under a delegation of its own. */
  async function anew(): Promise<void> {
    moved += 3 * 3_600_000
    await world.service.approvals.blocks.lift('user:anne', 'research-bot', operator('t_anne'))
    delegation = await world.lend('anne', 'research-bot', 'collection:finance')
    token = await world.token({ user: 'anne', agent: 'research-bot' })
  }

  const holder = (agent = 'research-bot', user = 'anne', lent = delegation): Principal => ({
    kind: 'agent',
    subject: `user:${user}`,
    actors: [`agent:${agent}`],
    client: 'tests',
    scopes: new Set(['approvals.request']),
    authorizationDetails: [],
    delegation: lent,
    txn: 't_tests',
    expiresAt: 0,
  })

  /** As an answer to a question brings it. */
  async function offer(documentIds = ['board/1', 'board/2'], who = holder()): Promise<string> {
    await world.database.query('delete from offer_limits')
    offered += 1
    const made = await world.database.transaction((sql) =>
      world.service.grants.offers.makeWithin(sql, who, { queryHmac: `hmac ${offered}`, documentIds }),
    )
    if (made === undefined) throw new Error('no offer')
    return made
  }

  const send = async (
    method: string,
    path: string,
    options: Parameters<World['call']>[2] = {},
  ): Promise<Answer> => {
    const response = await world.call(method, path, { token, ...options })
    return {
      status: response.status,
      headers: response.headers,
      body: (await response.json()) as Answer['body'],
    }
  }
  const wish = (id: string, more: object = {}) => ({
    authorization_details: [{ type: 'document_access', offer: id }],
    purpose: 'The report',
    ...more,
  })
  const ask = async (more: object = {}) => send('POST', '/approvals', { body: wish(await offer(), more) })
  async function asked(): Promise<string> {
    const { status, body } = await ask()
    expect(status).toBe(201)
    return String(body['id'])
  }
  async function decide(id: string, decision: Decision) {
    const shown = await world.service.approvals.oneOfMine('user:anne', id)
    if (shown === undefined) throw new Error('not shown')
    const result = await world.service.approvals.decide('user:anne', id, decision, {
      digest: digestOf(shown),
      session: { person: 'anne', subject: 'user:anne', verifiedAt: new Date(Date.now() + moved) },
    })
    expect(result.ok).toBe(true)
  }

  test('ask, and look until it is decided: what is told is this and no more', async () => {
    const first = await ask()
    expect(first).toMatchObject({
      status: 201,
      body: { id: expect.stringMatching(/^ap_/), state: 'pending', interval: 5 },
    })
    expect(Object.keys(first.body).sort()).toEqual(['expires_at', 'id', 'interval', 'state'])
    const path = `/approvals/${String(first.body['id'])}`
    expect(first.headers.get('location')).toBe(path)
    const look = await send('GET', path)
    expect(look.status).toBe(200)
    expect(look.headers.get('retry-after')).toBe('5')
    expect(look.headers.get('cache-control')).toBe('private, no-store')
    const { interval: _, ...without } = first.body
    expect(look.body).toEqual(without)

    await decide(String(first.body['id']), { answer: 'ask', question: 'Which report?' })
    const questioned = await send('GET', path)
    expect(questioned.body).toEqual({ ...without, state: 'info_requested', question: 'Which report?' })
    expect(questioned.headers.get('retry-after')).toBe('5')
    const answered = await send('POST', `${path}/answers`, { body: { text: 'The one of May.' } })
    expect(answered).toMatchObject({ status: 200, body: { state: 'pending' } })
    expect(answered.body).not.toHaveProperty('question')
    expect((await send('POST', `${path}/answers`, { body: { text: 'Once more.' } })).status).toBe(409)

    await decide(String(first.body['id']), { answer: 'approve', documentIds: ['board/2'] })
    const over = await send('GET', path)
    const grant = over.body['grant_id']
    expect(grant).toMatch(/^g_/)
    expect(over.body).toEqual({
      ...without,
      expires_at: expect.any(String),
      state: 'approved',
      grant_id: grant,
      authorization_details: [{ type: 'document_access', grant }],
    })
    expect(over.headers.get('retry-after')).toBeNull()
    expect(await world.service.grants.approvalGrants.get(String(grant))).toMatchObject({
      state: 'live',
      objects: ['document:board/2'],
      maxUses: 1,
    })
    expect(JSON.stringify(over.body)).not.toContain('board')
  })

  test('a no tells the person’s reason, and an end by the clock is one', async () => {
    const { body } = await ask({ requested_expiry: 30 })
    moved += 30_000
    expect((await send('GET', `/approvals/${String(body['id'])}`)).body).toMatchObject({ state: 'expired' })
    const denied = await asked()
    await decide(denied, { answer: 'deny', reason: 'Not now.' })
    expect((await send('GET', `/approvals/${denied}`)).body).toMatchObject({
      state: 'denied',
      reason: 'Not now.',
    })
  })

  test('waits for the answer, and tells that it did', async () => {
    const id = await asked()
    const waiting = send('GET', `/approvals/${id}`, { headers: { prefer: 'wait=20' } })
    await decide(id, { answer: 'deny' })
    const { status, headers, body } = await waiting
    expect([status, body['state']]).toEqual([200, 'denied'])
    expect(headers.get('preference-applied')).toBe('wait=20')
    // What is over is told at once.
    expect((await send('GET', `/approvals/${id}`, { headers: { prefer: 'wait=20' } })).body['state']).toBe(
      'denied',
    )
  })

  test('waits as long as is asked for, past the deadline of other requests, and no longer than half a minute', async () => {
    const id = await asked()
    const began = performance.now()
    const { status, body, headers } = await send('GET', `/approvals/${id}`, { headers: { prefer: 'wait=1' } })
    expect([status, body['state'], headers.get('retry-after')]).toEqual([200, 'pending', '5'])
    expect(performance.now() - began).toBeGreaterThan(950)
    const long = send('GET', `/approvals/${id}`, { headers: { prefer: 'respond-async, wait=600' } })
    await decide(id, { answer: 'deny' })
    expect((await long).headers.get('preference-applied')).toBe('wait=30')
  }, 20_000)

  test('is nobody else’s: another agent, person or delegation gets the 404 of one that does not exist', async () => {
    const id = await asked()
    const none = await send('GET', '/approvals/ap_none')
    expect(none.status).toBe(404)
    await world.lend('bob', 'research-bot', 'collection:finance')
    await world.lend('anne', 'other-bot', 'collection:finance')
    const others = {
      person: await world.token({ user: 'bob', agent: 'research-bot' }),
      agent: await world.token({ user: 'anne', agent: 'other-bot' }),
    }
    // The newest is what a token names.
    moved += 1_000
    await world.lend('anne', 'research-bot', 'collection:finance')
    const anotherDelegation = await world.token({ user: 'anne', agent: 'research-bot' })
    for (const other of [...Object.values(others), anotherDelegation]) {
      for (const [method, path, body] of [
        ['GET', '', undefined],
        ['POST', '/answers', { text: 'Me too.' }],
      ] as const) {
        const options = { token: other, ...(body !== undefined && { body }) }
        const theirs = await send(method, `/approvals/${id}${path}`, options)
        const missing = await send(method, `/approvals/ap_none${path}`, options)
        expect(theirs.status).toBe(404)
        expect({ ...theirs.body, txn: '' }).toEqual({ ...missing.body, txn: '' })
        expect([...theirs.headers.keys()]).toEqual([...missing.headers.keys()])
      }
      const waited = await send('GET', `/approvals/${id}`, { token: other, headers: { prefer: 'wait=30' } })
      expect(waited.status).toBe(404)
    }
  })

  test('an offer is its own holder’s, for five minutes', async () => {
    const lent = await world.lend('anne', 'other-bot', 'collection:finance')
    const theirs = await offer(['board/1'], holder('other-bot', 'anne', lent))
    const old = await offer()
    moved += 299_000
    token = await world.token({ user: 'anne', agent: 'research-bot' })
    moved += 1_000
    const answers = []
    for (const id of [theirs, old, 'o_none'])
      answers.push(await send('POST', '/approvals', { body: wish(id) }))
    for (const { status, body } of answers) {
      expect(status).toBe(422)
      expect({ ...body, txn: '' }).toEqual({ ...answers[0]?.body, txn: '' })
    }
    expect(answers[0]?.body).toMatchObject({
      field: 'authorization_details.0.offer',
      detail: expect.stringMatching(/no longer: ask POST \/retrieve again/),
    })
  })

  test.each([
    ['an unknown member', { more: 1 }, 'more'],
    ['no purpose', { purpose: '' }, 'purpose'],
    ['a purpose that turns around', { purpose: 'a\u202Eb' }, 'purpose'],
    ['another API', { resource: 'https://else.test' }, 'resource'],
    ['no time', { requested_expiry: 1 }, 'requested_expiry'],
    ['two days', { requested_expiry: 172_800 }, 'requested_expiry'],
    ['no detail', { authorization_details: [] }, 'authorization_details'],
    [
      'what is for a token only',
      { authorization_details: [{ type: 'document_access', grant: 'g_1' }] },
      'authorization_details.0',
    ],
    ['an unknown type', { authorization_details: [{ type: 'trade_order' }] }, 'authorization_details.0.type'],
    [
      'a call with members that nobody knows',
      {
        authorization_details: [{ type: 'vault_call', connection: 'x', method: 'GET', path: '/', host: 'x' }],
      },
      'authorization_details.0.host',
    ],
    [
      'an offer with a NUL',
      { authorization_details: [{ type: 'document_access', offer: 'o_\0' }] },
      'authorization_details.0.offer',
    ],
  ])('is refused with %s', async (_, more, field) => {
    const { status, body } = await ask(more)
    expect([status, body['code']]).toEqual([422, 'invalid_request'])
    expect(String(body['field'])).toContain(field)
  })

  test('asking for this API by name is the same', async () => {
    expect((await ask({ resource: world.config.publicUrl })).status).toBe(201)
  })

  test('answers are words', async () => {
    const id = await asked()
    await decide(id, { answer: 'ask', question: 'Why?' })
    for (const body of [
      { text: '' },
      { text: 'a\nb' },
      { text: 'x', more: 1 },
      {},
      { text: 'a'.repeat(1_001) },
    ])
      expect((await send('POST', `/approvals/${id}/answers`, { body })).status).toBe(422)
    expect((await send('POST', `/approvals/${id}/answers`, { body: '{' })).status).toBe(400)
    const text = await world.call('POST', `/approvals/${id}/answers`, {
      token,
      body: 'text',
      headers: { 'content-type': 'text/plain' },
    })
    expect(text.status).toBe(415)
    expect(
      (await send('POST', `/approvals/${id}/answers`, { body: { text: 'x'.repeat(100_000) } })).status,
    ).toBe(413)
  })

  test('is for agents with the scope, and for nobody else', async () => {
    const id = await asked()
    const scopeless = await world.token({ user: 'anne', agent: 'research-bot', scopes: ['docs.search'] })
    const tokens = {
      person: await world.token({ user: 'anne' }),
      service: await world.token({ service: 'loader' }),
      mcp: await world.token({ user: 'anne', agent: 'research-bot', resource: 'mcp' }),
    }
    for (const [method, path, body] of [
      ['POST', '/approvals', wish('o_1')],
      ['GET', `/approvals/${id}`, undefined],
      ['POST', `/approvals/${id}/answers`, { text: 'x' }],
    ] as const) {
      const as = (bearer: string) =>
        send(method, path, { token: bearer, ...(body !== undefined && { body }) })
      expect(await as(tokens.person)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
      expect(await as(tokens.service)).toMatchObject({ status: 403, body: { code: 'forbidden' } })
      expect(await as(tokens.mcp)).toMatchObject({ status: 401 })
      expect(await as(scopeless)).toMatchObject({ status: 403, body: { code: 'insufficient_scope' } })
    }
  })

  test('a person who was asked enough is a 429 that says when', async () => {
    for (let index = 0; index < 5; index += 1) await asked()
    const { status, body, headers } = await ask()
    expect([status, body['code']]).toEqual([429, 'rate_limited'])
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(200)
  })

  test('a blocked agent gets what a denied one gets', async () => {
    await decide(await asked(), { answer: 'deny', block: true })
    const blocked = await send('POST', '/approvals', { body: wish(await offer(['board/1'])) })
    const after = await ask()
    // Of the same documents and of others: neither tells that it has just been told no.
    for (const one of [blocked, after]) expect(one).toMatchObject({ status: 201, body: { state: 'denied' } })
    const looked = await send('GET', `/approvals/${String(after.body['id'])}`)
    expect(Object.keys(looked.body).sort()).toEqual(['expires_at', 'id', 'state'])
    expect(looked.body['state']).toBe('denied')
  })

  test('what was lent ends while somebody waits: they are told that it is over', async () => {
    const id = await asked()
    const waiting = send('GET', `/approvals/${id}`, { headers: { prefer: 'wait=20' } })
    await expect.poll(async () => (await send('GET', `/approvals/${id}`)).status).toBe(200)
    await world.service.delegations.revoke(delegation)
    moved += 5_000
    expect((await waiting).body).toMatchObject({ state: 'expired' })
  }, 20_000)
})

test('who waits and goes away is no longer waited for', async () => {
  const begun = Promise.withResolvers<AbortSignal>()
  const { promise: over } = Promise.withResolvers<undefined>()
  const none = async () => {
    throw new Error('not asked for')
  }
  const routes = approvalRoutes({
    approvals: {
      ask: none,
      of: none,
      answer: none,
      wait: async (_, __, signal) => {
        begun.resolve(signal)
        return over
      },
    },
    resolve: none,
    requireBearer: () => async (c, next) => {
      c.set('principal', { ...principal, kind: 'agent', actors: ['agent:bot'], delegation: 'd_1' })
      await next()
    },
    publicUrl: 'http://localhost',
  })
  await using listening = await listen({ fetch: routes.fetch, host: '127.0.0.1', port: 0, drainMs: 100 })
  const leaving = new AbortController()
  const gone = fetch(`http://127.0.0.1:${listening.port}/approvals/ap_1`, {
    headers: { prefer: 'wait=30' },
    signal: leaving.signal,
  }).catch(() => 'gone')
  const signal = await begun.promise
  expect(signal.aborted).toBe(false)
  leaving.abort()
  expect(await gone).toBe('gone')
  await expect.poll(() => signal.aborted).toBe(true)
})
