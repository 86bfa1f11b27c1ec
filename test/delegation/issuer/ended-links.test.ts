import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { callbackPath } from '../../../src/delegation/upstream/provider.ts'
import { clientSecret, secretVariable, startUpstream, type UpstreamDouble } from '../../support/upstream.ts'
import { type Browser, openBrowser, type Page } from './browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from './world.ts'

const broker = 'https://broker.test/api'
const order = JSON.stringify([{ type: 'trade_order', symbol: 'ACME', quantity: 10 }])
const atBroker = { resource: broker, scope: 'orders.place', authorization_details: order }
let double: UpstreamDouble
let world: IssuerWorld

beforeAll(async () => {
  double = await startUpstream()
  world = await openIssuerWorld({
    env: { TRUSTED_ISSUERS: JSON.stringify([double.entry('up')]), [secretVariable]: clientSecret },
  })
  double.redirectUris = [`${world.url}${callbackPath('up')}`]
  await world.put({ 'handbook/anne': { text: 'Travel for anne.', access: { viewers: ['user:anne'] } } })
  await world.service.issuer.resources.save({
    resource: broker,
    scopes: ['orders.place'],
    authorizationDetailsTypes: ['trade_order'],
    allowedClients: ['agent-app'],
    takesVerification: false,
  })
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await double?.[Symbol.asyncDispose]()
})
beforeEach(async () => {
  await world.database.query('delete from account_links')
  for (const sub of ['u-1', 'u-2'])
    await world.service.accountLinks.link({ issuer: double.issuer, sub, person: 'anne' }, recordedAs)
  double.person = { sub: 'u-1', name: 'Anne of Upstream' }
})

const recordedAs = { subject: 'user:anne', actors: [], client: 'remit-pages', txn: 't_1' } as const
const barred = { kind: 'subject', id: 'user:up/u-1' } as const
const onwards = ({ text }: Page): string =>
  (/http-equiv="refresh" content="0;url=([^"]+)"/.exec(text)?.[1] ?? `nowhere:\n${text}`).replaceAll(
    '&amp;',
    '&',
  )

async function through(browser: Browser, page: Page): Promise<Page> {
  const form = /action="([^"]*\/sign-in\/upstream[^"]*)"/.exec(page.text)?.[1] ?? 'none'
  const going = await browser.submit(page, form, { provider: 'up' })
  const back = await browser.open((await openBrowser(double.issuer).open(onwards(going))).url.href)
  return browser.open(new URL(onwards(back), world.url).href)
}

async function onOurPages(browser = world.browser()): Promise<Browser> {
  await through(browser, await browser.open(`${world.url}/sign-in?next=/passkeys`))
  return browser
}

const isSignedIn = async (browser: Browser) =>
  (await browser.open(`${world.url}/passkeys`)).url.pathname === '/passkeys'

async function configuration() {
  const { key, kid } = world.keys['agent-app']
  return client.discovery(new URL(world.issuer), 'agent-app', undefined, client.PrivateKeyJwt({ key, kid }), {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
}

/** Where the browser stands when the agent's program asks: the sign-in, or the consent. */
async function asked(browser: Browser, params: Record<string, string> = atBroker) {
  const verifier = client.randomPKCECodeVerifier()
  const start = client.buildAuthorizationUrl(await configuration(), {
    redirect_uri: world.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...params,
  })
  return { page: await browser.open(start.href), verifier }
}

async function agreed(browser: Browser) {
  const { page, verifier } = await asked(browser)
  const back = await browser.submit(await through(browser, page), '/consent', { seconds: '3600' })
  const config = await configuration()
  const tokens = await client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier: verifier })
  const delegation = String(decodeJwt(tokens.access_token)['delegation'])
  return { tokens, delegation, refresh: () => client.refreshTokenGrant(config, tokens.refresh_token ?? '') }
}

const refused = { error: 'invalid_grant' }

/** The person's own browser, in which they signed in here. */
async function signedInHere(): Promise<Browser> {
  const browser = world.browser()
  const page = await browser.open(`${world.url}/sign-in?next=/accounts`)
  const form = /action="(\/sign-in\?[^"]*)"/.exec(page.text)?.[1] ?? 'none'
  await browser.submit(page, form, { user: 'anne', password })
  return browser
}

/** They end the link on the page. */
async function endLink(sub = 'u-1'): Promise<void> {
  const browser = await signedInHere()
  const accounts = await browser.open(`${world.url}/accounts`)
  await browser.submit(accounts, '/accounts/end', { issuer: double.issuer, sub })
}

