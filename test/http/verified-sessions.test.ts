import { afterAll, beforeAll, expect, test } from 'vitest'
import { callbackPath } from '../../src/delegation/upstream/provider.ts'
import type { Browser, Page } from '../delegation/issuer/browser.ts'
import { openBrowser } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { type Authenticator, createAuthenticator } from '../support/authenticator.ts'
import { clientSecret, secretVariable, startUpstream, type UpstreamDouble } from '../support/upstream.ts'
import { signIn } from './own-browser.ts'

let double: UpstreamDouble
let world: IssuerWorld
beforeAll(async () => {
  double = await startUpstream()
  world = await openIssuerWorld({
    env: { TRUSTED_ISSUERS: JSON.stringify([double.entry('up')]), [secretVariable]: clientSecret },
  })
  double.redirectUris = [`${world.url}${callbackPath('up')}`]
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await double?.[Symbol.asyncDispose]()
})

/** When the newest session of somebody says that they were verified. */
async function verifiedAt(person: string): Promise<Date | null | undefined> {
  const [row] = await world.database.query<{ verified_at: Date | null }>(
    'select verified_at from browser_sessions where person = $1 order by signed_in_at desc limit 1',
    [person],
  )
  return row?.verified_at
}

const optionsOf = ({ text }: Page) => {
  const found = /data-options="([^"]*)"/.exec(text)?.[1] ?? ''
  return JSON.parse(found.replaceAll('&quot;', '"')) as { challenge: string; user: { id: string } }
}

async function added(browser: Browser): Promise<Authenticator> {
  const device = createAuthenticator(world.url)
  const page = await browser.open(`${world.url}/passkeys`)
  await browser.submit(page, '/passkeys', {
    answer: JSON.stringify(device.make(optionsOf(page))),
    title: 'x',
  })
  return device
}

async function signInBy(device: Authenticator): Promise<Browser> {
  const browser = world.browser()
  const page = await browser.open(`${world.url}/sign-in?next=/passkeys`)
  const action = /action="([^"]*\/sign-in\/passkey[^"]*)"/.exec(page.text)?.[1] ?? ''
  await browser.submit(page, action, { answer: JSON.stringify(device.answer(optionsOf(page))) })
  return browser
}

test('a password verifies nobody, and adding a passkey does not either; signing in by it does', async () => {
  const browser = world.browser()
  await signIn(world, browser, 'anne')
  expect(await verifiedAt('anne')).toBeNull()
  const device = await added(browser)
  expect(await verifiedAt('anne')).toBeNull()
  await signInBy(device)
  expect(Math.abs(Date.now() - Number(await verifiedAt('anne')))).toBeLessThan(60_000)
})

test('whoever stole a password adds no passkey beside the owner’s, and one in its place counts only later', async () => {
  const owner = world.browser()
  await signIn(world, owner, 'bob')
  await added(owner)
  const stolen = world.browser()
  await signIn(world, stolen, 'bob')
  const page = await stolen.open(`${world.url}/passkeys`)
  expect(page.text).toContain('Sign in with one of yours to add another')
  expect(page.text).not.toContain('data-passkey')
  await stolen.submit(page, '/passkeys/remove')
  const thiefs = await added(stolen)
  const again = world.browser()
  await signIn(world, again, 'bob')
  expect((await again.open(`${world.url}/passkeys`)).text).toContain('If that was not you, remove it.')
  await signInBy(thiefs)
  expect(await verifiedAt('bob')).toBeNull()
  // Nor do other APIs hear of more than a key.
  const [session] = await world.database.query<{ amr: string[] }>(
    'select amr from browser_sessions where person = $1 order by signed_in_at desc limit 1',
    ['bob'],
  )
  expect(session?.amr).toEqual(['swk'])
})

/** Signs in at the other provider; gives when that session was verified. */
async function throughUpstream(sub: string, amr: string[], key: string) {
  double.person = { sub, name: 'Anne', amr }
  const browser = world.browser()
  const onwards = ({ text }: Page) =>
    (/content="0;url=([^"]+)"/.exec(text)?.[1] ?? 'nowhere').replaceAll('&amp;', '&')
  const page = await browser.open(`${world.url}/sign-in?next=/accounts`)
  const action = /action="([^"]*\/sign-in\/upstream[^"]*)"/.exec(page.text)?.[1] ?? ''
  const going = await browser.submit(page, action, { provider: 'up' })
  const there = await openBrowser(double.issuer).open(onwards(going))
  const back = await browser.open(there.url.href)
  await browser.open(new URL(onwards(back), world.url).href)
  return verifiedAt(key)
}

test('an account elsewhere that was linked less than a day ago verifies nobody', async () => {
  const link = (at: Date) =>
    world.database.query(
      `insert into account_links values ($1, 'u-dan', 'dan', $2)
       on conflict (issuer, sub) do update set linked_at = excluded.linked_at`,
      [double.issuer, at],
    )
  await link(new Date())
  expect(await throughUpstream('u-dan', ['mfa'], 'dan')).toBeNull()
  await link(new Date(Date.now() - 86_500_000))
  expect(await throughUpstream('u-dan', ['mfa'], 'dan')).toBeInstanceOf(Date)
})

test.each([
  { amr: ['pwd', 'otp'], verifies: true },
  { amr: ['pwd'], verifies: false },
  { amr: [], verifies: false },
])('a sign-in elsewhere by $amr verifies: $verifies', async ({ amr, verifies }) => {
  const at = await throughUpstream(`u-${amr.length}`, [...amr], `up/u-${amr.length}`)
  expect(at instanceof Date).toBe(verifies)
  // Never ahead of our own clock.
  expect(Number(at)).toBeLessThanOrEqual(Date.now())
})
