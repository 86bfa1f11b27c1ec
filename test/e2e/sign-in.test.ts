import { decodeJwt } from 'jose'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callbackPath } from '../../src/delegation/upstream/provider.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { openChromium } from '../support/chromium.ts'
import { needsChromium } from '../support/native.ts'
import { clientSecret, secretVariable, startUpstream, type UpstreamDouble } from '../support/upstream.ts'
import { lendTo } from './lend-to.ts'

describe('in a real browser', needsChromium, () => {
  // Another site for the browser: 127.0.0.1 there, localhost here. Its rules for cookies are the real ones.
  let double: UpstreamDouble
  let world: IssuerWorld
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    double = await startUpstream()
    world = await openIssuerWorld({
      env: { TRUSTED_ISSUERS: JSON.stringify([double.entry('up')]), [secretVariable]: clientSecret },
    })
    double.redirectUris = [`${world.url}${callbackPath('up')}`]
    await world.put({ 'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne'] } } })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await double?.[Symbol.asyncDispose]()
  })

  async function byPassword(page: Page, user: string, next = '/passkeys'): Promise<void> {
    await page.goto(`${world.url}/sign-in?next=${encodeURIComponent(next)}`)
    await page.getByLabel('Account').fill(user)
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.waitForURL(`**${next}`)
  }

  async function addPasskey(page: Page, title: string): Promise<void> {
    await page.getByLabel('What is it on?').fill(title)
    await page.getByRole('button', { name: 'Add a passkey' }).click()
    await page.getByText('never used').waitFor()
  }

  test('a person makes a passkey, signs in by it at an agent’s request, consents, and the agent gets its token', async () => {
    await using browser = await openChromium()
    const { page, context } = browser
    const device = await browser.addDevice()
    await byPassword(page, 'anne')
    await addPasskey(page, 'This laptop')
    expect(await device.credentials()).toHaveLength(1)
    await context.clearCookies()

    const token = await lendTo(world, browser, async (page) =>
      page.getByRole('button', { name: 'Sign in with a passkey' }).click(),
    )
    expect(decodeJwt(token)).toMatchObject({
      sub: 'anne',
      amr: ['swk', 'user', 'mfa'],
      act: { sub: 'research-bot' },
      delegation: expect.any(String),
    })
    const { results } = await world.retrieve(token, { query: 'travel' })
    expect(results).toMatchObject([{ document_id: 'handbook/travel' }])
  })

  test('a device that cannot verify its user signs nobody in, and the page says so', async () => {
    await using browser = await openChromium()
    await browser.addDevice({ verifiesUser: false })
    await browser.page.goto(`${world.url}/sign-in`)
    await browser.page.getByRole('button', { name: 'Sign in with a passkey' }).click()
    await browser.page.getByText('Nothing was sent.').waitFor()
    expect(new URL(browser.page.url()).pathname).toBe('/sign-in')
  })

  test('without script the page offers no passkey and signs in by password', async () => {
    await using browser = await openChromium({ script: false })
    await browser.page.goto(`${world.url}/sign-in`)
    expect(await browser.page.getByRole('button', { name: 'Sign in with a passkey' }).count()).toBe(0)
    await byPassword(browser.page, 'bob')
    expect(await browser.page.getByText('This browser makes no passkeys here').count()).toBe(1)
  })

  test('breaks no rule of its own pages: nothing is blocked', async () => {
    await using browser = await openChromium()
    const said: string[] = []
    browser.page.on('console', (message) => said.push(message.text()))
    await browser.addDevice()
    await byPassword(browser.page, 'carol')
    await addPasskey(browser.page, 'Phone')
    await browser.page.goto(`${world.url}/accounts`)
    expect(said).toEqual([])
  })

  test('sign-in at another site leads back into a session here', async () => {
    await using browser = await openChromium()
    const { page } = browser
    await page.goto(`${world.url}/sign-in?next=/accounts`)
    await page.getByRole('button', { name: 'Continue with 127.0.0.1' }).click()
    await page.getByRole('heading', { name: 'Linked accounts' }).waitFor()
    expect(await page.getByRole('main').textContent()).toContain('up/u-1')
    const cookies = await browser.context.cookies(world.url)
    expect(cookies.map(({ name, sameSite }) => `${name} ${sameSite}`)).toEqual([
      'remit_session Strict',
      'remit_known Strict',
    ])
  })

  test('a person links an account at another site in the session in which they began, and ends that', async () => {
    await using browser = await openChromium()
    const { page } = browser
    double.person = { sub: 'u-dan', name: 'Dan of Upstream' }
    await byPassword(page, 'dan', '/accounts')
    await page.getByRole('button', { name: 'Link my account at 127.0.0.1' }).click()
    await page.getByRole('heading', { name: 'Link this account?' }).waitFor()
    expect(await page.getByRole('main').textContent()).toContain('Dan of Upstream')
    await page.getByRole('button', { name: 'Link this account' }).click()
    await page.getByRole('button', { name: 'End this link' }).click()
    await page.getByText('No account is linked.').waitFor()
  })
})
