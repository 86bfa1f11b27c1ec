import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { vapidKeyOf } from '../../src/delegation/notify/message.ts'
import { callbackPath } from '../../src/delegation/upstream/provider.ts'
import { loadSecret } from '../../src/store/secret.ts'
import { type Browser, openBrowser, type Page } from '../delegation/issuer/browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { type PushedBrowser, type PushService, startPushService } from '../support/push-service.ts'
import { clientSecret, secretVariable, startUpstream, type UpstreamDouble } from '../support/upstream.ts'
import { type OwnBrowser, openOwnBrowser, signIn } from './own-browser.ts'

// One more way to sign in as somebody: what it takes to add it, and how its owner hears of it.
let double: UpstreamDouble
let service: PushService
let world: IssuerWorld
let later = 0
const now = () => Date.now() + later
beforeAll(async () => {
  double = await startUpstream()
  service = await startPushService()
  world = await openIssuerWorld({
    now,
    env: {
      TRUSTED_ISSUERS: JSON.stringify([double.entry('up')]),
      [secretVariable]: clientSecret,
      PUSH_ALLOWED_ORIGINS: service.origin,
    },
  })
  double.redirectUris = [`${world.url}${callbackPath('up')}`]
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await double?.[Symbol.asyncDispose]()
  await service?.[Symbol.asyncDispose]()
})

async function signedIn(user: string): Promise<Browser> {
  const browser = world.browser()
  await signIn(world, browser, user)
  return browser
}
const verify = (person: string) =>
  world.database.query('update browser_sessions set verified_at = $2 where person = $1', [
    person,
    new Date(now()),
  ])
const givePasskey = (person: string, at = new Date(now() - 10 * 86_400_000)) =>
  world.database.query(
    `insert into passkeys (id, person, public_key, counter, backup_eligible, backed_up, title, created_at, verifies_from)
     values ($1, $2, '', 0, false, false, 'Update by IT, ignore', $3, $3)`,
    [crypto.randomUUID(), person, at],
  )

const onwards = ({ text }: Page): string =>
  (/content="0;url=([^"]+)"/.exec(text)?.[1] ?? 'nowhere').replaceAll('&amp;', '&')

/** By the page's own form, whether it is shown or not; up to the page on which both sides stand. */
async function begin(browser: Browser, sub: string): Promise<Page> {
  double.person = { sub, name: sub }
  const page = await browser.open(`${world.url}/accounts`)
  const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
  const form = `<form action="/accounts/link"><input type="hidden" name="csrf" value="${csrf}"></form>`
  const away = await browser.submit({ ...page, text: form }, '/accounts/link', { provider: 'up' })
  const back = await browser.open((await openBrowser(double.issuer).open(onwards(away))).url.href)
  return browser.open(new URL(onwards(back), world.url).href)
}
const linksOf = (person: string) =>
  world.database.query('select sub from account_links where person = $1', [person])

test('an account elsewhere is linked by whoever has a passkey only after they have shown it', async () => {
  await givePasskey('anne')
  const browser = await signedIn('anne')
  const page = await browser.open(`${world.url}/accounts`)
  expect(page.text).toContain('Sign in with your passkey to link an account')
  expect(page.text).not.toContain('action="/accounts/link"')
  const refused = await browser.submit(await begin(browser, 'u-thief'), '/accounts/confirm')
  expect(refused.status).toBe(401)
  expect(refused.text).toContain('First sign in with a passkey of yours.')
  expect(await linksOf('anne')).toEqual([])
  await verify('anne')
  const linked = await browser.submit(await begin(browser, 'u-anne'), '/accounts/confirm')
  expect(linked.text).toContain('End this link')
  expect(await linksOf('anne')).toEqual([{ sub: 'u-anne' }])
})

test('and by whoever has none, or none that counts yet, as before', async () => {
  await givePasskey('bob', new Date(now() + 3_600_000))
  const browser = await signedIn('bob')
  await browser.submit(await begin(browser, 'u-bob'), '/accounts/confirm')
  expect(await linksOf('bob')).toEqual([{ sub: 'u-bob' }])
})

