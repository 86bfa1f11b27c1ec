import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Browser, Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { type Authenticator, createAuthenticator } from '../support/authenticator.ts'

let world: IssuerWorld
let later = 0
beforeAll(async () => {
  world = await openIssuerWorld({ now: () => Date.now() + later })
})
afterAll(() => world?.[Symbol.asyncDispose]())
beforeEach(() => {
  // So that the tests do not share one minute's tries.
  later += 60_000
})

/** What a form gives to its script. */
function optionsOf({ text }: Page) {
  const found = /data-options="([^"]*)"/.exec(text)?.[1]
  if (found === undefined) throw new Error(`There is no passkey form:\n${text}`)
  return JSON.parse(found.replaceAll('&quot;', '"').replaceAll('&amp;', '&')) as {
    challenge: string
    user: { id: string }
  }
}

const signInAction = ({ text }: Page): string => /action="(\/sign-in\?[^"]*)"/.exec(text)?.[1] ?? 'none'
const passkeyAction = ({ text }: Page): string =>
  /action="([^"]*\/sign-in\/passkey[^"]*)"/.exec(text)?.[1] ?? 'none'

async function signedIn(user: string, browser = world.browser()): Promise<Browser> {
  const page = await browser.open(`${world.url}/sign-in?next=/passkeys`)
  const after = await browser.submit(page, signInAction(page), { user, password })
  expect(after.url.pathname).toBe('/passkeys')
  return browser
}

async function registered(user: string, title = 'Phone'): Promise<Authenticator> {
  const browser = await signedIn(user)
  // As if by another one of theirs.
  await world.database.query('update browser_sessions set verified_at = $2 where person = $1', [
    user,
    new Date(Date.now() + later),
  ])
  const page = await browser.open(`${world.url}/passkeys`)
  const device = createAuthenticator(world.url)
  const answer = JSON.stringify(device.make(optionsOf(page)))
  const after = await browser.submit(page, '/passkeys', { answer, title })
  expect(after.text).toContain(title)
  return device
}

const answered = async (browser: Browser, page: Page, device: Authenticator) =>
  browser.submit(page, passkeyAction(page), { answer: JSON.stringify(device.answer(optionsOf(page))) })

async function authorization(parameters: Readonly<Record<string, string>> = {}) {
  const verifier = client.randomPKCECodeVerifier()
  const query = new URLSearchParams({
    client_id: 'cli',
    response_type: 'code',
    redirect_uri: world.redirectUri,
    scope: 'openid docs.search',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...parameters,
  })
  return { url: `${world.issuer}/auth?${query}`, verifier }
}

describe('a passkey', () => {
  test('signs in on our own pages without anything typed', async () => {
    const device = await registered('anne')
    const browser = world.browser()
    const after = await answered(browser, await browser.open(`${world.url}/sign-in?next=/passkeys`), device)
    expect(after.url.pathname).toBe('/passkeys')
    expect(after.text).toContain('<strong>anne</strong>')
    const rows = await world.database.query(
      "select detail from decision_records where event = 'signed_in' order by at desc limit 1",
    )
    expect(rows).toEqual([{ detail: { at: 'pages', amr: ['swk', 'user', 'mfa'] } }])
  })

  test('signs in at the authorization server, and the token says how', async () => {
    const device = await registered('anne')
    const { url, verifier } = await authorization()
    const browser = world.browser()
    const consent = await answered(browser, await browser.open(url), device)
    const back = await browser.submit(consent, '/consent', { seconds: '3600' })
    const config = await client.discovery(new URL(world.issuer), 'cli', undefined, client.None(), {
      execute: [client.allowInsecureRequests],
    })
    const tokens = await client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier: verifier })
    expect(decodeJwt(tokens.access_token)).toMatchObject({ sub: 'anne', amr: ['swk', 'user', 'mfa'] })
  })

  test.each(['own page', 'authorization server'])(
    'does not sign in at the %s what another browser began',
    async (where) => {
      const device = await registered('anne')
      const address = where === 'own page' ? `${world.url}/sign-in` : (await authorization()).url
      const mine = world.browser()
      const theirs = world.browser()
      const asked = await mine.open(address)
      const page = await theirs.open(address)
      const answer = JSON.stringify(device.answer(optionsOf(asked)))
      const after = await theirs.submit(page, passkeyAction(page), { answer })
      expect(after.text).toContain('That took too long, or was sent twice.')
      expect(theirs.cookies.has('remit_session')).toBe(false)
    },
  )

  test('that was removed is told nothing but that it was not accepted', async () => {
    const device = createAuthenticator(world.url)
    device.make({ challenge: 'x', user: { id: 'eA' } })
    const browser = world.browser()
    const after = await answered(browser, await browser.open(`${world.url}/sign-in`), device)
    expect(after.text).toContain('This passkey was not accepted.')
    expect(world.logged).toContainEqual({
      event: 'passkey_refused',
      fields: { reason: 'unknown_passkey', detail: undefined },
    })
  })

  test('cannot be guessed at: more than 30 tries a minute from one address end', async () => {
    const browser = world.browser()
    let text = ''
    for (let index = 0; index < 31; index += 1) {
      const page = await browser.open(`${world.url}/sign-in`)
      text = (await browser.submit(page, passkeyAction(page), { answer: '{}' })).text
    }
    expect(text).toContain('Too many tries.')
  })
})

