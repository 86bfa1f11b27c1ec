import { decodeJwt, decodeProtectedHeader, exportJWK } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { makeHolder } from '../../support/dpop.ts'
import { createAsking } from './asking.ts'
import { byHand, type Program, type Said, type Signing } from './by-hand.ts'
import { openNotified } from './notified.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

// OpenID's conformance suite takes Java, MongoDB and TLS with certificates of clients. What each module of
// its plan fapi-ciba-id1-test-plan does is done here by hand, in the plan's order:
// `npx vitest run test/delegation/issuer/fapi-ciba.test.ts`. A module that returns a text passes with that
// remark, unless it begins with `differs:` or `does not apply:`.
interface Module {
  readonly name: string
  readonly run?: () => Promise<string | undefined>
  /** Why there is nothing to run. */
  readonly not?: string
}

let world: IssuerWorld
let hand: ReturnType<typeof byHand>
let asking: Awaited<ReturnType<typeof createAsking>>
let notified: Awaited<ReturnType<typeof openNotified>>
/** As the suite wants its two clients; of each one that polls and one that is told. */
let one: Program
let two: Program
let pinged: Program
let ahead = 0

beforeAll(async () => {
  notified = await openNotified()
  world = await openIssuerWorld({
    now: () => Date.now() + ahead,
    env: { OUTBOUND_ALLOWED_ORIGINS: notified.origin },
  })
  hand = byHand(world)
  asking = await createAsking(world)
  await world.put({
    'handbook/travel': { text: 'Travel costs are refunded.', access: { viewers: ['user:anne'] } },
  })
  for (const agent of ['research-bot', 'other-bot']) await world.lend('anne', agent, 'collection:handbook')
  one = await hand.register('one', { alg: 'PS256', requestAlgorithm: 'PS256' })
  two = await hand.register('two', { agent: 'other-bot', requestAlgorithm: 'ES256' })
  const { url: notificationEndpoint } = notified
  pinged = await hand.register('pinged', { requestAlgorithm: 'ES256', notificationEndpoint })
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await notified?.[Symbol.asyncDispose]()
})
afterEach(async () => {
  ahead = 0
  notified.answer = { status: 204 }
  notified.told.length = 0
  for (const table of ['backchannel_requests', 'approvals', 'approval_askers'])
    await world.database.query(`delete from ${table}`)
})

const asked = { scope: 'openid docs.search docs.read', login_hint: 'anne' }
const bearer = 'n0t1fy-me_please~'

async function begun(program: Program, more: object = {}, signing?: Signing): Promise<string> {
  const { status, headers, body } = await hand.ask(program, { ...asked, ...more }, signing)
  expect([status, body.error, headers.get('cache-control')]).toEqual([200, undefined, 'no-store'])
  expect(body).toEqual({
    auth_req_id: expect.stringMatching(/^[A-Za-z0-9._-]{22,}$/),
    expires_in: expect.any(Number),
    interval: 5,
  })
  return String(body.auth_req_id)
}

/** An error in OAuth’s form, with its code. */
function expectError({ status, headers, body }: Said, code: string, at = 400): void {
  expect([status, body.error, headers.get('content-type')]).toEqual([
    at,
    code,
    expect.stringMatching(/^application\/json/),
  ])
  expect(String(body['error_description'] ?? '')).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/)
}

const pending = async (program: Program, id: string) =>
  expectError(await hand.poll(program, id), 'authorization_pending')

/** The token that came of it, looked at as the suite does, and used. */
async function fetched(program: Program, id: string, agent: string): Promise<string> {
  const { status, headers, body } = await hand.poll(program, id)
  expect([status, headers.get('cache-control')]).toEqual([200, 'no-store'])
  const { access_token: token = '', expires_in: seconds, id_token: idToken, token_type: type } = body
  expect([type, seconds]).toEqual(['Bearer', expect.any(Number)])
  expect(decodeProtectedHeader(String(idToken))).toMatchObject({ alg: 'ES256', kid: expect.any(String) })
  const now = Math.floor(Date.now() / 1_000)
  const claims = decodeJwt(String(idToken))
  expect(claims).toMatchObject({
    iss: world.issuer,
    aud: program.id,
    sub: 'anne',
    auth_time: expect.any(Number),
  })
  expect([Number(claims.exp) > now, Number(claims.iat) <= now + 1]).toEqual([true, true])
  expect(decodeJwt(token)).toMatchObject({ client_id: program.id, act: { sub: agent } })
  expect((await use(token)).status).toBe(200)
  return token
}

