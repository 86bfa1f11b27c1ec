import { decodeJwt, SignJWT } from 'jose'
import * as client from 'openid-client'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createAsking } from './asking.ts'
import { byHand, type Signing } from './by-hand.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

let world: IssuerWorld
let asking: Awaited<ReturnType<typeof createAsking>>
let delegation: string
let ahead = 0
/** The next statement that holds this text fails, once. */
let failing: string | undefined

beforeAll(async () => {
  world = await openIssuerWorld({
    now: () => Date.now() + ahead,
    database: (real) => ({
      ...real,
      transaction: (work) =>
        real.transaction((sql) =>
          work({
            ...sql,
            query: async (text, values) => {
              if (failing !== undefined && text.includes(failing)) {
                failing = undefined
                throw new Error('the process died here')
              }
              return sql.query(text, values)
            },
          }),
        ),
    }),
  })
  asking = await createAsking(world)
  await world.put({
    'handbook/travel': { text: 'Travel costs are refunded.', access: { viewers: ['user:anne'] } },
  })
  delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
})
afterAll(() => world?.[Symbol.asyncDispose]())

// Limits are for people, not for a file of tests: each begins with nothing asked.
afterEach(async () => {
  ahead = 0
  failing = undefined
  for (const table of ['backchannel_requests', 'approvals', 'approval_askers'])
    await world.database.query(`delete from ${table}`)
})

const scope = 'openid docs.search docs.read'
const found = async (token: string | undefined) =>
  (await world.retrieve(token ?? '', { query: 'travel' })).results.map(({ document_id }) => document_id)

describe('a standard client (openid-client)', () => {
  test('asks, waits as long as it is told to, and gets one token of the person who said yes', async () => {
    const config = asking.configurations['agent-app']
    const started = await client.initiateBackchannelAuthentication(config, {
      scope,
      login_hint: 'anne',
      binding_message: 'Weekly report, number 47-11',
    })
    expect(started).toMatchObject({ interval: 5, expires_in: 300 })
    const polling = client.pollBackchannelAuthenticationGrant(config, started)
    expect(await asking.open('anne')).toMatchObject({ bindingMessage: 'Weekly report, number 47-11' })
    const approval = await asking.decide('anne', { answer: 'approve' })
    const tokens = await polling
    expect(tokens).not.toHaveProperty('refresh_token')
    expect(tokens.scope).toBe('docs.search docs.read')
    expect(decodeJwt(tokens.access_token)).toMatchObject({
      iss: world.issuer,
      aud: world.url,
      sub: 'anne',
      client_id: 'agent-app',
      act: { sub: 'research-bot' },
      delegation,
      grant_id: expect.any(String),
      txn: approval.txn,
      amr: ['pwd'],
    })
    expect(tokens.claims()).toMatchObject({ sub: 'anne', aud: 'agent-app', auth_time: expect.any(Number) })
    expect(await found(tokens.access_token)).toEqual(['handbook/travel'])
  })

  test('gets a token that is bound to its key (DPoP)', async () => {
    const config = await asking.discover('agent-app')
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
    const started = await client.initiateBackchannelAuthentication(config, { scope, login_hint: 'anne' })
    await asking.decide('anne', { answer: 'approve' })
    const tokens = await client.pollBackchannelAuthenticationGrant(
      config,
      { ...started, interval: 0.1 },
      undefined,
      { DPoP },
    )
    expect(tokens.token_type).toBe('dpop')
    expect(decodeJwt(tokens.access_token)).toMatchObject({
      cnf: { jkt: await DPoP.calculateThumbprint() },
      delegation,
    })
  })

  test('slows down when it is told to, and then gets its token', { timeout: 30_000 }, async () => {
    const config = await asking.discover('agent-app')
    const heard: unknown[] = []
    config[client.customFetch] = async (url, options) => {
      const response = await fetch(url, options as RequestInit)
      const { error } = (await response.clone().json()) as { readonly error?: string }
      heard.push(error)
      return response
    }
    const started = await client.initiateBackchannelAuthentication(config, { scope, login_hint: 'anne' })
    await asking.poll('agent-app', started.auth_req_id)
    // Its first poll comes right after somebody else's.
    const polling = client.pollBackchannelAuthenticationGrant(config, { ...started, interval: 0.1 })
    await expect.poll(() => heard).toEqual([undefined, 'slow_down'])
    await asking.decide('anne', { answer: 'approve' })
    expect((await polling).scope).toBe('docs.search docs.read')
    expect(heard).toEqual([undefined, 'slow_down', undefined])
  })

  test('is told that the person refused', async () => {
    const config = asking.configurations['agent-app']
    const started = await client.initiateBackchannelAuthentication(config, { scope, login_hint: 'anne' })
    await asking.decide('anne', { answer: 'deny', reason: 'Not today' })
    await expect(
      client.pollBackchannelAuthenticationGrant(config, { ...started, interval: 0.1 }),
    ).rejects.toMatchObject({
      error: 'access_denied',
      error_description: 'The person refused: Not today',
    })
  })
})