test('a passkey and a link that are new stand on each page of their owner for a day, in our words alone', async () => {
  const paths = ['/approvals', '/delegations', '/connections', '/passkeys', '/accounts', '/approvals/ap_none']
  const browser = await signedIn('carol')
  const all = async (by = browser) =>
    Promise.all(paths.map(async (path) => (await by.open(`${world.url}${path}`)).text))
  for (const text of await all()) expect(text).not.toContain('class="news"')
  await givePasskey('carol', new Date(now()))
  await world.database.query("insert into account_links values ($1, 'u-carol', 'carol', $2)", [
    double.issuer,
    new Date(now()),
  ])
  for (const text of await all()) {
    const [, news = ''] = /<div class="news"[^>]*>(.*?)<\/div>/s.exec(text) ?? []
    expect(news).toContain('A passkey was added to your account on')
    expect(news).toContain(`An account at ${new URL(double.issuer).host} was linked to yours on`)
    expect(news).not.toContain('Update by IT')
  }
  expect((await (await signedIn('dan')).open(`${world.url}/approvals`)).text).not.toContain('class="news"')
  later += 86_400_001
  for (const text of await all(await signedIn('carol'))) expect(text).not.toContain('class="news"')
})

async function told(who: OwnBrowser): Promise<PushedBrowser> {
  const secret = await loadSecret(join(world.config.home, 'keys'), 'oauth.key')
  const browser = service.browser(vapidKeyOf(secret).publicKey)
  expect((await who.send('POST', '/approvals/push', { body: browser.subscription })).status).toBe(200)
  return browser
}
const form = (who: OwnBrowser, path: string, fields: Record<string, string>) =>
  who.send('POST', path, {
    body: new URLSearchParams(fields).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })
/** What a thief may do to the way that a person is told, by what the person is called here. */
const silences: Readonly<Record<string, (thief: OwnBrowser, owner: OwnBrowser) => Promise<unknown>>> = {
  'telling-nobody': (thief) => thief.send('POST', '/approvals/push/end-all'),
  'removing-a-passkey': async (thief) => {
    await world.database.query(
      `insert into passkeys (id, person, public_key, counter, backup_eligible, backed_up, title, created_at, verifies_from)
       values ('of-old', 'removing-a-passkey', '', 0, false, false, 'Old', '2026-01-01', '2026-01-01')`,
    )
    expect((await form(thief, '/passkeys/remove', { id: 'of-old' })).status).toBe(303)
  },
  'ending-a-link': async (thief) => {
    const link = { issuer: double.issuer, sub: 'u-linked' }
    await world.database.query("insert into account_links values ($1, $2, 'ending-a-link', '2026-01-01')", [
      link.issuer,
      link.sub,
    ])
    expect((await form(thief, '/accounts/end', link)).status).toBe(303)
  },
  'telling-too-many-browsers': async (thief) => {
    for (let made = 0; made < 10; made += 1) {
      later += 1_000
      await told(thief)
    }
    await thief.send('POST', '/approvals/push/end-all')
    for (let made = 0; made < 12; made += 1) await told(thief)
  },
  // By the cookie of the owner's own browser.
  'signing-out': (_, owner) => owner.send('POST', '/sign-out'),
  'signing-in-as-somebody-else': (_, owner) => signIn(world, owner.browser, 'bob'),
}
const ways = Object.keys(silences)

describe('news of a passkey reach the browsers of their owner, whatever a thief does', () => {
  beforeEach(async () => {
    for (const key of ways) {
      await world.service.people.save({ key, name: key })
      await world.service.issuer.passwords.set(key, password)
    }
  })
  // Nothing of it is left for the next test.
  afterEach(async () => {
    later += 2 * 86_400_000
    for (const table of ['passkeys', 'account_links', 'push_subscriptions', 'push_ended'])
      await world.database.query(`delete from ${table} where person = any($1)`, [ways])
  })

  /** Each person with a browser that is told and a thief who has a session of theirs. */
  const openAll = () =>
    Promise.all(
      ways.map(async (way) => {
        const owner = await openOwnBrowser(world, way)
        const [browser, thief] = [await told(owner), await openOwnBrowser(world, way)]
        return { way, browser, silence: async () => silences[way]?.(thief, owner) }
      }),
    )
  /** Found by the look that the service takes by itself. */
  const areTold = (all: Awaited<ReturnType<typeof openAll>>) =>
    expect
      .poll(() => all.map(({ way, browser }) => [way, browser.messages.length]), { timeout: 15_000 })
      .toEqual(ways.map((way) => [way, 1]))

  test('those that were told when it came', async () => {
    const all = await openAll()
    await Promise.all(
      all.map(async ({ way, silence }) => {
        await givePasskey(way, new Date(now()))
        await silence()
      }),
    )
    await areTold(all)
  })

  test('and those that were told within a day before', async () => {
    const all = await openAll()
    await Promise.all(all.map(({ silence }) => silence()))
    later += 86_000_000
    await Promise.all(all.map(({ way }) => givePasskey(way, new Date(now()))))
    await areTold(all)
  })
})