const use = (token: string, scheme = 'Bearer') =>
  world.call('POST', '/retrieve', {
    body: { query: 'travel' },
    headers: { authorization: `${scheme} ${token}` },
  })

/** A request that is wrong in one way is refused, and nobody is asked. */
async function refused(said: Said, code = 'invalid_request', at = 400): Promise<undefined> {
  expectError(said, code, at)
  expect(await asking.open('anne')).toBeUndefined()
}

const wrong = (claims: Readonly<Record<string, unknown>>) => async () =>
  refused(await hand.ask(one, asked, { claims }))
const minutes = (count: number) => Math.floor(Date.now() / 1_000) + count * 60

/** Its endpoint answers so; the flow goes on all the same. */
async function told(answer: typeof notified.answer): Promise<undefined> {
  notified.answer = answer
  const id = await begun(pinged, { client_notification_token: bearer })
  await pending(pinged, id)
  await asking.decide('anne', { answer: 'approve' })
  await expect.poll(() => notified.told).toHaveLength(1)
  expect(notified.told[0]).toMatchObject({
    method: 'POST',
    path: '/ciba',
    headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
  })
  expect(JSON.parse(notified.told[0]?.body ?? '')).toEqual({ auth_req_id: id })
  await fetched(pinged, id, 'research-bot')
  return undefined
}

/** Nothing is left that would be sent again. */
const isSettled = () =>
  expect
    .poll(
      async () =>
        (await world.database.query('select 1 from backchannel_requests where ping is not null')).length,
    )
    .toBe(0)

const onlyCertificates = 'does not apply: with certificates only; with keys the same is `invalid_request`'