describe('polling', () => {
  const begun = async (parameters = {}) => {
    const { body } = await asking.begin('agent-app', parameters)
    expect(body).toMatchObject({ auth_req_id: expect.any(String) })
    return String(body.auth_req_id)
  }

  test('too soon is told to slow down, and has to wait longer each time', async () => {
    const id = await begun()
    const poll = async () => {
      const { status, headers, body } = await asking.poll('agent-app', id)
      return [status, body.error, headers.get('retry-after')]
    }
    expect(await poll()).toEqual([400, 'authorization_pending', null])
    expect(await poll()).toEqual([400, 'slow_down', '10'])
    ahead += 6_000
    expect(await poll()).toEqual([400, 'slow_down', '15'])
    ahead += 15_000
    expect(await poll()).toEqual([400, 'authorization_pending', null])
    ahead += 15_000
    expect(await poll()).toEqual([400, 'authorization_pending', null])
  })

  test('an answer that is there is given however soon the poll comes', async () => {
    const id = await begun()
    await asking.poll('agent-app', id)
    await asking.decide('anne', { answer: 'approve' })
    expect((await asking.poll('agent-app', id)).body).toHaveProperty('access_token')
  })

  test('keeps the person’s words of a denial: in the form of OAuth, and as they are beside it', async () => {
    const id = await begun()
    await asking.decide('anne', { answer: 'deny', reason: 'Später "vielleicht"' })
    expect((await asking.poll('agent-app', id)).body).toEqual({
      error: 'access_denied',
      error_description: 'The person refused: Sp?ter ?vielleicht?',
      reason: 'Später "vielleicht"',
    })
    expect((await asking.poll('agent-app', id)).body.error).toBe('invalid_grant')
  })

  test('after the end is told that it is over, whatever the person does then', async () => {
    const id = await begun({ requested_expiry: '30' })
    ahead += 31_000
    expect((await asking.poll('agent-app', id)).body.error).toBe('expired_token')
    await expect(asking.decide('anne', { answer: 'approve' })).rejects.toThrow('asked nothing')
  })

  test('a question of the person stands beside “pending”, and its answer goes on the agent’s own way', async () => {
    const id = await begun()
    const { id: approval } = await asking.decide('anne', { answer: 'ask', question: 'What for?' })
    expect((await asking.poll('agent-app', id)).body).toMatchObject({
      error: 'authorization_pending',
      info_request: { approval, question: 'What for?' },
    })
    const asker = {
      subject: 'user:anne',
      agent: 'research-bot',
      client: 'agent-app',
      delegation,
      txn: 't',
    } as const
    await world.service.approvals.answer(asker, approval, 'For the weekly report.')
    ahead += 20_000
    const { body } = await asking.poll('agent-app', id)
    expect(body.error).toBe('authorization_pending')
    expect(body).not.toHaveProperty('info_request')
    await asking.decide('anne', { answer: 'approve' })
    expect((await asking.poll('agent-app', id)).body).toHaveProperty('access_token')
  })

  test('the answer to a question gives the person as long again: the request lives on with it', async () => {
    const id = await begun({ requested_expiry: '30' })
    const { id: approval } = await asking.decide('anne', { answer: 'ask', question: 'What for?' })
    ahead += 20_000
    const asker = {
      subject: 'user:anne',
      agent: 'research-bot',
      client: 'agent-app',
      delegation,
      txn: 't',
    } as const
    await world.service.approvals.answer(asker, approval, 'For the weekly report.')
    ahead += 20_000
    expect((await asking.poll('agent-app', id)).body.error).toBe('authorization_pending')
    ahead += 20_000
    expect((await asking.poll('agent-app', id)).body.error).toBe('expired_token')
  })

  test('by another client gives nothing, and takes nothing from the one that asked', async () => {
    const id = await begun()
    await asking.decide('anne', { answer: 'approve' })
    expect((await asking.poll('helper-app', id)).body).toEqual({
      error: 'invalid_grant',
      error_description: 'grant request is invalid',
    })
    expect((await asking.poll('agent-app', id)).body).toHaveProperty('access_token')
  })

  test('for more than was asked is refused, and uses nothing up', async () => {
    const id = await begun()
    await asking.decide('anne', { answer: 'approve' })
    const details = JSON.stringify([{ type: 'document_access', collections: ['handbook'] }])
    for (const [more, error] of [
      [{ resource: `${world.url}/mcp` }, 'invalid_target'],
      [{ authorization_details: details }, 'invalid_authorization_details'],
    ] as const)
      expect((await asking.poll('agent-app', id, more)).body.error).toBe(error)
    expect((await asking.poll('agent-app', id)).body).toHaveProperty('access_token')
  })

  test('an answer is given once: of 20 polls at once one gets the token', { timeout: 30_000 }, async () => {
    const id = await begun()
    await asking.decide('anne', { answer: 'approve' })
    const answers = await Promise.all(Array.from({ length: 20 }, () => asking.poll('agent-app', id)))
    expect(answers.filter(({ body }) => body.access_token !== undefined)).toHaveLength(1)
    expect(new Set(answers.map(({ body }) => body.error))).toEqual(new Set([undefined, 'invalid_grant']))
    const token = answers.find(({ body }) => body.access_token !== undefined)?.body.access_token
    expect(await found(token)).toEqual(['handbook/travel'])
  })

  test('with an auth_req_id that was used ends what came of it, and leaves what was lent', async () => {
    const id = await begun()
    await asking.decide('anne', { answer: 'approve' })
    const { access_token: token } = (await asking.poll('agent-app', id)).body
    // Somebody who asked twice at once ends nothing; who comes later does.
    for (const later of [0, 9_000]) {
      ahead += later
      expect((await asking.poll('agent-app', id)).body.error).toBe('invalid_grant')
      expect(await found(token)).toEqual(['handbook/travel'])
    }
    ahead += 3_000
    expect((await asking.poll('agent-app', id)).body.error).toBe('invalid_grant')
    const refused = await world.call('POST', '/retrieve', { token: token ?? '', body: { query: 'travel' } })
    expect(refused.status).toBe(401)
    expect(await world.service.delegations.isLive(delegation)).toBe(true)
  })

  test.each(['insert into oauth_grants', 'insert into decision_records'])(
    'mends what a crash at “%s” left behind: the next poll gets the token, on record once',
    async (statement) => {
      const id = await begun()
      const { txn } = await asking.decide('anne', { answer: 'approve' })
      failing = statement
      expect((await asking.poll('agent-app', id)).status).toBe(500)
      expect(failing).toBeUndefined()
      expect((await asking.poll('agent-app', id)).body).toHaveProperty('access_token')
      const consents = await world.database.query(
        `select 1 from decision_records where event = 'consented' and txn = $1`,
        [txn],
      )
      expect(consents).toHaveLength(1)
    },
  )

  test('gives no token any more where what was lent was taken back after the yes', async () => {
    const lent = await world.lend('carol', 'research-bot', 'collection:handbook')
    const id = await begun({ login_hint: 'carol' })
    await asking.decide('carol', { answer: 'approve' })
    await world.service.delegations.revoke(lent)
    expect((await asking.poll('agent-app', id)).body).toEqual({
      error: 'access_denied',
      error_description: 'What was lent is over.',
    })
  })

  test('gives no token for a yes that was not fetched within ten minutes, however long was asked for', async () => {
    const id = await begun({ requested_expiry: '3600' })
    await asking.decide('anne', { answer: 'approve' })
    ahead += 601_000
    expect((await asking.poll('agent-app', id)).body.error).toBe('expired_token')
    const fetched = await begun({ requested_expiry: '3600' })
    await asking.decide('anne', { answer: 'approve' })
    ahead += 590_000
    expect((await asking.poll('agent-app', fetched)).body).toHaveProperty('access_token')
  })

  test('two equal questions are one to the person; both get the one consent', async () => {
    const first = await begun()
    const second = await begun()
    expect(second).not.toBe(first)
    await asking.decide('anne', { answer: 'approve' })
    expect(await asking.open('anne')).toBeUndefined()
    const tokens = await Promise.all(
      [first, second].map(async (id) => (await asking.poll('agent-app', id)).body.access_token ?? ''),
    )
    const [one, other] = tokens.map((token) => decodeJwt(token))
    expect(one?.['grant_id']).toBe(other?.['grant_id'])
    expect(one?.jti).not.toBe(other?.jti)
  })
})

