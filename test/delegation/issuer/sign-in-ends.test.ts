import * as client from 'openid-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openOwnBrowser, signIn, signInAction } from '../../http/own-browser.ts'
import { faultyDatabase } from '../../security/faulty-database.ts'
import { createAuthenticator } from '../../support/authenticator.ts'
import type { Browser, Page } from './browser.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

const faulty = faultyDatabase()
let world: IssuerWorld
let later = 0
beforeAll(async () => {
  world = await openIssuerWorld({ now: () => Date.now() + later, database: faulty.wrap })
  await world.put({
    'handbook/anne': { text: 'Travel for anne.', access: { viewers: ['user:anne', 'user:bob'] } },
  })
})
afterAll(() => world?.[Symbol.asyncDispose]())
beforeEach(() => {
  // So that the tests do not share one minute's tries.
  later += 60_000
})

async function configuration(id: 'cli' | 'agent-app') {
  const own = id === 'cli' ? undefined : world.keys[id]
  const authentication =
    own === undefined ? client.None() : client.PrivateKeyJwt({ key: own.key, kid: own.kid })
  return client.discovery(new URL(world.issuer), id, undefined, authentication, {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
}

interface Flow {
  readonly as: client.Configuration
  readonly page: Page
  readonly verifier: string
}

/** Up to the first page that is shown. */
async function begun(id: 'cli' | 'agent-app', browser: Browser): Promise<Flow> {
  const as = await configuration(id)
  const verifier = client.randomPKCECodeVerifier()
  const start = client.buildAuthorizationUrl(as, {
    redirect_uri: world.redirectUri,
    scope: 'docs.search',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  return { as, verifier, page: await browser.open(start.href) }
}

/** Signs in where it is asked to, consents, and redeems the code. */
async function tokensOf(id: 'cli' | 'agent-app', browser: Browser, user: string): Promise<Held> {
  const { as, page, verifier } = await begun(id, browser)
  const objects = id === 'cli' ? undefined : ['collection:handbook']
  const back = await world.consent(browser, page, { user, ...(objects && { objects }) })
  return { as, tokens: await client.authorizationCodeGrant(as, back.url, { pkceCodeVerifier: verifier }) }
}

interface Held {
  readonly as: client.Configuration
  readonly tokens: client.TokenEndpointResponse
}
const refreshed = ({ as, tokens }: Held) => client.refreshTokenGrant(as, tokens.refresh_token ?? 'none')
const statusOf = async ({ tokens }: Held) =>
  (await world.call('POST', '/retrieve', { token: tokens.access_token, body: { query: 'travel' } })).status
const asksForSignIn = async (browser: Browser) =>
  (await begun('cli', browser)).page.text.includes('name="password"')
const isSignedIn = async (browser: Browser) =>
  (await browser.open(`${world.url}/passkeys`)).url.pathname === '/passkeys'
const liveOf = (person: string) => world.service.delegations.listOf(`user:${person}`)

test('a browser that signed out is asked to sign in again by the authorization server too', async () => {
  const browser = world.browser()
  await tokensOf('cli', browser, 'anne')
  await signIn(world, browser, 'anne')
  expect(await asksForSignIn(browser)).toBe(false)
  await browser.submit(await browser.open(`${world.url}/delegations`), '/sign-out')
  expect(await asksForSignIn(browser)).toBe(true)
})

test('a sign-out leaves everybody else signed in', async () => {
  const carol = world.browser()
  await tokensOf('cli', carol, 'carol')
  const anne = world.browser()
  await signIn(world, anne, 'anne')
  await anne.submit(await anne.open(`${world.url}/delegations`), '/sign-out')
  expect(await asksForSignIn(carol)).toBe(false)
})

describe('a new password', () => {
  test('ends the sessions, what waits for the person, and the programs that act as them', async () => {
    const browser = world.browser()
    const heldTokens = await tokensOf('cli', browser, 'anne')
    const own = world.browser()
    await signIn(world, own, 'anne')
    const waiting = await begun('cli', browser)
    expect(await statusOf(heldTokens)).toBe(200)
    await world.service.issuer.passwords.set('anne', 'correct horse battery')
    expect(await isSignedIn(own)).toBe(false)
    expect(await asksForSignIn(browser)).toBe(true)
    const consented = await browser.submit(waiting.page, '/consent', { seconds: '3600' })
    expect(consented.url.searchParams.has('code')).toBe(false)
    await expect(refreshed(heldTokens)).rejects.toMatchObject({ error: 'invalid_grant' })
    expect(await statusOf(heldTokens)).toBe(401)
  })

  test('leaves what was lent to agents', async () => {
    const heldTokens = await tokensOf('agent-app', world.browser(), 'anne')
    await world.service.issuer.passwords.set('anne', 'correct horse battery')
    expect(await statusOf(await renewed(heldTokens))).toBe(200)
  })
})

describe('a sign-in that is under way when a new password is set', () => {
  const statements = { checked: /with link as/ }
  let set = 0
  /** Runs what is given after the password was found to fit, and before anything comes of it. */
  async function meanwhile(change: () => Promise<unknown>, going: () => Promise<Page>): Promise<Page> {
    try {
      faulty.set(statements.checked, async () => {
        faulty.set(undefined)
        await change()
        set += 1
      })
      return await going()
    } finally {
      faulty.set(undefined)
    }
  }
  const newPassword = () => world.service.issuer.passwords.set('carol', 'correct horse battery')
  const sessions = () => world.database.query(`select from browser_sessions where person = 'carol'`)

  test('begins no session, and its browser is none that the account is known by', async () => {
    await newPassword()
    set = 0
    const browser = world.browser()
    const page = await browser.open(`${world.url}/sign-in?next=/passkeys`)
    const form = { user: 'carol', password: 'correct horse battery' }
    const after = await meanwhile(newPassword, () => browser.submit(page, signInAction(page), form))
    expect(set).toBe(1)
    expect(after.text).toContain('This account cannot sign in now.')
    expect([browser.cookies.has('remit_session'), browser.cookies.has('remit_known')]).toEqual([false, false])
    expect(await sessions()).toEqual([])
    await browser.submit(page, signInAction(page), form)
    expect([await isSignedIn(browser), browser.cookies.has('remit_known')]).toEqual([true, true])
  })

  test('is refused by the authorization server too', async () => {
    set = 0
    const browser = world.browser()
    const { page } = await begun('cli', browser)
    const form = { user: 'carol', password: 'correct horse battery' }
    const after = await meanwhile(newPassword, () => browser.submit(page, '/sign-in', form))
    expect(set).toBe(1)
    expect(after.text).not.toContain('Agree')
    expect(await asksForSignIn(browser)).toBe(true)
  })

  test('consents to nothing by a session that the authorization server wrote down late', async () => {
    const browser = world.browser()
    const { page } = await begun('agent-app', browser)
    const asked = await browser.submit(page, '/sign-in', { user: 'bob', password: 'correct horse battery' })
    expect(asked.text).toContain('Agree')
    const before = await liveOf('bob')
    // As a new password alone would have left it, had the session not been there yet.
    await world.database.query(
      `update passwords set changed_at = changed_at + interval '1 s' where person = 'bob'`,
    )
    const answer = await browser.submit(asked, '/consent', { seconds: '3600', object: 'collection:handbook' })
    expect(answer.url.searchParams.has('code')).toBe(false)
    expect(await liveOf('bob')).toEqual(before)
    expect((await begun('agent-app', browser)).page.text).not.toContain('Agree')
  })
})

const renewed = async (heldTokens: Held): Promise<Held> => ({
  ...heldTokens,
  tokens: await refreshed(heldTokens),
})

test('removing a passkey ends what another browser holds at the authorization server', async () => {
  const stranger = world.browser()
  await tokensOf('cli', stranger, 'anne')
  const own = await openOwnBrowser(world, 'anne')
  const page = await own.browser.open(`${world.url}/passkeys`)
  const options = /data-options="([^"]*)"/
    .exec(page.text)?.[1]
    ?.replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&')
  const answer = JSON.stringify(createAuthenticator(world.url).make(JSON.parse(options ?? '{}')))
  const added = await own.browser.submit(page, '/passkeys', { answer, title: 'Phone' })
  expect(await asksForSignIn(stranger)).toBe(false)
  await own.browser.submit(added, '/passkeys/remove')
  expect(await isSignedIn(own.browser)).toBe(true)
  expect(await asksForSignIn(stranger)).toBe(true)
})

describe.each([
  { what: 'a passkey', page: '/passkeys', action: '/passkeys/remove', left: 'passkeys' },
  { what: 'a link', page: '/accounts', action: '/accounts/end', left: 'account_links' },
])('$what whose end is cut short', ({ page, action, left }) => {
  test('is still there, and pressing again signs out every other browser', async () => {
    const stranger = world.browser()
    await signIn(world, stranger, 'dan')
    const own = await openOwnBrowser(world, 'dan')
    await added[left]?.('dan')
    const shown = await own.browser.open(`${world.url}${page}`)
    const countOf = async () =>
      (await world.database.query(`select from ${left} where person = 'dan'`)).length
    try {
      // The one that signs out; a link ends sessions of its own before.
      faulty.set(/delete from browser_sessions[^;]*id_hash <>/)
      await own.browser.submit(shown, action).catch(() => undefined)
      expect(faulty.hits()).toBe(1)
    } finally {
      faulty.set(undefined)
    }
    expect([await countOf(), await isSignedIn(stranger)]).toEqual([1, true])
    await own.browser.submit(shown, action)
    expect([await countOf(), await isSignedIn(stranger)]).toEqual([0, false])
    expect(await isSignedIn(own.browser)).toBe(true)
  })
})

const added: Readonly<Record<string, (person: string) => Promise<unknown>>> = {
  passkeys: (person) =>
    world.database.query(
      `insert into passkeys (id, person, public_key, counter, backup_eligible, backed_up, title, created_at, verifies_from)
       values ('of-' || $1, $1, '', 0, false, false, 'Phone', $2, $2)`,
      [person, new Date(Date.now() + later)],
    ),
  account_links: (person) =>
    world.service.accountLinks.link(
      { issuer: 'https://elsewhere.test', sub: `s-${person}`, person, verified: true },
      { subject: `user:${person}`, actors: [], client: 'remit-pages', txn: 't_1' },
    ),
}

describe('somebody who is disabled', () => {
  test('gets nothing back when they are enabled, and what they lent stands', async () => {
    const browser = world.browser()
    const own = world.browser()
    const heldTokens = await tokensOf('cli', browser, 'bob')
    await signIn(world, own, 'bob')
    const lentDelegation = await world.lend('bob', 'research-bot', 'collection:handbook')
    const { barring } = world.service.issuer
    await barring.bar('bob')
    expect(await isSignedIn(own)).toBe(false)
    await barring.admit('bob')
    expect(await isSignedIn(own)).toBe(false)
    expect(await asksForSignIn(browser)).toBe(true)
    await expect(refreshed(heldTokens)).rejects.toMatchObject({ error: 'invalid_grant' })
    expect(await statusOf(heldTokens)).toBe(401)
    expect(await world.service.delegations.isLive(lentDelegation)).toBe(true)
  })

  test('loses the grants of agents too', async () => {
    const heldTokens = await tokensOf('agent-app', world.browser(), 'bob')
    const { barring } = world.service.issuer
    await barring.bar('bob')
    await barring.admit('bob')
    await expect(refreshed(heldTokens)).rejects.toMatchObject({ error: 'invalid_grant' })
  })

  test('cannot consent while they are, whatever page is open', async () => {
    const browser = world.browser()
    await tokensOf('cli', browser, 'bob')
    const { page } = await begun('agent-app', browser)
    expect(page.text).toContain('/consent')
    const before = await liveOf('bob')
    // As one whose session was read before it ended: only the bar is left to stop it.
    await world.database.query(
      `insert into revocations (kind, key, reason, created_at) values ('subject', 'user:bob', 'tests', now())`,
    )
    const answer = await browser.submit(page, '/consent', { seconds: '3600', object: 'collection:handbook' })
    expect(answer.url.searchParams.has('code')).toBe(false)
    expect(await liveOf('bob')).toEqual(before)
    await world.service.issuer.barring.admit('bob')
  })
})
