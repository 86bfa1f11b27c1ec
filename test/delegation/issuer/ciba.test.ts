import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type AskingWorld, openAskingWorld } from './asking-world.ts'

let all: AskingWorld
let world: AskingWorld['world']
let asking: AskingWorld['asking']
let delegation: string
let ahead = 0
/** The time stands still here, for what a busy machine must not make late. */
let held: number | undefined
/** The next statement that holds this text fails, once. */
let failing: string | undefined

beforeAll(async () => {
  all = await openAskingWorld({
    now: () => (held ?? Date.now()) + ahead,
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
  ;({ world, asking, delegation } = all)
})
afterAll(() => all?.[Symbol.asyncDispose]())
afterEach(async () => {
  ahead = 0
  held = undefined
  failing = undefined
  await all.forget()
})

const scope = 'openid docs.search docs.read'

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
    expect(tokens.scope).toBe('openid docs.search docs.read')
    expect(decodeJwt(tokens.access_token)).toMatchObject({ scope: 'docs.search docs.read' })
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
    expect(await all.found(tokens.access_token)).toEqual(['handbook/travel'])
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
    held = Date.now()
    await asking.poll('agent-app', started.auth_req_id)
    // Its first poll comes right after somebody else's.
    const polling = client.pollBackchannelAuthenticationGrant(config, { ...started, interval: 0.1 })
    await expect.poll(() => heard).toEqual([undefined, 'slow_down'])
    held = undefined
    await asking.decide('anne', { answer: 'approve' })
    expect((await polling).scope).toBe('openid docs.search docs.read')
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
    expect(await all.found(token)).toEqual(['handbook/travel'])
  })

  test('with an auth_req_id that was used ends what came of it, and leaves what was lent', async () => {
    held = Date.now()
    const id = await begun()
    await asking.decide('anne', { answer: 'approve' })
    const { access_token: token } = (await asking.poll('agent-app', id)).body
    // Somebody who asked twice at once ends nothing; who comes later does.
    for (const later of [0, 9_000]) {
      ahead += later
      expect((await asking.poll('agent-app', id)).body.error).toBe('invalid_grant')
      expect(await all.found(token)).toEqual(['handbook/travel'])
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
    const lentDelegation = await world.lend('carol', 'research-bot', 'collection:handbook')
    const id = await begun({ login_hint: 'carol' })
    await asking.decide('carol', { answer: 'approve' })
    await world.service.delegations.revoke(lentDelegation)
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

  test('no token of a question goes past the end of its consent, however late another request fetches one', async () => {
    held = Date.now()
    const wish = { requested_expiry: '3600' }
    const [first, second] = [await begun(wish), await begun(wish)]
    const { txn } = await asking.decide('anne', { answer: 'approve' })
    const secondsOf = async (id: string) => {
      const { access_token: token = '' } = (await asking.poll('agent-app', id)).body
      const { exp = 0, iat = 0 } = decodeJwt(token)
      return exp - iat
    }
    expect(await secondsOf(first)).toBeGreaterThan(280)
    ahead += 290_000
    expect(await secondsOf(second)).toBeLessThanOrEqual(10)
    const rows = await world.database.query<{ expires_at: Date }>(
      'select expires_at from oauth_grants where txn = $1',
      [txn],
    )
    expect(rows.map(({ expires_at: end }) => end.getTime())).toEqual([held + 300_000])
  })
})
