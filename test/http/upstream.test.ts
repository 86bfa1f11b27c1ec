import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { callbackPath } from '../../src/delegation/upstream/provider.ts'
import { type Browser, openBrowser, type Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { clientSecret, secretVariable, startUpstream, type UpstreamDouble } from '../support/upstream.ts'

let double: UpstreamDouble
let other: UpstreamDouble
let world: IssuerWorld
let later = 0
beforeAll(async () => {
  double = await startUpstream()
  other = await startUpstream()
  world = await openIssuerWorld({
    now: () => Date.now() + later,
    env: {
      TRUSTED_ISSUERS: JSON.stringify([double.entry('up'), other.entry('other')]),
      [secretVariable]: clientSecret,
    },
  })
  double.redirectUris = [`${world.url}${callbackPath('up')}`]
  other.redirectUris = [`${world.url}${callbackPath('other')}`]
  await world.put({
    'handbook/up': { text: 'Travel for upstream.', access: { viewers: ['user:up/u-1'] } },
    'handbook/anne': { text: 'Travel for anne.', access: { viewers: ['user:anne'] } },
  })
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await double?.[Symbol.asyncDispose]()
  await other?.[Symbol.asyncDispose]()
})
beforeEach(async () => {
  double.person = { sub: 'u-1', name: 'Anne of Upstream' }
  double.mood = 'signs in'
  await world.database.query('delete from account_links')
})

const onwards = ({ text }: Page): string =>
  (/http-equiv="refresh" content="0;url=([^"]+)"/.exec(text)?.[1] ?? `nowhere:\n${text}`).replaceAll(
    '&amp;',
    '&',
  )

const action = ({ text }: Page): string =>
  /action="([^"]*\/sign-in\/upstream[^"]*)"/.exec(text)?.[1] ?? 'none'

/** Off to the provider and to the address that it sends back to, which the browser has not opened yet. */
async function away(browser: Browser, page: Page, form = action(page)): Promise<string> {
  const going = await browser.submit(page, form, { provider: 'up' })
  return (await openBrowser(double.issuer).open(onwards(going))).url.href
}

async function through(browser: Browser, page: Page, form?: string): Promise<Page> {
  const back = await browser.open(await away(browser, page, form))
  return browser.open(new URL(onwards(back), world.url).href)
}

const signInPage = (browser: Browser, next = '/accounts') =>
  browser.open(`${world.url}/sign-in?next=${encodeURIComponent(next)}`)

async function signedIn(user: string, browser = world.browser()): Promise<Browser> {
  const page = await signInPage(browser)
  const form = /action="(\/sign-in\?[^"]*)"/.exec(page.text)?.[1] ?? 'none'
  await browser.submit(page, form, { user, password })
  return browser
}

/** A program of the person's own gets a token by whatever sign-in this browser goes through. */
async function token(browser: Browser, signIn: (page: Page) => Promise<Page>) {
  const verifier = client.randomPKCECodeVerifier()
  const query = new URLSearchParams({
    client_id: 'cli',
    response_type: 'code',
    redirect_uri: world.redirectUri,
    scope: 'openid docs.search',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  const consent = await signIn(await browser.open(`${world.issuer}/auth?${query}`))
  const back = await browser.submit(consent, '/consent', { seconds: '3600' })
  const config = await client.discovery(new URL(world.issuer), 'cli', undefined, client.None(), {
    execute: [client.allowInsecureRequests],
  })
  return client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier: verifier })
}

async function found(accessToken: string): Promise<string[]> {
  const { results } = await world.retrieve(accessToken, { query: 'travel', top_k: 5 })
  return results.map(({ document_id }) => document_id)
}