describe('a link that its person ends', () => {
  test('ends the refresh tokens, consents and delegations that came of it, at others’ APIs too', async () => {
    const { delegation, refresh } = await agreed(world.browser())
    await endLink()
    await expect(refresh()).rejects.toMatchObject(refused)
    expect(await world.service.delegations.isLive(delegation)).toBe(false)
    expect(await world.database.query("select 1 from oauth_grants where upstream_sub = 'u-1'")).toEqual([])
    expect(
      await world.database.query("select 1 from account_links where sub = 'u-1' and person = 'anne'"),
    ).toEqual([])
  })

  test('gives nothing back when it is made again', async () => {
    const browser = await onOurPages()
    const { refresh } = await agreed(browser)
    await endLink()
    await world.service.accountLinks.link({ issuer: double.issuer, sub: 'u-1', person: 'anne' }, recordedAs)
    await expect(refresh()).rejects.toMatchObject(refused)
    expect(await isSignedIn(browser)).toBe(false)
  })

  test('lets nothing more be agreed to in the browser that came through it', async () => {
    const browser = world.browser()
    await agreed(browser)
    const waiting = await asked(browser)
    expect(waiting.page.text).toContain('Agree')
    await endLink()
    const before = await world.service.delegations.listOf('user:anne')
    await browser.submit(waiting.page, '/consent', { seconds: '3600' }).catch(() => undefined)
    expect((await asked(browser)).page.text).not.toContain('Agree')
    expect(await world.service.delegations.listOf('user:anne')).toEqual(before)
  })

  test('leaves what was agreed to through the person’s other link, and asks that browser to sign in again', async () => {
    double.person = { sub: 'u-2', name: 'Anne elsewhere' }
    const browser = world.browser()
    const { delegation, refresh } = await agreed(browser)
    await endLink('u-1')
    expect(decodeJwt((await refresh()).access_token).sub).toBe('anne')
    expect(await world.service.delegations.isLive(delegation)).toBe(true)
    expect((await asked(browser)).page.text).toContain('Sign in')
  })
})

test('a link that is gone from the table gives no token, and no page, by what came of it', async () => {
  const browser = await onOurPages()
  const { refresh } = await agreed(browser)
  expect(await isSignedIn(browser)).toBe(true)
  await world.database.query("delete from account_links where sub = 'u-1'")
  expect(await isSignedIn(browser)).toBe(false)
  await expect(refresh()).rejects.toMatchObject(refused)
})

describe('an account that is barred by its name elsewhere', () => {
  test('signs in nowhere as the person to whom it is linked, and cannot agree to anything as them', async () => {
    await world.service.revocations.revoke(barred, { reason: 'test' })
    try {
      expect(await isSignedIn(await onOurPages())).toBe(false)
      const browser = world.browser()
      const page = await through(browser, (await asked(browser)).page)
      expect(page.text).toContain('This account cannot sign in now.')
    } finally {
      await world.service.revocations.lift(barred)
    }
  })

  test('is signed out of our pages and gets no token by a consent of before', async () => {
    const browser = await onOurPages()
    const { refresh } = await agreed(browser)
    await world.service.revocations.revoke(barred, { reason: 'test' })
    try {
      expect(await isSignedIn(browser)).toBe(false)
      await expect(refresh()).rejects.toMatchObject(refused)
      expect((await asked(browser)).page.text).not.toContain('Agree')
    } finally {
      await world.service.revocations.lift(barred)
    }
  })

  test('gets nothing back when it is admitted again, and what was lent by it stands', async () => {
    const { barring } = world.service.issuer
    const browser = await onOurPages()
    const { tokens, delegation, refresh } = await agreed(browser)
    const waiting = await asked(browser)
    const own = await signedInHere()
    await barring.bar('up/u-1')
    expect(await isSignedIn(browser)).toBe(false)
    await expect(refresh()).rejects.toMatchObject(refused)
    expect(await barring.admit('up/u-1')).toBe(true)
    expect(await isSignedIn(browser)).toBe(false)
    await expect(refresh()).rejects.toMatchObject(refused)
    const late = await browser.submit(waiting.page, '/consent', { seconds: '3600' })
    expect(late.url.searchParams.has('code')).toBe(false)
    expect((await asked(browser)).page.text).toContain('Sign in')
    const ended = await world.database.query('select from revocations where kind = $1 and key like $2', [
      'grant',
      `%${String(decodeJwt(tokens.access_token)['grant_id'])}`,
    ])
    expect(ended).toHaveLength(1)
    expect(await world.service.delegations.isLive(delegation)).toBe(true)
    // The person is not the account: what they signed in by themself goes on.
    expect(await isSignedIn(own)).toBe(true)
  })

  test('bars neither the person by their other link nor anybody who is not barred', async () => {
    await world.service.revocations.revoke(barred, { reason: 'test' })
    try {
      double.person = { sub: 'u-2', name: 'Anne elsewhere' }
      const browser = await onOurPages()
      expect(await isSignedIn(browser)).toBe(true)
      const { refresh } = await agreed(browser)
      expect(decodeJwt((await refresh()).access_token).sub).toBe('anne')
    } finally {
      await world.service.revocations.lift(barred)
    }
  })
})