describe('whom a request means', () => {
  const refusedAs = async (parameters: Readonly<Record<string, string>>) => {
    const { status, body } = await asking.send('agent-app', '/backchannel', { scope, ...parameters })
    return { status, ...body }
  }
  const nobody = {
    status: 400,
    error: 'unknown_user_id',
    error_description: 'could not identify end-user',
  }

  test('somebody unknown, who lent nothing, who is barred, or whose lending is over: one answer', async () => {
    const { service } = world
    const over = await world.lend('dan', 'research-bot', 'collection:handbook')
    await service.delegations.revoke(over)
    await service.people.save({ key: 'erin', name: 'Erin' })
    await world.lend('erin', 'research-bot', 'collection:handbook')
    await service.issuer.barring.bar('erin')
    // Lent to another agent only.
    await world.lend('bob', 'other-bot', 'collection:handbook')
    for (const hint of [
      'nobody',
      'bob',
      'dan',
      'erin',
      'corp/nobody',
      'user:anne',
      'ANNE',
      'anne ',
      'a'.repeat(500),
    ])
      expect([hint, await refusedAs({ login_hint: hint })]).toEqual([hint, nobody])
    expect(await world.database.query('select 1 from approvals')).toEqual([])
  })

  test('an agent to which somebody’s agent may pass things on may ask them too', async () => {
    const { id } = await world.service.delegations.lend({
      subject: 'user:carol',
      agent: 'research-bot',
      subAgents: ['other-bot'],
      scope: ['collection:handbook'],
      purpose: 'tests',
      expiresAt: new Date(Date.now() + 3_600_000),
    })
    const { body } = await asking.begin('helper-app', { login_hint: 'carol' })
    await asking.decide('carol', { answer: 'approve' })
    const { access_token: token } = (await asking.poll('helper-app', body.auth_req_id)).body
    expect(decodeJwt(token ?? '')).toMatchObject({ sub: 'carol', act: { sub: 'other-bot' }, delegation: id })
  })

  test('exactly one hint, and no login_hint_token', async () => {
    expect(await refusedAs({})).toMatchObject({ error: 'invalid_request' })
    expect(await refusedAs({ login_hint: 'anne', id_token_hint: 'x.y.z' })).toMatchObject({
      error: 'invalid_request',
    })
    expect(await refusedAs({ login_hint_token: 'x.y.z' })).toMatchObject({ error: 'invalid_request' })
  })

  test('by an ID token of ours for this client, also when it has expired, and by no other', async () => {
    const key = world.service.keys.current()
    const idToken = (claims: object, { kid = key.kid, signer = key.privateKey } = {}) =>
      new SignJWT({
        sub: 'anne',
        aud: 'agent-app',
        iss: world.issuer,
        iat: 1_700_000_000,
        exp: 1_700_000_300,
        ...claims,
      })
        .setProtectedHeader({ alg: 'ES256', kid })
        .sign(signer)
    const hinted = async (token: string) => (await refusedAs({ id_token_hint: token })).error
    expect(await refusedAs({ id_token_hint: await idToken({}) })).toMatchObject({
      status: 200,
      auth_req_id: expect.any(String),
    })
    expect(await hinted(await idToken({ sub: 'bob' }))).toBe('unknown_user_id')
    const { key: stranger } = world.keys['agent-app']
    for (const wrong of [
      await idToken({ aud: 'helper-app' }),
      await idToken({ iss: 'https://elsewhere.test' }),
      await idToken({}, { signer: stranger }),
      'not a token',
    ])
      expect(await hinted(wrong)).toBe('invalid_request')
  })
})