const modules: readonly Module[] = [
  {
    name: 'discovery-end-point-verification',
    async run() {
      const metadata = (await (
        await fetch(`${world.issuer}/.well-known/openid-configuration`)
      ).json()) as object
      expect(metadata).toMatchObject({
        issuer: world.issuer,
        backchannel_authentication_endpoint: `${world.issuer}/backchannel`,
        backchannel_token_delivery_modes_supported: ['poll', 'ping'],
        backchannel_authentication_request_signing_alg_values_supported: expect.arrayContaining([
          'PS256',
          'ES256',
        ]),
        backchannel_user_code_parameter_supported: false,
        grant_types_supported: expect.arrayContaining(['urn:openid:params:grant-type:ciba']),
        token_endpoint_auth_methods_supported: expect.arrayContaining(['private_key_jwt']),
        token_endpoint_auth_signing_alg_values_supported: expect.arrayContaining(['PS256', 'ES256']),
        id_token_signing_alg_values_supported: expect.arrayContaining(['ES256']),
        jwks_uri: expect.any(String),
      })
      return 'differs: but for `tls_client_certificate_bound_access_tokens`: tokens are bound by DPoP'
    },
  },
  { name: 'brazil-discovery-end-point-verification', not: 'another profile' },
  {
    name: '(fapi-ciba-id1) two clients',
    async run() {
      const first = await begun(one)
      await pending(one, first)
      ahead += 5_000
      await pending(one, first)
      await asking.decide('anne', { answer: 'approve' })
      const token = await fetched(one, first, 'research-bot')
      for (const accept of ['application/json; charset=utf-8', 'application/json, application/*+json, */*']) {
        const headers = { authorization: `Bearer ${token}`, accept }
        expect((await world.call('POST', '/retrieve', { body: { query: 'travel' }, headers })).status).toBe(
          200,
        )
      }
      const signing = { header: { typ: 'oauth-authz-req+jwt' } }
      const second = await begun(two, { requested_expiry: 300 }, signing)
      await asking.decide('anne', { answer: 'approve' })
      await fetched(two, second, 'other-bot')
      expectError(await hand.poll(two, second), 'invalid_grant')
      const long = await begun(pinged, { client_notification_token: 'x'.repeat(1_024) })
      await asking.decide('anne', { answer: 'approve' })
      await expect.poll(() => notified.told[0]?.headers.authorization).toBe(`Bearer ${'x'.repeat(1_024)}`)
      await fetched(pinged, long, 'research-bot')
      return 'poll and ping; a token bound to a key in place of a certificate: see `ensure-mtls-holder-of-key-required`'
    },
  },
  {
    name: 'user-rejects-authentication',
    async run() {
      const id = await begun(pinged, { client_notification_token: bearer })
      await asking.decide('anne', { answer: 'deny' })
      await expect.poll(() => notified.told).toHaveLength(1)
      expectError(await hand.poll(pinged, id), 'access_denied')
      return undefined
    },
  },
  {
    name: 'multiple-call-to-token-endpoint',
    async run() {
      const id = await begun(one)
      const codes: (string | undefined)[] = []
      for (let call = 0; call < 5; call += 1) codes.push((await hand.poll(one, id)).body.error)
      expect(codes).toEqual(['authorization_pending', ...Array.from({ length: 4 }, () => 'slow_down')])
      return undefined
    },
  },
  {
    name: 'auth-req-id-expired',
    async run() {
      const { body } = await hand.ask(one, { ...asked, requested_expiry: 10 })
      ahead += Number(body['expires_in']) * 1_000 + 1_000
      expectError(await hand.poll(one, body.auth_req_id), 'expired_token')
      return 'half a minute is the least that a person gets, as `expires_in` says'
    },
  },
  {
    name: 'ensure-authorization-request-with-binding-message-succeeds',
    async run() {
      const id = await begun(one, { binding_message: '1234' })
      expect(await asking.open('anne')).toMatchObject({ bindingMessage: '1234' })
      await asking.decide('anne', { answer: 'approve' })
      await fetched(one, id, 'research-bot')
      return undefined
    },
  },
  {
    name: 'ensure-other-scope-order-succeeds',
    async run() {
      const id = await begun(one, { scope: 'docs.read docs.search openid' })
      await asking.decide('anne', { answer: 'approve' })
      await fetched(one, id, 'research-bot')
      return undefined
    },
  },
  {
    name: 'ensure-requested-expiry-as-string-succeeds',
    async run() {
      for (const requested of ['120', 120]) {
        const { body } = await hand.ask(one, { ...asked, requested_expiry: requested })
        // Less what answering took.
        expect(body['expires_in']).toBeGreaterThan(60)
        expect(body['expires_in']).toBeLessThanOrEqual(120)
      }
      return undefined
    },
  },
  { name: 'ensure-requested-expiry-ignored (Brazil)', not: 'another profile' },
  {
    name: 'ensure-authorization-request-with-potentially-bad-binding-message',
    async run() {
      const long = `1234 👍🏿 品川 Lorem ipsum dolor sit amet, ${'consectetur adipiscing elit, '.repeat(14)}`
      await refused(await hand.ask(one, { ...asked, binding_message: long }), 'invalid_binding_message')
      await begun(one, { binding_message: '1234 👍🏿 品川' })
      expect(await asking.open('anne')).toMatchObject({ bindingMessage: '1234 👍🏿 品川' })
      return '`invalid_binding_message` beyond 128 characters; any script below'
    },
  },
  { name: 'ensure-request-object-missing-aud-fails', run: wrong({ aud: undefined }) },
  { name: 'ensure-request-object-bad-aud-fails', run: wrong({ aud: 'https://elsewhere.test' }) },
  { name: 'ensure-request-object-missing-iss-fails', run: wrong({ iss: undefined }) },
  { name: 'ensure-request-object-bad-iss-fails', run: wrong({ iss: 'two' }) },
  { name: 'ensure-request-object-missing-exp-fails', run: wrong({ exp: undefined }) },
  { name: 'ensure-request-object-expired-exp-fails', run: () => wrong({ exp: minutes(-5) })() },
  {
    name: 'ensure-request-object-exp-is-70-minutes-in-future-fails',
    run: () => wrong({ exp: minutes(70) })(),
  },
  { name: 'ensure-request-object-missing-iat-fails', run: wrong({ iat: undefined }) },
  { name: 'ensure-request-object-missing-nbf-fails', run: wrong({ nbf: undefined }) },
  {
    name: 'ensure-request-object-nbf-is-10-minutes-in-future-fails',
    run: () => wrong({ nbf: minutes(10) })(),
  },
  {
    name: 'ensure-request-object-nbf-is-70-minutes-in-past-fails',
    run: () => wrong({ nbf: minutes(-70), exp: minutes(-11) })(),
  },
  { name: 'ensure-request-object-missing-jti-fails', run: wrong({ jti: undefined }) },
  {
    name: 'ensure-request-object-signature-algorithm-is-none-fails',
    async run() {
      const [, payload] = (await hand.request(one, asked)).split('.')
      const none = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url')
      const form = { request: `${none}.${payload}.`, ...(await hand.as(one)) }
      return refused(await hand.send('/backchannel', form))
    },
  },
  {
    name: 'ensure-request-object-signature-algorithm-is-bad-fails',
    async run() {
      const good = await hand.request(one, asked)
      const at = good.lastIndexOf('.') + 1
      const request =
        good.slice(0, at) + Buffer.from(good.slice(at), 'base64url').reverse().toString('base64url')
      return refused(await hand.send('/backchannel', { request, ...(await hand.as(one)) }))
    },
  },
  {
    name: 'ensure-request-object-signature-algorithm-is-RS256-fails',
    run: async () => refused(await hand.ask(one, asked, { by: await asRs256(one) })),
  },
  {
    name: 'ensure-request-object-signed-by-other-client-fails',
    run: async () => refused(await hand.ask(one, asked, { by: { ...two, kid: one.kid } })),
  },
  {
    name: 'ensure-authorization-request-with-multiple-hints-fails',
    run: async () => refused(await hand.ask(one, { ...asked, id_token_hint: 'a', login_hint_token: 'b' })),
  },
  {
    name: 'ensure-wrong-auth-req-id-in-token-endpoint-request',
    async run() {
      const id = await begun(one)
      expectError(await hand.poll(two, id), 'invalid_grant')
      await pending(one, id)
      return undefined
    },
  },
  {
    name: 'ensure-different-client-id-and-issuer-in-backchannel-authorization-request',
    async run() {
      const form = { request: await hand.request(one, asked), ...(await hand.as(two)) }
      await refused(await hand.send('/backchannel', form))
      return onlyCertificates
    },
  },
  {
    name: 'ensure-wrong-client-id-in-token-endpoint-request',
    async run() {
      const id = await begun(one)
      const form = { grant_type: 'urn:openid:params:grant-type:ciba', auth_req_id: id }
      const mixed = { ...(await hand.as(one)), client_id: two.id }
      expectError(await hand.send('/token', { ...form, ...mixed }), 'invalid_request')
      return onlyCertificates
    },
  },
  {
    name: 'ensure-wrong-client-id-in-backchannel-authorization-request',
    async run() {
      const form = { request: await hand.request(one, asked), ...(await hand.as(one)), client_id: two.id }
      await refused(await hand.send('/backchannel', form))
      return onlyCertificates
    },
  },
  {
    name: 'ensure-without-client-assertion-in-token-endpoint-request',
    async run() {
      const form = { grant_type: 'urn:openid:params:grant-type:ciba', auth_req_id: await begun(one) }
      expectError(await hand.send('/token', { ...form, client_id: one.id }), 'invalid_client', 401)
      return undefined
    },
  },
  {
    name: 'ensure-without-client-assertion-in-backchannel-authorization-request',
    async run() {
      const form = { request: await hand.request(one, asked), client_id: one.id }
      return refused(await hand.send('/backchannel', form), 'invalid_client', 401)
    },
  },
  {
    name: 'ensure-client-assertion-signature-algorithm-in-backchannel-authorization-request-is-RS256-fails',
    async run() {
      const form = {
        request: await hand.request(one, asked),
        ...(await hand.as(one, { by: await asRs256(one) })),
      }
      await refused(await hand.send('/backchannel', form), 'invalid_client', 401)
      return 'where the client’s key names PS256 as its algorithm'
    },
  },
  {
    name: 'ensure-client-assertion-signature-algorithm-in-token-endpoint-request-is-RS256-fails',
    async run() {
      const form = { grant_type: 'urn:openid:params:grant-type:ciba', auth_req_id: await begun(one) }
      const wrongly = await hand.as(one, { by: await asRs256(one) })
      expectError(await hand.send('/token', { ...form, ...wrongly }), 'invalid_client', 401)
      return 'where the client’s key names PS256 as its algorithm'
    },
  },
  {
    name: 'ensure-client-assertion-with-iss-aud-to-token-endpoint-succeeds',
    async run() {
      const id = await begun(two)
      await asking.decide('anne', { answer: 'approve' })
      await fetched(two, id, 'other-bot')
      return undefined
    },
  },
  {
    name: 'ping-backchannel-notification-endpoint-response-has-body',
    run: () =>
      told({ status: 200, headers: { 'content-type': 'text/plain' }, body: 'Thank you. '.repeat(100) }),
  },
  { name: 'ping-backchannel-notification-endpoint-response-401', run: () => told({ status: 401 }) },
  { name: 'ping-backchannel-notification-endpoint-response-403', run: () => told({ status: 403 }) },
  {
    name: 'ping-with-mtls-ciba-notification-endpoint-response-401-and-require-server-does-not-retry',
    async run() {
      await told({ status: 401 })
      await isSettled()
      expect(notified.told).toHaveLength(1)
      return undefined
    },
  },
  {
    name: 'ping-backchannel-notification-endpoint-return-redirect-request',
    async run() {
      await told({ status: 301, headers: { location: `${notified.origin}/elsewhere` } })
      await isSettled()
      expect(notified.told.map(({ path }) => path)).toEqual(['/ciba'])
      return undefined
    },
  },
  {
    name: 'ensure-unsigned-backchannel-authorization-request-fails',
    async run() {
      await refused(await hand.send('/backchannel', { ...asked, ...(await hand.as(one)) }))
      return 'for clients that are registered with `--signs`; others may send parameters as they are'
    },
  },
  {
    name: 'refresh-token',
    async run() {
      const id = await begun(one)
      await asking.decide('anne', { answer: 'approve' })
      expect((await hand.poll(one, id)).body).not.toHaveProperty('refresh_token')
      return 'skips itself: a yes is for five minutes, so that there is no refresh token'
    },
  },
  {
    name: 'ensure-mtls-holder-of-key-required',
    async run() {
      const holder = await makeHolder()
      const id = await begun(one)
      await asking.decide('anne', { answer: 'approve' })
      const url = `${world.issuer}/token`
      const first = await hand.poll(one, id, { dpop: await holder.proof({ url }) })
      expectError(first, 'use_dpop_nonce')
      const nonce = first.headers.get('dpop-nonce') ?? ''
      const { body } = await hand.poll(one, id, { dpop: await holder.proof({ url, nonce }) })
      expect(body['token_type']).toBe('DPoP')
      for (const scheme of ['Bearer', 'DPoP'])
        expect((await use(body.access_token ?? '', scheme)).status).toBe(401)
      return 'differs: a token is bound by DPoP, where its client asks for that; TLS ends before Remit'
    },
  },
  { name: 'connectid-… (21 modules)', not: 'another profile' },
]

