import { once } from 'node:events'
import { type IncomingMessage, request as send } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRevocations } from '../../src/delegation/revocation/revocations.ts'
import type { Browser, Page } from '../delegation/issuer/browser.ts'
import { openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { openOwnBrowser, signIn } from './own-browser.ts'
import { openVaultWorldOn } from './vault-world.ts'

const open = () => openVaultWorldOn((options) => openIssuerWorld({ ...options, now }))
type Opened = Awaited<ReturnType<typeof open>>
let later = 0
const now = () => Date.now() + later
let opened: Opened
let world: Opened['world']
beforeAll(async () => {
  opened = await open()
  world = opened.world
})
afterAll(() => opened?.[Symbol.asyncDispose]())

interface Sent {
  readonly status: number
  readonly location: string
  readonly body: string
}

type Headers = Readonly<Record<string, string>>

/** A request whose body comes in pieces: what `rest` gives comes when that is done. */
async function sendSlowly(
  path: string,
  headers: Headers,
  first: string,
  rest: () => Promise<string>,
): Promise<Sent> {
  const method = path.startsWith('/documents/') ? 'PUT' : 'POST'
  const outgoing = send(`${world.url}${path}`, { method, headers })
  // Whoever is refused early may find the connection closed as they go on.
  outgoing.on('error', () => undefined)
  const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>
  outgoing.write(first)
  outgoing.end(await rest())
  const [response] = await answered
  const parts: Buffer[] = await response.toArray()
  const { statusCode: status = 0, headers: answer } = response
  return { status, location: answer.location ?? '', body: Buffer.concat(parts).toString() }
}

/** All but the last byte, then `meanwhile`, then that. */
function sendWhile(
  path: string,
  headers: Headers,
  body: string,
  meanwhile: () => Promise<unknown>,
): Promise<Sent> {
  const length = { 'content-length': String(body.length) }
  return sendSlowly(path, { ...headers, ...length }, body.slice(0, -1), async () => {
    // Whoever is judged by the headers alone is, by now.
    await delay(500)
    await meanwhile()
    return body.slice(-1)
  })
}

const json = { 'content-type': 'application/json' }
const form = { 'content-type': 'application/x-www-form-urlencoded' }

describe('a session that ends while a body comes in has changed nothing', () => {
  const inAnHour = () => new Date(now() + 3_600_000).toISOString()
  test.each<[string, Headers, () => object | string]>([
    [
      '/delegations',
      json,
      () => ({
        agent: 'other-bot',
        scope: ['collection:handbook'],
        expires_at: inAnHour(),
        purpose: 'tests',
      }),
    ],
    ['/connections/acme/connect', json, () => ({ agents: [], shown: {} })],
    ['/approvals/ap_none/decision', json, () => ({ answer: 'deny' })],
    ['/passkeys', form, () => 'answer=none&title=mine'],
    ['/accounts/link', form, () => 'provider=none'],
    ['/sign-out', form, () => 'a=b'],
  ])('%s', async (path, headers, bodyOf) => {
    const { browser, csrf } = await openOwnBrowser(world, 'anne')
    const cookie = `remit_session=${browser.cookies.get('remit_session')?.value}`
    const body = bodyOf()
    const { status } = await sendWhile(
      path,
      { ...headers, cookie, origin: world.url, 'x-csrf-token': csrf },
      typeof body === 'string' ? body : JSON.stringify(body),
      () => world.service.issuer.passwords.set('anne', password),
    )
    expect(status).toBe(401)
    expect(await world.service.delegations.current('user:anne', 'other-bot')).toBeUndefined()
  })
})

type ClientId = 'cli' | 'agent-app' | 'public-agent'
test('a session’s JSON that does not say how long it is is read as well, up to the same size', async () => {
  const { browser, csrf } = await openOwnBrowser(world, 'dan')
  const cookie = `remit_session=${browser.cookies.get('remit_session')?.value}`
  const headers = { ...json, cookie, origin: world.url, 'x-csrf-token': csrf }
  const lend = (more: object) =>
    sendSlowly('/delegations', headers, '{', async () => JSON.stringify(more).slice(1))
  expect((await lend({ agent: 'other-bot' })).status).toBe(422)
  expect((await lend({ agent: 'a'.repeat(70_000) })).status).toBe(413)
})

const configurationOf = (id: ClientId) => {
  const own = id === 'agent-app' ? world.keys[id] : undefined
  const authentication =
    own === undefined ? client.None() : client.PrivateKeyJwt({ key: own.key, kid: own.kid })
  return client.discovery(new URL(world.issuer), id, undefined, authentication, {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
}
const asked = async (id: ClientId) =>
  client.buildAuthorizationUrl(await configurationOf(id), {
    redirect_uri: world.redirectUri,
    scope: 'docs.search',
    code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
    code_challenge_method: 'S256',
  })

test('a consent whose sign-in ends while its form comes in lends nothing', async () => {
  const browser = world.browser()
  const first = await browser.open((await asked('agent-app')).href)
  const page = await browser.submit(first, '/sign-in', { user: 'bob', password })
  const { action, fields } = formOf(page, '/consent')
  const { status } = await sendWhile(
    action,
    { ...form, cookie: cookiesOf(browser), origin: world.url },
    new URLSearchParams([...fields, ['object', 'collection:handbook'], ['seconds', '3600']]).toString(),
    () => world.service.issuer.passwords.set('bob', password),
  )
  expect(status).toBe(404)
  expect(await world.service.delegations.current('user:bob', 'research-bot')).toBeUndefined()
})

const cookiesOf = ({ cookies }: Browser) =>
  [...cookies].map(([name, { value }]) => `${name}=${value}`).join('; ')

function formOf({ text }: Page, end: string) {
  const forms = [...text.matchAll(/<form[^>]*action="([^"]*)"[^>]*>[\s\S]*?<\/form>/g)]
  const [whole = '', action = ''] = forms.find(([, action = '']) => action.endsWith(end)) ?? []
  const hidden = [...whole.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)]
  return { action, fields: hidden.map(([, name = '', value = '']): [string, string] => [name, value]) }
}

test('a browser that signs out while it confirms a device’s code is not asked to consent', async () => {
  const browser = world.browser()
  await world.consent(browser, await browser.open((await asked('cli')).href), { user: 'carol' })
  await signIn(world, browser, 'carol')
  const confirm = async (meanwhile: () => Promise<unknown>): Promise<string> => {
    const started = await client.initiateDeviceAuthorization(await configurationOf('public-agent'), {
      scope: 'docs.search',
    })
    const entry = await browser.open(started.verification_uri)
    const { action, fields } = formOf(
      await browser.submit(entry, '/oauth/device', { user_code: started.user_code }),
      '/oauth/device',
    )
    const { location } = await sendWhile(
      new URL(action, entry.url).pathname,
      { ...form, cookie: cookiesOf(browser), accept: 'text/html' },
      new URLSearchParams(fields).toString(),
      meanwhile,
    )
    return location
  }
  expect(await confirm(async () => undefined)).toContain('/oauth/interaction/')
  const own = await browser.open(`${world.url}/delegations`)
  expect(await confirm(() => browser.submit(own, '/sign-out'))).not.toContain('/oauth/interaction/')
})

test('at the authorization server a form that is too long is refused as before', async () => {
  const tooLong = `client_id=cli&state=${'a'.repeat(70_000)}`
  const { status, body } = await sendWhile('/oauth/token', form, tooLong, async () => undefined)
  expect([status, body]).toEqual([400, expect.stringContaining('invalid_request')])
})

const revocations = () => createRevocations({ sql: world.database, clock: { now } })
/** As its client gives it back. */
async function giveBack(token: string): Promise<void> {
  const { jti = '', exp = 0 } = decodeJwt(token)
  const issuer = world.service.ownIssuer
  await revocations().revoke(
    { kind: 'jti', issuer, id: jti },
    { until: new Date(exp * 1_000), reason: 'tests' },
  )
}

describe('a token that ends while a body comes in opens nothing', () => {
  const text = { title: 'T', text: 'Travel.', mime_type: 'text/plain', access: {} }
  const bot = { user: 'anne', agent: 'research-bot' } as const
  const message = { jsonrpc: '2.0', id: 1, method: 'tools/list', params: {} }
  test.each([
    ['/documents/handbook%2Fslow', { service: 'loader' }, { ...text, collection: 'handbook' }],
    ['/documents/handbook%2Fslow/access', { service: 'loader' }, {}],
    ['/retrieve', { user: 'anne' }, { query: 'travel' }],
    ['/vault/fetch', bot, { connection: 'acme', method: 'GET', path: '/issues' }],
    ['/mcp', { ...bot, resource: 'mcp' }, message],
  ] as const)('%s', async (path, who, body) => {
    const token = await world.token(who)
    const headers = {
      ...json,
      authorization: `Bearer ${token}`,
      accept: 'application/json, text/event-stream',
    }
    const answer = await sendWhile(path, headers, JSON.stringify(body), () => giveBack(token))
    expect(answer).toMatchObject({ status: 401, body: expect.stringContaining('invalid_token') })
    expect(await world.database.query(`select id from documents where id = 'handbook/slow'`)).toEqual([])
  })
})

describe('an import under way', () => {
  const line = (id: string) =>
    `${JSON.stringify({ id, collection: 'handbook', title: id, text: `About ${id}.`, mime_type: 'text/plain', access: {} })}\n`
  const lines = (name: string, count: number) =>
    Array.from({ length: count }, (_, index) => line(`handbook/${name}-${index}`)).join('')
  const countOf = async (name: string) =>
    (await world.database.query(`select id from documents where id like $1`, [`handbook/${name}-%`])).length

  /** Fifty documents go in, then `meanwhile` happens, then ten more are sent. */
  async function importWhile(name: string, meanwhile: (token: string) => Promise<unknown>) {
    const token = await world.token({ service: 'loader' })
    const headers = { 'content-type': 'application/x-ndjson', authorization: `Bearer ${token}` }
    const { status } = await sendSlowly('/imports', headers, lines(name, 50), async () => {
      await expect.poll(() => countOf(name), { timeout: 60_000 }).toBe(50)
      await meanwhile(token)
      return lines(`${name}-more`, 10)
    })
    return { status, before: await countOf(name), more: await countOf(`${name}-more`) }
  }

  test('goes on when its token ends by itself: what began in time may end', async () => {
    const { status, more } = await importWhile('late', async () => {
      later += 301_000
    })
    expect([status, more]).toEqual([202, 10])
  })

  test.each<[string, number, (token: string) => Promise<unknown>]>([
    ['its client is removed', 403, () => world.service.clients.remove('demo-service-loader')],
    ['its token is given back', 401, giveBack],
    [
      'its token was given back, and is over since',
      401,
      async (token) => {
        await giveBack(token)
        later += 301_000
        await revocations().sweep()
      },
    ],
    [
      'its token is over, and its service is barred since',
      401,
      async () => {
        later += 301_000
        await revocations().revoke({ kind: 'subject', id: 'service:loader' }, { reason: 'tests' })
      },
    ],
  ])('stops where %s: what was taken in stays', async (what, expected, meanwhile) => {
    const name = what.replaceAll(/\W/g, '')
    const { status, before, more } = await importWhile(name, meanwhile)
    await revocations().lift({ kind: 'subject', id: 'service:loader' })
    expect({ status, before, more }).toEqual({ status: expected, before: 50, more: 0 })
    expect(await world.database.query(`select state from jobs where state = 'receiving'`)).toEqual([])
  })

  test('stops where the keys of its client are changed', async () => {
    const keyOf = (key: string) => ({ keys: [{ kty: 'EC', crv: 'P-256', x: key, y: key }] })
    const setKey = (key: string) =>
      world.database.query(`update clients set jwks = $1 where client_id = 'demo-service-loader'`, [
        JSON.stringify(keyOf(key)),
      ])
    await world.token({ service: 'loader' })
    await setKey('one')
    const { status, more } = await importWhile('keys', () => setKey('other'))
    expect([status, more]).toEqual([503, 0])
  })
})