describe('a request', () => {
  const ask = async (parameters: Readonly<Record<string, string>> | URLSearchParams) => {
    const given = new URLSearchParams(parameters)
    if (!given.has('login_hint')) given.set('login_hint', 'anne')
    if (!given.has('scope')) given.set('scope', scope)
    return (await asking.send('agent-app', '/backchannel', given)).body
  }

  test.each([
    ['Pay 100 €, “now”?', true],
    ['ご確認ください 12-34', true],
    ['x'.repeat(128), true],
    ['', true],
    ['   ', false],
    ['x'.repeat(129), false],
    ['line\nbreak', false],
    ['tab\there', false],
    ['turned \u202e around', false],
    ['zero\u200bwidth', false],
    ['nul\u0000', false],
  ])('with the binding message %j is taken: %s', async (message, isTaken) => {
    const body = await ask({ binding_message: message })
    expect(body.error).toBe(isTaken ? undefined : 'invalid_binding_message')
  })

  test('lives as long as it asks to, from half a minute to a day, and no longer than what was lent', async () => {
    const longer = await world.service.delegations.lend({
      subject: 'user:bob',
      agent: 'research-bot',
      scope: ['collection:handbook'],
      purpose: 'tests',
      expiresAt: new Date(Date.now() + 3 * 86_400_000),
    })
    const lives = async (login_hint: string, requested_expiry: string) => {
      const { expires_in: seconds, error } = await ask({
        login_hint,
        requested_expiry,
        binding_message: requested_expiry,
      })
      await world.database.query('delete from approvals')
      return error ?? seconds
    }
    expect(await lives('bob', '120')).toBe(120)
    expect(await lives('bob', '1')).toBe(30)
    expect(await lives('bob', '9000000')).toBe(86_400)
    expect(await lives('anne', '86400')).toBeLessThanOrEqual(3_600)
    for (const wrong of ['0', '-5', '1.5', 'soon']) expect(await lives('bob', wrong)).toBe('invalid_request')
    await world.service.delegations.revoke(longer.id)
  })

  test('without a scope, or without OpenID’s, is none; OpenID’s alone asks for what an agent may read', async () => {
    expect((await asking.send('agent-app', '/backchannel', { login_hint: 'anne' })).body.error).toBe(
      'invalid_request',
    )
    expect((await ask({ scope: 'docs.search' })).error).toBe('invalid_request')
    expect((await ask({ scope: 'openid' })).error).toBeUndefined()
    expect(await asking.open('anne')).toMatchObject({ asked: { scopes: ['docs.search', 'docs.read'] } })
  })

  test('gets no scope that an agent never holds, and is for one API of those that there are', async () => {
    expect((await ask({ scope: 'openid docs.write security.read' })).error).toBe('invalid_scope')
    expect((await ask({ scope: 'openid docs.search docs.write' })).error).toBeUndefined()
    expect(await asking.open('anne')).toMatchObject({ asked: { scopes: ['docs.search'] } })
    const two = new URLSearchParams([
      ['resource', world.url],
      ['resource', `${world.url}/mcp`],
    ])
    expect((await ask(two)).error).toBe('invalid_target')
    expect((await ask({ resource: 'https://unknown.test' })).error).toBe('invalid_target')
    expect((await ask({ resource: `${world.url}/agents/other-bot` })).error).toBe('invalid_target')
  })

  test('hands on nothing to other agents, and has no user code and no request from elsewhere', async () => {
    expect((await ask({ sub_agents: 'other-bot' })).error).toBe('invalid_request')
    expect((await ask({ user_code: '1234' })).error).toBe('invalid_request')
    expect((await ask({ request_uri: 'https://app.test/request' })).error).toBe('request_uri_not_supported')
  })

  test('that its client signed counts as it was signed, and is not taken for an assertion, nor an assertion for it', async () => {
    const hand = byHand(world)
    const { key, kid } = world.keys['agent-app']
    const program = { id: 'agent-app', key, kid, alg: 'ES256' }
    const asked = { scope: 'openid docs.search', login_hint: 'anne' }
    const request = await hand.request(program, asked)
    // What stands beside it is nobody's word.
    const { body } = await hand.send('/backchannel', {
      request,
      ...(await hand.as(program)),
      scope: 'openid docs.search docs.read',
      binding_message: 'Not signed',
    })
    expect(body.auth_req_id).toEqual(expect.any(String))
    const shown = await asking.open('anne')
    expect(shown).toMatchObject({ asked: { scopes: ['docs.search'] } })
    expect(shown).not.toHaveProperty('bindingMessage')
    const refusedAs = async (signing: Signing) => (await hand.ask(program, asked, signing)).body.error
    expect(await refusedAs({ claims: { sub: 'agent-app' } })).toBe('invalid_request')
    for (const typ of ['at+jwt', 'client-authentication+jwt', 'dpop+jwt'])
      expect(await refusedAs({ header: { typ } })).toBe('invalid_request')
    const assertion = { ...(await hand.as(program)), client_assertion: request }
    const asAssertion = await hand.send('/backchannel', { ...asked, ...assertion })
    expect([asAssertion.status, asAssertion.body.error]).toEqual([401, 'invalid_client'])
  })

  test('narrowed to collections gets a token that reads there alone', async () => {
    const narrowing = { type: 'document_access', collections: ['finance'] }
    const body = await ask({ authorization_details: JSON.stringify([narrowing]) })
    await asking.decide('anne', { answer: 'approve' })
    const { access_token: token } = (await asking.poll('agent-app', body.auth_req_id)).body
    expect(decodeJwt(token ?? '')['authorization_details']).toEqual([narrowing])
    expect(await found(token)).toEqual([])
  })

  test('names a grant or an offer that nobody made in vain', async () => {
    for (const detail of [
      { type: 'document_access', offer: 'o_nobody' },
      { type: 'document_access', grant: 'g_nobody' },
      { type: 'document_access', offer: 'o_nobody', collections: ['handbook'] },
      { type: 'document_access' },
      { type: 'vault_call', connection: 'github', method: 'POST', path: '/user' },
      { type: 'vault_call', grant: 'g_nobody' },
      { type: 'trade_order' },
    ])
      expect([detail, (await ask({ authorization_details: JSON.stringify([detail]) })).error]).toEqual([
        detail,
        'invalid_authorization_details',
      ])
  })

  test('of a program that proves nothing, or acts for no agent, is refused', async () => {
    const send = (id: string) =>
      fetch(`${world.issuer}/backchannel`, {
        method: 'POST',
        body: new URLSearchParams({ client_id: id, scope, login_hint: 'anne' }),
      })
    for (const id of ['public-agent', 'cli']) {
      const response = await send(id)
      expect([id, response.status, await response.json()]).toEqual([
        id,
        400,
        expect.objectContaining({ error: 'invalid_request' }),
      ])
    }
    expect((await send('agent-app')).status).toBe(401)
  })

  test('too many are put off, with the time to come again', async () => {
    const messages = Array.from({ length: 6 }, (_, index) => ({
      authorization_details: JSON.stringify([{ type: 'document_access', collections: [`c${index}`] }]),
    }))
    const answers = []
    for (const one of messages) answers.push(await asking.begin('agent-app', one))
    const last = answers.at(-1)
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 429])
    expect(last?.body.error).toBe('temporarily_unavailable')
    expect(Number(last?.headers.get('retry-after'))).toBeGreaterThan(0)
    const kept = await world.database.query(
      `select 1 from oauth_artifacts where model = 'BackchannelAuthenticationRequest'`,
    )
    expect(kept.length).toBeGreaterThanOrEqual(5)
  })
})