/** The same key, as if it were for another algorithm. */
async function asRs256({ key, kid }: Program) {
  const jwk = await exportJWK(key)
  const format = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  const { alg: _, ...bare } = jwk
  return { kid, alg: 'RS256', key: await crypto.subtle.importKey('jwk', bare, format, false, ['sign']) }
}

const results = new Map<string, string>()

describe('the FAPI-CIBA plan of OpenID’s conformance suite', () => {
  test.each(modules.filter(({ run }) => run !== undefined))('$name', async ({ name, run }) => {
    results.set(name, (await run?.()) ?? '')
  })

  test('ends as docs/fapi-ciba.md says', async () => {
    const row = ({ name, not }: Module) => {
      const said = not === undefined ? results.get(name) : `does not apply: ${not}`
      const [, result = said === undefined ? 'failed' : 'passes', remark = ''] =
        /^(?:(differs|does not apply): )?(.*)$/.exec(said ?? '') ?? []
      return `| \`${name}\` | ${result} | ${remark} |`
    }
    await expect([head, ...modules.map(row), ''].join('\n')).toMatchFileSnapshot('../../../docs/fapi-ciba.md')
  })
})

const head = `# The FAPI-CIBA plan, module by module

OpenID's conformance suite is a service of its own (Java, MongoDB, TLS with certificates of clients) and is not run here. What
each module of its \`fapi-ciba-id1-test-plan\` does (suite of August 2026; \`private_key_jwt\`, poll and ping) runs in
[\`fapi-ciba.test.ts\`](../test/delegation/issuer/fapi-ciba.test.ts) against the whole service. That test writes this table. It certifies
nothing. The client chooses two things of FAPI-CIBA here; the server does not demand them: signed requests
(\`remit client add … --signs PS256\`), and tokens bound to a key (DPoP in place of certificates).

| module (\`fapi-ciba-id1-…\`) | result | |
|---|---|---|`
