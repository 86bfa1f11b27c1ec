import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { signIn } from '../../http/own-browser.ts'
import { type Authenticator, createAuthenticator } from '../../support/authenticator.ts'
import type { Browser, Page } from './browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from './world.ts'

// What is done in somebody's name at another's API takes them in front of their device, also where they
// consent.
const broker = 'https://broker.test/api'
const order = { type: 'trade_order', symbol: 'ACME', quantity: 10 }
let world: IssuerWorld
let device: Authenticator
const later = 0
const now = () => Date.now() + later

beforeAll(async () => {
  world = await openIssuerWorld({ now })
  device = createAuthenticator(world.url)
  const browser = world.browser()
  await signIn(world, browser, 'anne')
  const page = await browser.open(`${world.url}/passkeys`)
  const answer = JSON.stringify(device.make(optionsOf(page)))
  await browser.submit(page, '/passkeys', { answer, title: 'Phone' })
})
afterAll(() => world?.[Symbol.asyncDispose]())
beforeEach(() => save(true))

const save = (takesVerification: boolean) =>
  world.service.issuer.resources.save({
    resource: broker,
    scopes: ['orders.place'],
    authorizationDetailsTypes: ['trade_order'],
    allowedClients: ['agent-app', 'cli'],
    takesVerification,
  })

function optionsOf({ text }: Page) {
  const found = /data-options="([^"]*)"/.exec(text)?.[1] ?? '{}'
  return JSON.parse(found.replaceAll('&quot;', '"').replaceAll('&amp;', '&')) as {
    challenge: string
    user: { id: string }
  }
}

const direct = { resource: broker, scope: 'orders.place', authorization_details: JSON.stringify([order]) }

/** Signed in by password, in front of what is asked. */
async function asked(
  browser: Browser,
  by = 'agent-app',
  parameters: Readonly<Record<string, string>> = direct,
) {
  const verifier = client.randomPKCECodeVerifier()
  const query = new URLSearchParams({
    client_id: by,
    response_type: 'code',
    redirect_uri: world.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...parameters,
  })
  const first = await browser.open(`${world.issuer}/auth?${query}`)
  return { page: await browser.submit(first, '/sign-in', { user: 'anne', password }), verifier }
}

/** By the page's link, with the passkey; back to what was asked. */
async function shown(browser: Browser, page: Page): Promise<Page> {
  const [, link = ''] = /href="(\/sign-in\?next=[^"]+)"/.exec(page.text) ?? []
  const form = await browser.open(new URL(link, world.url).href)
  const action = /action="([^"]*\/sign-in\/passkey[^"]*)"/.exec(form.text)?.[1] ?? ''
  return browser.submit(form, action, { answer: JSON.stringify(device.answer(optionsOf(form))) })
}

const agree = (browser: Browser, page: Page) => browser.submit(page, '/consent', { seconds: '3600' })
const isAgreed = ({ url }: Page) => url.searchParams.has('code')

test('an order by a password alone is not agreed to; by a passkey it is, and the API is told so', async () => {
  const browser = world.browser()
  const { page, verifier } = await asked(browser)
  expect(page.text).toContain('Show that it is you')
  expect(page.text).not.toContain('>Agree<')
  const refused = await agree(browser, page)
  expect(isAgreed(refused)).toBe(false)
  expect(refused.text).toContain('First show that it is you who sits there.')
  const again = await shown(browser, page)
  expect(again.url.pathname).toBe(page.url.pathname)
  expect(again.text).toContain('>Agree<')
  const back = await agree(browser, again)
  const { key, kid } = world.keys['agent-app']
  const config = await client.discovery(
    new URL(world.issuer),
    'agent-app',
    undefined,
    client.PrivateKeyJwt({ key, kid }),
    { execute: [client.allowInsecureRequests], algorithm: 'oauth2' },
  )
  const tokens = await client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier: verifier })
  expect(decodeJwt(tokens.access_token)).toMatchObject({ aud: broker, amr: ['pwd', 'swk', 'user', 'mfa'] })
})

test('nor by what was shown more than five minutes ago, or by somebody else in the same browser', async () => {
  const browser = world.browser()
  const { page } = await asked(browser)
  const again = await shown(browser, page)
  await world.database.query(`update browser_sessions set verified_at = $1 where person = 'anne'`, [
    new Date(now() - 300_001),
  ])
  expect(isAgreed(await agree(browser, again))).toBe(false)
  await signIn(world, browser, 'bob')
  await world.database.query('update browser_sessions set verified_at = $1', [new Date(now())])
  expect(isAgreed(await agree(browser, again))).toBe(false)
})

test('nor by details of that API which an agent is handed, to carry them there', async () => {
  const located = JSON.stringify([{ ...order, locations: [broker] }])
  const handed = {
    resource: `${world.url}/agents/research-bot`,
    scope: 'docs.search',
    authorization_details: located,
  }
  const browser = world.browser()
  const { page } = await asked(browser, 'cli', handed)
  expect(page.text).not.toContain('>Agree<')
  expect(isAgreed(await agree(browser, page))).toBe(false)
})

test('but where its row says that it takes none, and for our own API', async () => {
  await save(false)
  for (const parameters of [direct, { scope: 'docs.search', resource: world.url }]) {
    const browser = world.browser()
    const { page } = await asked(browser, 'cli', parameters)
    expect(page.text).toContain('>Agree<')
    expect(isAgreed(await agree(browser, page))).toBe(true)
  }
})
