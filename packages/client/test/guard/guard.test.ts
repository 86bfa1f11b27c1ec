import { once } from 'node:events'
import { createServer } from 'node:http'
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  createResourceGuard,
  type GuardOptions,
  memoryStore,
  type RefusalCode,
} from '../../src/guard/index.ts'

const resource = 'https://broker.test/api'
const order = { type: 'trade_order', symbol: 'ACME', quantity: 10 }
let issuer: string
let key: { readonly privateKey: CryptoKey; readonly jwk: JWK }
let now = Date.now()
const asked: string[] = []
let answers: Readonly<Record<string, unknown>> = {}
let server: ReturnType<typeof createServer>

beforeAll(async () => {
  key = await makeKey('k1')
  server = createServer((request, response) => {
    asked.push(request.url ?? '')
    const answer = answers[request.url ?? '']
    if (typeof answer === 'string') return response.writeHead(302, { location: answer }).end()
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' })
    return response.end(JSON.stringify(answer ?? {}))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('There is no port.')
  issuer = `http://127.0.0.1:${address.port}/oauth`
  publish(key.jwk)
})
afterAll(() => server?.close())

function publish(...keys: readonly JWK[]): void {
  answers = {
    '/.well-known/oauth-authorization-server/oauth': { issuer, jwks_uri: `${issuer}/jwks` },
    '/oauth/jwks': { keys },
  }
}

async function makeKey(kid: string) {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256' } }
}

const guardWith = (options: Partial<GuardOptions> = {}) =>
  createResourceGuard({
    issuer,
    resource,
    requiredScopes: ['orders.place'],
    detailsTypes: ['trade_order'],
    clock: { now: () => now },
    ...options,
  })

const agent = { iss: 'https://remit.test/oauth', sub: 'trade-bot', sub_profile: 'ai_agent' }

/** A token as the issuer makes them; `undefined` removes a member. */
async function token(
  claims: Readonly<Record<string, unknown>> = {},
  header: Readonly<Record<string, unknown>> = {},
  by: CryptoKey | Uint8Array = key.privateKey,
): Promise<string> {
  const iat = Math.floor(now / 1_000)
  const all: Record<string, unknown> = {
    iss: issuer,
    aud: resource,
    sub: 'anne',
    client_id: 'agent-app',
    scope: 'orders.place',
    iat,
    exp: iat + 300,
    jti: crypto.randomUUID(),
    act: agent,
    delegation: 'd_1',
    txn: 't_1',
    authorization_details: [order],
    ...claims,
  }
  const present = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  const head = { alg: 'ES256', typ: 'at+jwt', kid: 'k1', ...header }
  return new SignJWT(present).setProtectedHeader(head).sign(by)
}

const request = (authorization?: string, more: Readonly<Record<string, string>> = {}) => ({
  method: 'POST',
  url: `${resource}/orders`,
  headers: { ...(authorization !== undefined && { authorization }), ...more },
})

async function refusal(authorization: string | undefined, options: Partial<GuardOptions> = {}) {
  const outcome = await guardWith(options).verify(request(authorization))
  return outcome.ok ? 'let through' : outcome.refusal
}

test('a token of an agent for a person is let through, and says who, for whom, what exactly', async () => {
  const act = { ...agent, act: { iss: agent.iss, sub: 'front-bot' } }
  const proven = { amr: ['pwd', 'mfa'], auth_time: 1_700_000_000 }
  const sent = await token({ act, scope: 'orders.place orders.read', ...proven })
  for (const headers of [
    { authorization: `Bearer ${sent}` },
    new Headers({ authorization: `bearer ${sent}` }),
  ]) {
    const outcome = await guardWith().verify({ ...request(), headers })
    expect(outcome).toMatchObject({
      ok: true,
      value: {
        subject: 'anne',
        actors: [
          { issuer: agent.iss, subject: 'trade-bot' },
          { issuer: agent.iss, subject: 'front-bot' },
        ],
        client: 'agent-app',
        delegation: 'd_1',
        grant: undefined,
        txn: 't_1',
        scopes: ['orders.place', 'orders.read'],
        amr: ['pwd', 'mfa'],
        authTime: 1_700_000_000,
        details: [order],
        boundTo: undefined,
      },
    })
  }
})

describe('refused is', () => {
  const iat = () => Math.floor(now / 1_000)
  const cases: readonly (readonly [string, RefusalCode, () => Promise<string>])[] = [
    ['a token for another API', 'invalid_token', () => token({ aud: 'https://broker.test' })],
    ['one for two APIs', 'invalid_token', () => token({ aud: [resource, 'https://other.test'] })],
    ['one of another issuer', 'invalid_token', () => token({ iss: 'https://elsewhere.test' })],
    ['an ID token', 'invalid_token', () => token({}, { typ: 'JWT' })],
    ['one without a type', 'invalid_token', () => token({}, { typ: undefined })],
    ['one that is over', 'invalid_token', () => token({ iat: iat() - 300, exp: iat() })],
    ['one of the future', 'invalid_token', () => token({ iat: iat() + 60, exp: iat() + 120 })],
    ['one that is not valid yet', 'invalid_token', () => token({ nbf: iat() + 60 })],
    ['one that is good for too long', 'invalid_token', () => token({ exp: iat() + 3_600 })],
    ['one without an end', 'invalid_token', () => token({ exp: undefined })],
    ['one without an id', 'invalid_token', () => token({ jti: undefined })],
    ['one by an unknown key', 'invalid_token', () => token({}, { kid: 'k2' })],
    ['one without a key id', 'invalid_token', () => token({}, { kid: undefined })],
    ['one that demands an extension', 'invalid_token', () => token({}, { crit: ['b64'], b64: true })],
    [
      'one with a detail of another type',
      'invalid_token',
      () => token({ authorization_details: [{ type: 'x' }] }),
    ],
    ['one whose details are no list', 'invalid_token', () => token({ authorization_details: { type: 'x' } })],
    ['one that is bound to a certificate', 'invalid_token', () => token({ cnf: { 'x5t#S256': 'x' } })],
    [
      'one that is bound to a key, without a store of proofs',
      'invalid_token',
      () => token({ cnf: { jkt: 'x' } }),
    ],
    ['a person’s own token', 'actor_unauthorized', () => token({ act: undefined })],
    ['one whose actor names no issuer', 'actor_unauthorized', () => token({ act: { sub: 'trade-bot' } })],
    [
      'one with a chain of five',
      'actor_unauthorized',
      () => token({ act: [1, 2, 3, 4].reduce<object>((act) => ({ ...agent, act }), agent) }),
    ],
    ['a service’s token', 'actor_unauthorized', () => token({ sub_profile: 'service' })],
    ['one that stands for its client', 'actor_unauthorized', () => token({ sub: 'agent-app' })],
    ['one that rests on nothing', 'actor_unauthorized', () => token({ delegation: undefined })],
    ['one without the scope', 'insufficient_scope', () => token({ scope: 'orders.read' })],
    [
      'one that is signed by somebody else',
      'invalid_token',
      async () => token({}, {}, (await makeKey('k1')).privateKey),
    ],
    ['one whose signature was cut off', 'invalid_token', async () => (await token()).replace(/[^.]*$/, 'AA')],
    ['something else', 'invalid_token', async () => 'opaque'],
  ]
  test.each(cases)('%s: %s', async (_, error, make) => {
    expect(await refusal(`Bearer ${await make()}`)).toMatchObject({ error })
  })

  test('alg none, and HS256 with the public key as its secret', async () => {
    const [, payload = ''] = (await token()).split('.')
    const head = btoa(JSON.stringify({ alg: 'none', typ: 'at+jwt', kid: 'k1' })).replaceAll('=', '')
    for (const unsigned of [`${head}.${payload}.`, `${head}.${payload}.AA`])
      expect(await refusal(`Bearer ${unsigned}`)).toMatchObject({ status: 401 })
    const secret = new TextEncoder().encode(JSON.stringify(key.jwk))
    const confused = await token({}, { alg: 'HS256' }, secret)
    expect(await refusal(`Bearer ${confused}`)).toMatchObject({ error: 'invalid_token' })
  })

  test('a request without a token, or with one anywhere but in the header', async () => {
    const sent = await token()
    for (const authorization of [undefined, '', 'Bearer', `Basic ${sent}`, `Bearer ${sent}, Bearer ${sent}`])
      expect(await refusal(authorization)).toMatchObject({ error: 'missing_token', status: 401 })
    const url = `${resource}/orders?access_token=${sent}`
    expect(await guardWith().verify({ ...request(), url })).toMatchObject({ ok: false })
  })
})

test('challenges say what to bring and where it is described; refusals are plain data and quote nobody', async () => {
  const where = 'resource_metadata="https://broker.test/.well-known/oauth-protected-resource/api"'
  const challenge = async (authorization?: string) => {
    const found = await refusal(authorization)
    expect(JSON.parse(JSON.stringify(found))).toEqual(found)
    return found === 'let through' ? found : found.headers['www-authenticate']
  }
  expect(await challenge()).toBe(`Bearer scope="orders.place", ${where}`)
  expect(await challenge(`Bearer ${await token({ scope: 'x' })}`)).toBe(
    `Bearer error="insufficient_scope", scope="orders.place", ${where}`,
  )
  expect(await challenge('Bearer secret"value')).not.toContain('secret')
  expect(guardWith().serveMetadata({ method: 'GET', url: resource })).toBeUndefined()
  const guard = guardWith()
  const served = guard.serveMetadata({ method: 'GET', url: guard.metadataUrl })
  expect(await served?.json()).toEqual({
    resource,
    authorization_servers: [issuer],
    bearer_methods_supported: ['header'],
    scopes_supported: ['orders.place'],
    authorization_details_types_supported: ['trade_order'],
  })
})

describe('a token that is bound to a key', () => {
  const bound = async () => {
    const holder = await makeKey('holder')
    const sent = await token({ cnf: { jkt: await calculateJwkThumbprint(holder.jwk) } })
    const { kid: _, alg: __, ...jwk } = holder.jwk
    const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(sent))
    const proof = (claims: object = {}, header: object = {}) =>
      new SignJWT({
        htm: 'POST',
        htu: `${resource}/orders`,
        iat: Math.floor(now / 1_000),
        jti: crypto.randomUUID(),
        ath: Buffer.from(hash).toString('base64url'),
        ...claims,
      })
        .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk, ...header })
        .sign(holder.privateKey)
    return { sent, proof }
  }
  const guarded = () => guardWith({ dpop: { replays: memoryStore({ now: () => now }) } })

  test('is let through with its proof, once', async () => {
    const { sent, proof } = await bound()
    const guard = guarded()
    const dpop = await proof()
    expect(await guard.verify(request(`DPoP ${sent}`, { dpop }))).toMatchObject({ ok: true })
    expect(await guard.verify(request(`DPoP ${sent}`, { dpop }))).toMatchObject({
      refusal: { error: 'invalid_dpop_proof' },
    })
    expect(await guard.verify(request(`DPoP ${sent}`, { dpop: await proof() }))).toMatchObject({ ok: true })
  })

  test('is refused as a bearer token, and with a proof for something else', async () => {
    const { sent, proof } = await bound()
    const guard = guarded()
    expect(await guard.verify(request(`Bearer ${sent}`, { dpop: await proof() }))).toMatchObject({
      ok: false,
    })
    expect(await guard.verify(request(`DPoP ${sent}`))).toMatchObject({ ok: false })
    const seconds = Math.floor(now / 1_000)
    const others = [
      await proof({ htm: 'GET' }),
      await proof({ htu: `${resource}/other` }),
      await proof({ ath: 'x' }),
      await proof({ iat: seconds - 61 }),
      await proof({ iat: seconds + 61 }),
      await proof({ jti: undefined }),
      await proof({}, { typ: 'jwt' }),
      await (await bound()).proof({ ath: undefined }),
    ]
    for (const dpop of others)
      expect(await guard.verify(request(`DPoP ${sent}`, { dpop })), dpop).toMatchObject({
        refusal: { error: 'invalid_dpop_proof' },
      })
    const foreign = await bound()
    const stolen = await guard.verify(request(`DPoP ${sent}`, { dpop: await foreign.proof() }))
    expect(stolen).toMatchObject({ ok: false })
    expect(await guard.verify(request(`DPoP ${await token()}`))).toMatchObject({ ok: false })
  })
})

