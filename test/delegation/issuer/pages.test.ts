import { decodeJwt, decodeProtectedHeader } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Browser, Page } from './browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from './world.ts'

let world: IssuerWorld
beforeAll(async () => {
  world = await openIssuerWorld()
  await world.put({
    'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne', 'user:bob'] } },
    'finance/budget': { collection: 'finance', text: 'Budget.', access: { owner: 'user:anne' } },
  })
})
afterAll(() => world?.[Symbol.asyncDispose]())

async function start(browser: Browser, parameters: Readonly<Record<string, string>> = {}): Promise<Page> {
  const query = new URLSearchParams({
    client_id: 'agent-app',
    response_type: 'code',
    redirect_uri: world.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
    code_challenge_method: 'S256',
    ...parameters,
  })
  return browser.open(`${world.issuer}/auth?${query}`)
}

const signIn = async (browser: Browser, user: string): Promise<Page> =>
  browser.submit(await start(browser), '/sign-in', { user, password })

describe('the sign-in page', () => {
  test('lets nobody in with a wrong password, and says the same for an account that there is not', async () => {
    const browser = world.browser()
    const page = await start(browser)
    const wrong = await browser.submit(page, '/sign-in', { user: 'dan', password: 'not the password' })
    const nobody = await browser.submit(page, '/sign-in', { user: 'zoe', password: 'not the password' })
    for (const { text } of [wrong, nobody]) expect(text).toContain('The account or the password is wrong.')
  })

  test('stops guesses at one account', async () => {
    const browser = world.browser()
    const page = await start(browser)
    const tries: string[] = []
    for (let index = 0; index < 8; index += 1)
      tries.push((await browser.submit(page, '/sign-in', { user: 'carol', password: `guess ${index}` })).text)
    expect(tries.at(-1)).toContain('Too many tries.')
    const right = await browser.submit(page, '/sign-in', { user: 'carol', password })
    expect(right.text).toContain('Too many tries.')
  })

  test('runs our one script, loads nothing else, is framed by nobody, and sends its form to us and the client only', async () => {
    const { headers, text } = await start(world.browser())
    const policy = headers.get('content-security-policy') ?? ''
    for (const part of [
      "default-src 'none'",
      "script-src 'self'",
      "frame-ancestors 'none'",
      "form-action 'self' https://app.test",
    ])
      expect(policy).toContain(part)
    expect(text.match(/<script.*?<\/script>/gs)).toEqual(['<script src="/passkeys.js" defer></script>'])
    expect(text.replace('src="/passkeys.js"', '')).not.toMatch(/<img|<link|src=/)
  })
})

describe('a form is refused', () => {
  test.each([
    ['without its token', { csrf: '' }],
    ['with another one', { csrf: 'x' }],
  ])('%s', async (_, fields) => {
    const browser = world.browser()
    const page = await start(browser)
    const answer = await browser.submit(page, '/sign-in', { user: 'anne', password, ...fields })
    expect(answer.status).toBe(403)
  })

  test('in a browser that did not start the request', async () => {
    const page = await start(world.browser())
    const answer = await world.browser().submit(page, '/sign-in', { user: 'anne', password })
    expect(answer.status).toBe(404)
  })

  test('for consent to what is not offered', async () => {
    const browser = world.browser()
    const page = await signIn(browser, 'bob')
    expect(page.text).toContain('collection:handbook')
    expect(page.text).not.toContain('collection:finance')
    const answer = await browser.submit(page, '/consent', { object: 'collection:finance', seconds: '3600' })
    expect(answer.text).toContain('Choose at least one of the things that are offered.')
    expect(await world.service.delegations.listOf('user:bob')).toEqual([])
  })
})

