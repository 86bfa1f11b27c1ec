import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRevocations } from '../../src/delegation/revocation/revocations.ts'
import type { Browser } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { openWorld } from '../support/world.ts'
import { signInAction, signIn as signInAt } from './own-browser.ts'

let world: IssuerWorld
beforeAll(async () => {
  world = await openIssuerWorld()
})
afterAll(() => world?.[Symbol.asyncDispose]())

const signIn = (browser: Browser, user: string, next?: string) => signInAt(world, browser, user, next)

const events = async (event: string) =>
  world.database.query('select event, subject, detail from decision_records where event = $1', [event])

describe('signing in on our own pages', () => {
  test('leads to the page asked for, in a session with an id that is kept nowhere', async () => {
    const browser = world.browser()
    const page = await signIn(browser, 'anne')
    expect(page.url.pathname).toBe('/delegations')
    const id = browser.cookies.get('remit_session')?.value ?? ''
    expect(id).toMatch(/^[A-Za-z0-9_-]{43}$/)
    const kept = JSON.stringify(await world.database.query('select * from browser_sessions'))
    expect(kept).toContain('"person":"anne"')
    expect(kept).not.toContain(id)
  })

  test('says that a program’s sign-in does not count, to whom nobody knows there yet', async () => {
    const says = 'one for a program, even a minute ago, does not count here'
    const browser = world.browser()
    const address = `${world.url}/sign-in?next=%2Fapprovals`
    expect((await browser.open(address)).text).toContain(says)
    await signIn(browser, 'anne')
    expect((await browser.open(address)).text).not.toContain(says)
  })

  test('gives a fresh id whatever the browser brought, and ends the session before', async () => {
    const browser = world.browser()
    browser.cookies.set('remit_session', { value: 'planted', path: '/' })
    await signIn(browser, 'bob')
    const first = browser.cookies.get('remit_session')?.value
    expect(first).not.toBe('planted')
    await signIn(browser, 'bob')
    expect(browser.cookies.get('remit_session')?.value).not.toBe(first)
    const sessions = await world.database.query("select 1 from browser_sessions where person = 'bob'")
    expect(sessions).toHaveLength(1)
  })

  test.each([
    'https://evil.test/delegations',
    '//evil.test',
    '/\\evil.test',
    '/delegations/../../evil.test',
    '/delegations?x=//evil.test',
    'javascript:alert(1)',
    '\t//evil.test',
    '',
  ])('never leads elsewhere: next=%j', async (next) => {
    const page = await world.browser().open(`${world.url}/sign-in?next=${encodeURIComponent(next)}`)
    expect(signInAction(page)).toBe('/sign-in?next=%2Fdelegations')
  })

  test('never leads elsewhere, whatever address its form is sent to', async () => {
    const browser = world.browser()
    const page = await browser.open(`${world.url}/sign-in`)
    const evil = { ...page, text: page.text.replace('next=%2Fdelegations', 'next=%2F%2Fevil.test') }
    const after = await browser.submit(evil, signInAction(evil), { user: 'anne', password })
    expect(after.url.href).toBe(`${world.url}/delegations`)
  })

  test('is refused for a form that another browser was shown, that lost its token, or that came from elsewhere', async () => {
    const browser = world.browser()
    const page = await browser.open(`${world.url}/sign-in`)
    const fields = { user: 'anne', password }
    const other = await world.browser().submit(page, signInAction(page), fields)
    const bare = await browser.submit(page, signInAction(page), { ...fields, csrf: '' })
    expect([other.status, bare.status]).toEqual([403, 403])
    for (const origin of ['https://evil.test', 'null', undefined]) {
      const response = await fetch(new URL(signInAction(page), world.url), {
        method: 'POST',
        headers: {
          cookie: `remit_sign_in=${browser.cookies.get('remit_sign_in')?.value}`,
          ...(origin !== undefined && { origin }),
        },
        body: new URLSearchParams({
          ...fields,
          csrf: /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? '',
        }),
      })
      expect(response.status).toBe(403)
      expect(response.headers.get('set-cookie')).toBeNull()
    }
  })

  test('is one count of guesses with the authorization server’s page', async () => {
    const browser = world.browser()
    const page = await browser.open(`${world.url}/sign-in`)
    for (let guess = 0; guess < 6; guess += 1)
      await browser.submit(page, signInAction(page), { user: 'carol', password: `guess ${guess}` })
    const query = new URLSearchParams({
      client_id: 'cli',
      response_type: 'code',
      redirect_uri: world.redirectUri,
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
      code_challenge_method: 'S256',
    })
    const there = await browser.open(`${world.issuer}/auth?${query}`)
    const tried = await browser.submit(there, '/sign-in', { user: 'carol', password })
    expect(tried.text).toContain('Too many tries.')
  })

  test('is on record, failures too, without what was typed', async () => {
    const browser = world.browser()
    await signIn(browser, 'dan')
    expect(await events('signed_in')).toContainEqual({
      event: 'signed_in',
      subject: 'user:dan',
      detail: { at: 'pages', amr: ['pwd'] },
    })
    const page = await browser.open(`${world.url}/sign-in`)
    const secret = 'Hunter2-typed-into-the-wrong-field'
    await browser.submit(page, signInAction(page), { user: secret, password: 'anne' })
    await browser.submit(page, signInAction(page), { user: 'dan', password: secret })
    const failed = await events('sign_in_failed')
    expect(failed.map(({ subject }) => subject)).toEqual(
      expect.arrayContaining(['nobody:unknown', 'user:dan']),
    )
    expect(JSON.stringify(await world.database.query('select * from decision_records'))).not.toContain(secret)
    expect(JSON.stringify(world.logged)).not.toContain(secret)
  })
})

