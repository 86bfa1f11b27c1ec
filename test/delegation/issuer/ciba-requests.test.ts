import { decodeJwt, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type AskingWorld, openAskingWorld } from './asking-world.ts'
import { byHand, type Signing } from './by-hand.ts'

let all: AskingWorld
let world: AskingWorld['world']
let asking: AskingWorld['asking']

beforeAll(async () => {
  all = await openAskingWorld()
  ;({ world, asking } = all)
})
afterAll(() => all?.[Symbol.asyncDispose]())
afterEach(() => all.forget())

const scope = 'openid docs.search docs.read'

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
    expect(shown?.bindingMessage).toBeUndefined()
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
    expect(await all.found(token)).toEqual([])
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
      expect([
        detail,
        (await ask({ scope: 'openid', authorization_details: JSON.stringify([detail]) })).error,
      ]).toEqual([detail, 'invalid_authorization_details'])
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