test('the consent page says who asks, for what, and to whom it may be passed on', async () => {
  const browser = world.browser()
  await signIn(browser, 'anne')
  const page = await start(browser, { sub_agents: 'other-bot unknown-bot' })
  for (const words of ['research-bot', 'Research desktop', 'app.test', 'other-bot', 'Until when?', 'anne'])
    expect(page.text).toContain(words)
  expect(page.text).not.toContain('unknown-bot')
  const back = await browser.submit(page, '/consent', {
    object: ['collection:handbook'],
    sub_agent: ['other-bot'],
    seconds: '3600',
  })
  expect(back.url.origin).toBe('https://app.test')
  expect(back.url.searchParams.get('iss')).toBe(world.issuer)
  const [lent] = await world.service.delegations.listOf('user:anne')
  expect(lent).toMatchObject({
    agent: 'research-bot',
    scope: ['collection:handbook'],
    subAgents: ['other-bot'],
    state: 'live',
  })
})

test('who refuses sends the browser back with access_denied and lends nothing', async () => {
  const browser = world.browser()
  const page = await signIn(browser, 'bob')
  const back = await browser.submit(page, '/refuse')
  expect(back.url.searchParams.get('error')).toBe('access_denied')
  expect(await world.service.delegations.listOf('user:bob')).toEqual([])
})

test('a yes is none to an agent that has changed since its page was shown; the page comes anew', async () => {
  const browser = world.browser()
  await signIn(browser, 'bob')
  const agents = world.service.agents
  const before = await agents.get('research-bot')
  const other = await agents.get('other-bot')
  if (before === undefined || other === undefined) throw new Error('They are registered.')
  const agree = { object: 'collection:handbook', sub_agent: 'other-bot', seconds: '3600' }
  for (const [{ jwks = null, ...changed }, more] of [
    [before, { limits: { scopes: undefined, collections: ['handbook'] } }],
    [before, { purpose: 'Something else.' }],
    [other, { sub: 'another-program' }],
  ] as const) {
    const page = await start(browser, { sub_agents: 'other-bot' })
    await agents.save({ ...changed, jwks, ...more })
    const again = await browser.submit(page, '/consent', agree)
    expect([again.status, again.text.includes('has changed since you looked')]).toEqual([409, true])
    expect(await world.service.delegations.listOf('user:bob')).toEqual([])
    await agents.save({ ...changed, jwks })
  }
  const lent = await browser.submit(await start(browser, { sub_agents: 'other-bot' }), '/consent', agree)
  expect(lent.url.origin).toBe('https://app.test')
  const [delegation] = await world.service.delegations.listOf('user:bob')
  await world.service.delegations.revoke(delegation?.id ?? '')
})