describe('sign-in through a trusted issuer', () => {
  test('is `namespace/key` on our pages', async () => {
    const browser = world.browser()
    const after = await through(browser, await signInPage(browser))
    const page = await browser.open(new URL(onwards(after), world.url).href)
    expect(page.url.pathname).toBe('/accounts')
    expect(page.text).toContain('<strong>up/u-1</strong>')
    expect(await world.service.people.get('up/u-1')).toEqual({
      key: 'up/u-1',
      name: 'Anne of Upstream',
      upstream: { issuer: double.issuer, sub: 'u-1' },
    })
  })

  test('gives a token for that person, with who they are there, which finds what is theirs', async () => {
    const browser = world.browser()
    const tokens = await token(browser, (page) => through(browser, page))
    const claims = decodeJwt(tokens.access_token)
    expect(claims).toMatchObject({ sub: 'up/u-1', upstream: { iss: double.issuer, sub: 'u-1' } })
    // The session's own note of it is for nobody else.
    expect(decodeJwt(tokens.id_token ?? '')).not.toHaveProperty('acr')
    expect(await found(tokens.access_token)).toEqual(['handbook/up'])
  })

  test('is never the local account of the same name', async () => {
    double.person = { sub: 'anne', name: 'anne' }
    const browser = world.browser()
    const tokens = await token(browser, (page) => through(browser, page))
    expect(decodeJwt(tokens.access_token).sub).toBe('up/anne')
    expect(await found(tokens.access_token)).toEqual([])
  })

  test('shows no more than a password to other APIs while its link is less than a day old', async () => {
    double.person = { sub: 'u-1', name: 'Anne', amr: ['pwd', 'otp', 'mfa'] }
    const amrOf = async (linkedAt: Date) => {
      await world.database.query('delete from account_links')
      await world.database.query("insert into account_links values ($1, 'u-1', 'anne', $2)", [
        double.issuer,
        linkedAt,
      ])
      const browser = world.browser()
      const { access_token: given } = await token(browser, (page) => through(browser, page))
      const { sub, amr } = decodeJwt(given)
      return { sub, amr }
    }
    expect(await amrOf(new Date(Date.now() + later - 60_000))).toEqual({ sub: 'anne', amr: ['pwd'] })
    const settled = await amrOf(new Date(Date.now() + later - 86_400_001))
    expect(settled).toEqual({ sub: 'anne', amr: ['pwd', 'otp', 'mfa'] })
  })

  test('is the local account once they are linked, and no more when the link has ended', async () => {
    const account = { issuer: double.issuer, sub: 'u-1' }
    await world.database.query("insert into account_links values ($1, 'u-1', 'anne', now())", [double.issuer])
    const browser = world.browser()
    const tokens = await token(browser, (page) => through(browser, page))
    expect(decodeJwt(tokens.access_token)).toMatchObject({
      sub: 'anne',
      upstream: { iss: account.issuer, sub: account.sub },
    })
    expect(await found(tokens.access_token)).toEqual(['handbook/anne'])
    await world.database.query('delete from account_links')
    const refused = await world.call('POST', '/retrieve', {
      token: tokens.access_token,
      body: { query: 'travel' },
    })
    expect(refused.status).toBe(401)
  })

  test('keeps passwords, passkeys and links to local accounts', async () => {
    const browser = world.browser()
    await through(browser, await signInPage(browser))
    const passkeys = await browser.open(`${world.url}/passkeys`)
    expect(passkeys.text).toContain('passkeys are kept there')
    expect(passkeys.text).not.toContain('data-passkey')
    expect((await browser.open(`${world.url}/accounts`)).text).toContain('Only accounts of this service')
    expect(await world.service.people.list()).not.toContainEqual(expect.objectContaining({ key: 'up/u-1' }))
  })

  test('says so and leads back where they refused there, or the provider does not answer', async () => {
    const browser = world.browser()
    const page = await signInPage(browser)
    double.mood = 'refuses'
    const refused = await browser.open(await away(browser, page))
    expect(refused.text).toContain('You did not go on there.')
    expect(refused.text).toContain('href="/sign-in?next=%2Faccounts"')
  })
})

describe('what another browser began signs nobody in', () => {
  test('not by its address: that would sign a victim in as the attacker', async () => {
    const attacker = world.browser()
    const address = await away(attacker, await signInPage(attacker))
    const victim = world.browser()
    await away(victim, await signInPage(victim))
    const page = await victim.open(address)
    expect(page.status).toBe(400)
    expect(page.text).toContain('was not begun in this browser')
    expect(victim.cookies.has('remit_session')).toBe(false)
  })

  test('not without any cookie, nor a second time', async () => {
    const browser = world.browser()
    const address = await away(browser, await signInPage(browser))
    expect((await world.browser().open(address)).status).toBe(400)
    expect((await browser.open(address)).status).toBe(200)
    expect((await browser.open(address)).status).toBe(400)
  })

  test('not in another sign-in of the same browser', async () => {
    const browser = world.browser()
    const back = await browser.open(await away(browser, await signInPage(browser)))
    const next = new URL(onwards(back), world.url)
    browser.cookies.delete('remit_sign_in')
    const page = await browser.open(next.href)
    expect(page.text).toContain('That sign-in is over.')
    expect(browser.cookies.has('remit_session')).toBe(false)
  })

  test('not after 10 minutes', async () => {
    const browser = world.browser()
    const address = await away(browser, await signInPage(browser))
    later += 600_001
    expect((await browser.open(address)).status).toBe(400)
  })

  test('not at the address of another issuer (mix-up)', async () => {
    const browser = world.browser()
    const address = new URL(await away(browser, await signInPage(browser)))
    address.pathname = callbackPath('other')
    const page = await browser.open(address.href)
    expect(page.text).toContain('could not be verified')
  })

  test('nor with the word of another issuer in it (RFC 9207)', async () => {
    const browser = world.browser()
    const address = new URL(await away(browser, await signInPage(browser)))
    address.searchParams.set('iss', other.issuer)
    expect((await browser.open(address.href)).text).toContain('could not be verified')
  })
})