describe('the page of passkeys', () => {
  test('is for who is signed in, and for no token', async () => {
    const page = await world.browser().open(`${world.url}/passkeys`)
    expect(page.url.pathname).toBe('/sign-in')
    const token = await world.token({ user: 'anne' })
    const answer = await fetch(`${world.url}/passkeys`, { headers: { authorization: `Bearer ${token}` } })
    expect(answer.status).toBe(403)
  })

  test('runs our one script and no other', async () => {
    const browser = await signedIn('bob')
    const page = await browser.open(`${world.url}/passkeys`)
    expect(page.headers.get('content-security-policy')).toContain("script-src 'self'")
    const script = await fetch(`${world.url}/passkeys.js`)
    expect(script.headers.get('content-type')).toContain('text/javascript')
    expect(await script.text()).toContain('parseCreationOptionsFromJSON')
  })

  test('names and removes, and signs out every other browser with a removal', async () => {
    await registered('bob', 'Old phone')
    const other = await signedIn('bob')
    const browser = await signedIn('bob')
    const page = await browser.open(`${world.url}/passkeys`)
    const renamed = await browser.submit(page, '/passkeys/rename', { title: 'New <name>' })
    expect(renamed.text).toContain('New &lt;name&gt;')
    const removed = await browser.submit(renamed, '/passkeys/remove')
    expect(removed.text).toContain('You have none yet.')
    expect((await other.open(`${world.url}/passkeys`)).url.pathname).toBe('/sign-in')
  })

  test('adds nothing for a sign-in of more than 15 minutes ago', async () => {
    const browser = await signedIn('carol')
    const page = await browser.open(`${world.url}/passkeys`)
    const answer = JSON.stringify(createAuthenticator(world.url).make(optionsOf(page)))
    later += 15 * 60_000 + 1
    const after = await browser.submit(page, '/passkeys', { answer, title: 'x' })
    expect(after.url.pathname).toBe('/sign-in')
    expect(after.url.searchParams.get('next')).toBe('/passkeys')
    const stale = await browser.open(`${world.url}/passkeys`)
    expect(stale.text).toContain('Sign in again')
    expect(stale.text).not.toContain('data-passkey')
  })

  test('adds nothing to one person that was asked for by another', async () => {
    const mallory = await signedIn('dan')
    const victim = await signedIn('carol')
    const device = createAuthenticator(world.url)
    const answer = JSON.stringify(device.make(optionsOf(await mallory.open(`${world.url}/passkeys`))))
    const page = await victim.open(`${world.url}/passkeys`)
    const after = await victim.submit(page, '/passkeys', { answer, title: 'x' })
    expect(after.status).toBe(422)
    expect(after.text).toContain('You have none yet.')
  })

  test.each([
    ['without its token', { csrf: '' }, undefined],
    ['from another site', {}, 'https://evil.test'],
  ])('refuses a form %s', async (_, fields, origin) => {
    const browser = await signedIn('carol')
    const page = await browser.open(`${world.url}/passkeys`)
    const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
    const answer = await fetch(`${world.url}/passkeys/remove`, {
      method: 'POST',
      headers: {
        origin: origin ?? world.url,
        cookie: `remit_session=${browser.cookies.get('remit_session')?.value}`,
      },
      body: new URLSearchParams({ csrf, id: 'x', ...fields }),
    })
    expect(answer.status).toBe(403)
  })
})

test('at an IP address nobody is offered a passkey, and passwords work', async () => {
  await using numbered = await openIssuerWorld({ env: { PUBLIC_URL: 'http://127.0.0.1:8787' } })
  const call = (path: string) => numbered.call('GET', path, { headers: { accept: 'text/html' } })
  const page = await (await call('/sign-in')).text()
  expect(page).not.toContain('passkey')
  expect(page).toContain('name="password"')
})