test.each([
  ['without PKCE', { code_challenge: '', code_challenge_method: '' }],
  ['for an unknown API', { resource: 'https://elsewhere.test' }],
  ['with details of an unknown form', { authorization_details: '[{"type":"document_access"}]' }],
  ['for the implicit flow', { response_type: 'token' }],
])('a request %s reaches no page', async (_, parameters) => {
  const { url } = await start(world.browser(), parameters)
  expect(url.href).toMatch(/[?#&]error=/)
})

test('a request to another address is shown, not followed', async () => {
  const page = await start(world.browser(), { redirect_uri: 'https://evil.test/callback' })
  expect(page.status).toBe(400)
  expect(page.url.origin).toBe(world.url)
})

test('discovery says the same at both addresses, whatever host the sender claims', async () => {
  const ask = async (path: string) => (await fetch(`${world.url}${path}`)).json() as Promise<object>
  const standard = await ask('/.well-known/oauth-authorization-server/oauth')
  expect(await ask('/oauth/.well-known/openid-configuration')).toEqual(standard)
  const behind = await fetch(`${world.url}/oauth/.well-known/openid-configuration`, {
    headers: { 'x-forwarded-host': 'evil.test', 'x-forwarded-proto': 'https' },
  })
  expect(await behind.json()).toEqual(standard)
  expect(standard).toMatchObject({
    issuer: world.issuer,
    token_endpoint: `${world.issuer}/token`,
    response_types_supported: ['code'],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
    authorization_response_iss_parameter_supported: true,
  })
})

test('a key that was rotated in signs the next token, and what the old one signed still counts', async () => {
  const known = world.keys['loader-app']
  const config = await client.discovery(
    new URL(world.issuer),
    'loader-app',
    undefined,
    client.PrivateKeyJwt({ key: known.key, kid: known.kid }),
    { execute: [client.allowInsecureRequests], algorithm: 'oauth2' },
  )
  const get = async () => (await client.clientCredentialsGrant(config, { scope: 'docs.write' })).access_token
  const before = await get()
  const { kid } = await world.service.keys.rotate()
  const after = await get()
  expect(decodeProtectedHeader(after).kid).toBe(kid)
  expect(decodeJwt(after).sub).toBe('loader-app')
  for (const token of [before, after])
    expect((await world.call('GET', '/jobs/j_none', { token })).status).toBe(404)
})

test('the client of a disabled agent starts nothing more', async () => {
  await world.service.agents.disable('other-bot')
  const page = await start(world.browser(), { client_id: 'helper-app' })
  expect(page.text).toContain('invalid_client')
})

test('consent to a token that is addressed to an agent says whom it is handed to, and how little it opens', async () => {
  const browser = world.browser()
  const asked = await start(browser, {
    client_id: 'cli',
    resource: `${world.url}/agents/research-bot`,
    scope: 'docs.search docs.read',
  })
  const { text } = await browser.submit(asked, '/sign-in', { user: 'anne', password })
  expect(text).toContain('hands this to the agent')
  expect(text).toContain('within what you lent it')
  expect(text).not.toContain('act as you?')
  expect(text).not.toContain('everything that you')
})

test('an agent that is limited to collections is offered no other', async () => {
  const limits = (collections: readonly string[] | undefined) =>
    world.service.agents.save({
      id: 'research-bot',
      owner: 'user:dan',
      purpose: 'tests',
      issuer: world.service.ownIssuer,
      sub: 'research-bot',
      limits: { scopes: undefined, collections },
    })
  expect((await signIn(world.browser(), 'anne')).text).toContain('collection:finance')
  await limits(['handbook'])
  try {
    const { text } = await signIn(world.browser(), 'anne')
    expect(text).toContain('collection:handbook')
    expect(text).not.toContain('collection:finance')
  } finally {
    await limits(undefined)
  }
})

test.each<[string, string, RequestInit]>([
  [
    'a form that nobody gave them',
    '',
    { method: 'POST', body: new URLSearchParams({ user_code: 'ABCD-EFGH' }) },
  ],
  ['a step that was never begun', '/x', {}],
])('who answers %s is given the form to type a device’s code', async (_, path, init) => {
  const { status, headers } = await fetch(`${world.issuer}/device${path}`, { ...init, redirect: 'manual' })
  expect([status, headers.get('location')]).toEqual([303, `${world.issuer}/device`])
})

test('a device’s code is typed: no address brings one along, and one that does is not read', async () => {
  const asked = await fetch(`${world.issuer}/device/auth`, {
    method: 'POST',
    body: new URLSearchParams({ client_id: 'public-agent', scope: 'docs.search', resource: world.url }),
  })
  const begun = (await asked.json()) as Record<string, string>
  expect(begun).toMatchObject({ user_code: expect.any(String), verification_uri: `${world.issuer}/device` })
  expect(begun).not.toHaveProperty('verification_uri_complete')
  const browser = world.browser()
  const sent = await browser.open(`${world.issuer}/device?user_code=${begun['user_code']}`)
  expect(sent.text).toContain('Enter the code that the device or program shows.')
  expect(sent.text).not.toContain(begun['user_code'])
  expect(sent.headers.get('content-security-policy')).toContain("script-src 'none'")
  const typed = await browser.submit(sent, '/oauth/device', { user_code: begun['user_code'] ?? '' })
  expect(typed.text).toContain('Is this your device?')
})