describe('a use', () => {
  test('is one of what was agreed to, however many tokens and tries', async () => {
    const guard = guardWith({ uses: memoryStore({ now: () => now }) })
    const access = async (claims: object) => {
      const outcome = await guard.verify(request(`Bearer ${await token({ ...claims })}`))
      if (!outcome.ok) throw new Error(outcome.refusal.error_description)
      return outcome.value
    }
    const first = await access({ delegation: 'd_once' })
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => guard.use(first, order)))
    expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1)
    const reordered = Object.fromEntries(Object.entries(order).reverse()) as typeof order
    const second = await access({ delegation: 'd_once', authorization_details: [reordered] })
    expect(await guard.use(second, reordered)).toMatchObject({
      refusal: { error: 'already_used', status: 403 },
    })
    expect(await guard.use(await access({ delegation: 'd_other' }), order)).toMatchObject({ ok: true })
  })

  test('is the same one after the person lent anew, as long as it comes of one consent', async () => {
    const guard = guardWith({ uses: memoryStore({ now: () => now }) })
    const used = async (claims: object) => {
      const outcome = await guard.verify(request(`Bearer ${await token({ ...claims })}`))
      return outcome.ok ? (await guard.use(outcome.value, order)).ok : outcome.refusal.error
    }
    expect(await used({ grant_id: 'g_1', delegation: 'd_first' })).toBe(true)
    expect(await used({ grant_id: 'g_1', delegation: 'd_again' })).toBe(false)
    expect(await used({ grant_id: 'g_2', delegation: 'd_again' })).toBe(true)
    expect(await used({ delegation: 'g_1' })).toBe(true)
    for (const grant_id of [null, '', 1, {}]) expect(await used({ grant_id })).toBe('invalid_token')
  })

  test('is counted up to max_uses; what is no number of uses is none', async () => {
    const guard = guardWith({ uses: memoryStore({ now: () => now }) })
    const outcome = await guard.verify(request(`Bearer ${await token()}`))
    if (!outcome.ok) throw new Error('refused')
    const twice = { ...order, max_uses: 2 }
    // Which of three at once comes too late is the scheduler's to say, that one does is ours.
    const tries = await Promise.all([1, 2, 3].map(() => guard.use(outcome.value, twice)))
    expect(tries.map(({ ok }) => ok).sort()).toEqual([false, true, true])
    for (const max_uses of [0, -1, 1.5, '3', null])
      expect(await guard.use(outcome.value, { ...order, max_uses })).toMatchObject({
        ok: max_uses === null,
      })
    await expect(guardWith().use(outcome.value, order)).rejects.toThrow('no store of uses')
  })
})