test('an issuer that was given the namespace of another gets none of its people', async () => {
  await world.database.query(
    "insert into people (key, name, upstream_issuer, upstream_sub) values ('up/u-9', 'x', 'https://old.test', 'u-9')",
  )
  double.person = { sub: 'u-9', name: 'Somebody new' }
  const browser = world.browser()
  const page = await through(browser, await signInPage(browser))
  expect(page.text).toContain('This account cannot be used here.')
  expect(browser.cookies.has('remit_session')).toBe(false)
})

test('only the cookie that has to come back from another site is lax, and all of them are out of reach of scripts', async () => {
  const browser = world.browser()
  const page = await signInPage(browser)
  const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
  const answer = await fetch(new URL(action(page).replaceAll('&amp;', '&'), world.url), {
    method: 'POST',
    headers: { origin: world.url, cookie: `remit_sign_in=${browser.cookies.get('remit_sign_in')?.value}` },
    body: new URLSearchParams({ csrf, provider: 'up' }),
  })
  const [cookie = ''] = answer.headers.getSetCookie().filter((line) => line.startsWith('remit_upstream'))
  expect(cookie).toMatch(/; HttpOnly; SameSite=Lax$/)
})

describe('a person links an account elsewhere', () => {
  const start = async (browser: Browser) =>
    through(browser, await browser.open(`${world.url}/accounts`), '/accounts/link')

  const events = (event: string) =>
    world.database.query<{ subject: string; detail: { sub: string } }>(
      'select subject, detail from decision_records where event = $1 order by at desc limit 1',
      [event],
    )

  test('by signing in on both sides in one session and agreeing, on record; and ends it', async () => {
    const browser = await signedIn('anne')
    const confirm = await start(browser)
    for (const words of ['Anne of Upstream', 'u-1', new URL(double.issuer).host, 'anne'])
      expect(confirm.text).toContain(words)
    expect(await world.database.query('select 1 from account_links')).toEqual([])
    const linked = await browser.submit(confirm, '/accounts/confirm')
    expect(linked.text).toContain('End this link')
    expect(await events('account_linked')).toMatchObject([{ subject: 'user:anne', detail: { sub: 'u-1' } }])

    const elsewhere = world.browser()
    await through(elsewhere, await signInPage(elsewhere))
    expect((await elsewhere.open(`${world.url}/accounts`)).text).toContain('<strong>anne</strong>')
    const ended = await browser.submit(linked, '/accounts/end')
    expect(ended.text).toContain('No account is linked.')
    expect(await events('account_unlinked')).toMatchObject([{ subject: 'user:anne' }])
    // Whoever came in by it is signed out.
    expect((await elsewhere.open(`${world.url}/accounts`)).url.pathname).toBe('/sign-in')
  })

  test('not by looking, and not after saying no', async () => {
    const browser = await signedIn('bob')
    const confirm = await start(browser)
    const cancelled = await browser.submit(confirm, '/accounts/cancel')
    expect(cancelled.text).toContain('No account is linked.')
    const late = await browser.submit(confirm, '/accounts/confirm')
    expect(late.status).toBe(404)
  })

  test('not when somebody else has signed in on the way', async () => {
    const browser = await signedIn('bob')
    const address = await away(browser, await browser.open(`${world.url}/accounts`), '/accounts/link')
    await signedIn('carol', browser)
    const back = await browser.open(address)
    const page = await browser.open(new URL(onwards(back), world.url).href)
    expect(page.text).toContain('That sign-in is over, or was begun elsewhere.')
    expect(await world.database.query('select 1 from account_links')).toEqual([])
  })

  test('not what is another person’s already', async () => {
    await world.database.query("insert into account_links values ($1, 'u-1', 'anne', now())", [double.issuer])
    const browser = await signedIn('bob')
    const page = await browser.submit(await start(browser), '/accounts/confirm')
    expect(page.status).toBe(409)
    expect(page.text).toContain('linked to another person already')
  })

  test('not with a sign-in of more than 15 minutes ago, and ends no link of another', async () => {
    await world.database.query("insert into account_links values ($1, 'u-1', 'anne', now())", [double.issuer])
    const browser = await signedIn('bob')
    const page = await browser.open(`${world.url}/accounts`)
    const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
    const end = () =>
      fetch(`${world.url}/accounts/end`, {
        method: 'POST',
        redirect: 'manual',
        headers: {
          origin: world.url,
          cookie: `remit_session=${browser.cookies.get('remit_session')?.value}`,
        },
        body: new URLSearchParams({ csrf, issuer: double.issuer, sub: 'u-1' }),
      })
    expect((await end()).status).toBe(404)
    later += 15 * 60_000 + 1
    expect((await end()).status).toBe(401)
    const stale = await browser.submit(page, '/accounts/link')
    expect(stale.url.pathname).toBe('/sign-in')
  })
})