test('a revoked person gets in at neither door, and learns it only by the right password', async () => {
  await using revoked = await openIssuerWorld()
  const revocations = createRevocations({ sql: revoked.database, clock: { now: Date.now } })
  await revocations.revoke({ kind: 'subject', id: 'user:anne' }, { reason: 'tests' })
  const browser = revoked.browser()
  const page = await browser.open(`${revoked.url}/sign-in`)
  const wrong = await browser.submit(page, signInAction(page), { user: 'anne', password: 'not the password' })
  expect(wrong.text).toContain('The account or the password is wrong.')
  const right = await browser.submit(page, signInAction(page), { user: 'anne', password })
  expect(right.text).toContain('This account cannot sign in now.')
  expect(browser.cookies.has('remit_session')).toBe(false)
  expect(await revoked.database.query('select 1 from browser_sessions')).toEqual([])
})

test('a person who is revoked gets no token any more for what they consented to', async () => {
  await using revoked = await openIssuerWorld()
  const config = await client.discovery(new URL(revoked.issuer), 'cli', undefined, client.None(), {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
  const verifier = client.randomPKCECodeVerifier()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: revoked.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  const browser = revoked.browser()
  const back = await revoked.consent(browser, await browser.open(url.href), { user: 'anne' })
  const tokens = await client.authorizationCodeGrant(config, back.url, { pkceCodeVerifier: verifier })
  const revocations = createRevocations({ sql: revoked.database, clock: { now: Date.now } })
  await revocations.revoke({ kind: 'subject', id: 'user:anne' }, { reason: 'tests' })
  await expect(client.refreshTokenGrant(config, tokens.refresh_token ?? '')).rejects.toMatchObject({
    error: 'invalid_grant',
  })
})

test('over https, with our own accounts alone, both cookies are bound to this host, and no script reads them', async () => {
  await using secure = await openWorld({
    env: { PUBLIC_URL: 'https://remit.test', TRUSTED_ISSUERS: '[]' },
  })
  await secure.service.issuer.passwords.set('anne', password)
  const page = await secure.call('GET', '/sign-in')
  const form = page.headers.get('set-cookie') ?? ''
  expect(form).toMatch(/^__Host-remit_sign_in=[\w-]{43}; Path=\/; HttpOnly; Secure; SameSite=Lax$/)
  const csrf = /name="csrf" value="([^"]+)"/.exec(await page.text())?.[1] ?? ''
  const answer = await secure.call('POST', '/sign-in', {
    body: String(new URLSearchParams({ user: 'anne', password, csrf })),
    headers: {
      cookie: form.split(';')[0] ?? '',
      origin: 'https://remit.test',
      'content-type': 'application/x-www-form-urlencoded',
    },
  })
  expect(answer.headers.getSetCookie()[0]).toMatch(
    /^__Host-remit_session=[\w-]{43}; Path=\/; HttpOnly; Secure; SameSite=Strict$/,
  )
})

test('a link on another site leads a signed-in person to the page, not to the sign-in', async () => {
  const browser = world.browser()
  await signIn(browser, 'bob')
  const followed = await fetch(`${world.url}/delegations`, {
    redirect: 'manual',
    headers: { accept: 'text/html', 'sec-fetch-site': 'cross-site' },
  })
  expect(followed.status).toBe(200)
  expect(await followed.text()).toContain('<meta http-equiv="refresh" content="0;url=/delegations">')
})

test('a token says how and when the person signed in', async () => {
  const config = await client.discovery(new URL(world.issuer), 'cli', undefined, client.None(), {
    execute: [client.allowInsecureRequests],
    algorithm: 'oauth2',
  })
  const verifier = client.randomPKCECodeVerifier()
  const before = Math.floor(Date.now() / 1_000)
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: world.redirectUri,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  const browser = world.browser()
  const back = await world.consent(browser, await browser.open(url.href), { user: 'anne' })
  const after = Math.floor(Date.now() / 1_000)
  const { access_token } = await client.authorizationCodeGrant(config, back.url, {
    pkceCodeVerifier: verifier,
  })
  const { amr, auth_time } = decodeJwt(access_token)
  expect(amr).toEqual(['pwd'])
  expect(auth_time).toBeGreaterThanOrEqual(before)
  expect(auth_time).toBeLessThanOrEqual(after)
  expect(await events('signed_in')).toContainEqual({
    event: 'signed_in',
    subject: 'user:anne',
    detail: { at: 'authorization_server', amr: ['pwd'] },
  })
})