describe('the issuer’s keys', () => {
  test('are kept, and read again for an unknown one at most every 30 seconds', async () => {
    const guard = guardWith()
    const next = await makeKey('k2')
    const sent = async () =>
      (await guard.verify(request(`Bearer ${await token({}, { kid: 'k2' }, next.privateKey)}`))).ok
    asked.length = 0
    for (let index = 0; index < 5; index += 1)
      expect((await guard.verify(request(`Bearer ${await token()}`))).ok).toBe(true)
    expect(asked).toHaveLength(2)
    publish(key.jwk, next.jwk)
    for (let index = 0; index < 5; index += 1) expect(await sent()).toBe(false)
    expect(asked).toHaveLength(2)
    now += 30_000
    expect(await sent()).toBe(true)
    expect(asked).toHaveLength(4)
    publish(key.jwk)
  })

  test.each([
    ['names another issuer', () => ({ issuer: 'https://elsewhere.test', jwks_uri: `${issuer}/jwks` })],
    ['sends elsewhere', () => `${issuer}/jwks`],
    ['keeps its keys where anybody can change them', () => ({ issuer, jwks_uri: 'http://keys.test/jwks' })],
    ['is too large', () => ({ issuer, jwks_uri: `${issuer}/jwks`, padding: 'x'.repeat(300_000) })],
  ])('cannot be had from a document that %s: 503, and nobody passes', async (_, document) => {
    answers = { ...answers, '/.well-known/oauth-authorization-server/oauth': document() }
    expect(await refusal(`Bearer ${await token()}`)).toMatchObject({
      status: 503,
      error: 'temporarily_unavailable',
      headers: { 'retry-after': '1' },
    })
    publish(key.jwk)
  })

  test('given by hand are the only ones', async () => {
    asked.length = 0
    const outcome = await guardWith({ jwks: { keys: [key.jwk] } }).verify(request(`Bearer ${await token()}`))
    expect(outcome.ok).toBe(true)
    expect(asked).toEqual([])
  })
})

test('an API that asks the issuer refuses what was revoked, and everybody where there is no answer', async () => {
  const introspection = {
    endpoint: `${issuer}/introspect`,
    authenticate: async () => ({ client_id: 'broker', client_assertion: 'x' }),
  }
  const ask = async () => refusal(`Bearer ${await token()}`, { introspection })
  answers = { ...answers, '/oauth/introspect': { active: true } }
  expect(await ask()).toBe('let through')
  answers = { ...answers, '/oauth/introspect': { active: false } }
  expect(await ask()).toMatchObject({ error: 'invalid_token' })
  answers = { ...answers, '/oauth/introspect': { active: 'yes' } }
  expect(await ask()).toMatchObject({ error: 'temporarily_unavailable' })
  publish(key.jwk)
})

test('a guard that would leave a check open cannot be made', () => {
  expect(() => guardWith({ issuer: 'http://remit.test/oauth' })).toThrow('https')
  expect(() => guardWith({ resource: 'broker' })).toThrow('https')
  expect(() => guardWith({ requiredScopes: ['a"b c'] })).toThrow('scope')
})
