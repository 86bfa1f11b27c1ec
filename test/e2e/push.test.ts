import type { CDPSession, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { type Chromium, openChromium } from '../support/chromium.ts'
import { needsChromium } from '../support/native.ts'
import { type PushedBrowser, type PushService, startPushService } from '../support/push-service.ts'

/**
 * On a phone. A headless Chromium has no push service: what it would subscribe at is the double, which checks
 * and decrypts, and the browser's debugging protocol hands over what it decrypted
 * (`ServiceWorker.deliverPushMessage`). Page, script, worker and notification are real; the click is an event
 * of ours, since no protocol clicks a notification, and so is the window that only a click may open.
 */
describe('on a phone', needsChromium, () => {
  let service: PushService
  let world: IssuerWorld
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    service = await startPushService()
    world = await openIssuerWorld({ env: { PUSH_ALLOWED_ORIGINS: service.origin } })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await service?.[Symbol.asyncDispose]()
  })

  interface Phone extends AsyncDisposable {
    readonly page: Page
    readonly chromium: Chromium
    /** As the push service has it; undefined: the page never asked the browser for one. */
    subscribed(): PushedBrowser | undefined
  }

  async function openPhone(user: string): Promise<Phone> {
    const chromium = await openChromium({ width: 390, height: 844 })
    const { context, page } = chromium
    await context.grantPermissions(['notifications'], { origin: world.url })
    let subscribed: PushedBrowser | undefined
    await context.exposeFunction('subscribeAtDouble', (key: string) => {
      subscribed = service.browser(key)
      return subscribed.subscription
    })
    await context.addInitScript(fakeSubscriptions)
    await page.goto(`${world.url}/sign-in?next=%2Fapprovals`)
    await page.getByLabel('Account').fill(user)
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.waitForURL('**/approvals')
    return {
      page,
      chromium,
      subscribed: () => subscribed,
      [Symbol.asyncDispose]: () => chromium[Symbol.asyncDispose](),
    }
  }

  async function ask(person: string): Promise<void> {
    const delegation = await world.lend(person, 'research-bot', 'collection:handbook')
    await world.service.approvals.ask(
      { subject: `user:${person}`, agent: 'research-bot', client: 'agent-app', delegation, txn: 't_asked' },
      { kind: 'access', resource: `https://${delegation}.test`, scopes: ['trade'], details: [] },
      { purpose: 'Sell the secret shares', seconds: 300, front: 'rest' },
    )
  }

  test('a person asks by keyboard to be told; the message is shown, says nothing, and opens the page', async () => {
    await using phone = await openPhone('anne')
    const { page, chromium } = phone
    const policyBreaches: string[] = []
    page.on('console', ({ text, type }) => {
      if (type() === 'error') policyBreaches.push(text())
    })
    const cdp = await chromium.context.newCDPSession(page)
    const registration = registrationOf(cdp)
    await cdp.send('ServiceWorker.enable')

    const button = page.getByRole('button', { name: 'Tell me on this device' })
    await button.focus()
    await page.keyboard.press('Enter')
    await page.getByText('You will be told on this device.').waitFor()
    const off = page.getByRole('button', { name: 'Do not tell me here any more' })
    expect(await off.evaluate((element) => element === element.ownerDocument.activeElement)).toBe(true)

    await ask('anne')
    await expect.poll(() => phone.subscribed()?.messages.length, { timeout: 20_000 }).toBe(1)
    const [message] = phone.subscribed()?.messages ?? []
    expect(message?.text).not.toMatch(/secret|research|anne|ap_/)
    const [worker] = chromium.context.serviceWorkers()
    if (worker === undefined) throw new Error('There is no worker.')
    const deliver = async () =>
      cdp.send('ServiceWorker.deliverPushMessage', {
        origin: world.url,
        registrationId: await registration,
        data: message?.text ?? '',
      })
    const shown = () =>
      worker.evaluate(
        `registration.getNotifications().then((all) => all.map(({ title, body, tag }) => ({ title, body, tag })))`,
      )
    // The browser drops what comes while it starts the worker. One tag: however often, it is shown once.
    await expect
      .poll(() => deliver().then(shown), { timeout: 20_000, interval: 500 })
      .toEqual([
        {
          title: 'Remit: look at this',
          body: 'Somebody asks for your answer, or something of your account has changed.',
          tag: 'approvals',
        },
      ])
    // Nothing of ours is open any more, and the browser has told the worker so: it would show what is open.
    await page.goto('about:blank')
    const windows = () =>
      worker.evaluate(`clients.matchAll({ type: 'window', includeUncontrolled: true })
      .then((all) => all.filter(({ url }) => url.includes('/approvals')).length)`)
    await expect.poll(windows, { timeout: 20_000 }).toBe(0)
    await worker.evaluate(`(async () => {
      self.opened = []
      clients.openWindow = async (url) => void self.opened.push(url)
      const [notification] = await registration.getNotifications()
      dispatchEvent(new NotificationEvent('notificationclick', { notification }))
    })()`)
    const opened = () =>
      worker.evaluate(`registration.getNotifications()
      .then((all) => ({ opened: self.opened, left: all.length }))`)
    await expect.poll(opened, { timeout: 20_000 }).toEqual({ opened: ['/approvals'], left: 0 })
    expect(policyBreaches).toEqual([])
  }, 90_000)

  test('what it was told is so after the page is opened again, until it is ended there, or by signing out', async () => {
    await using phone = await openPhone('bob')
    const { page } = phone
    const [on, off] = [
      page.getByRole('button', { name: 'Tell me on this device' }),
      page.getByRole('button', { name: 'Do not tell me here any more' }),
    ]
    await on.click()
    await off.waitFor()
    await page.reload()
    await off.waitFor()
    await page.getByText('You are told on one device.').waitFor()
    await off.click()
    await page.getByText('You will not be told on this device any more.').waitFor()
    await ask('bob')
    await page.waitForTimeout(500)
    expect(phone.subscribed()?.messages).toEqual([])

    await on.click()
    await page.getByText('You will be told on this device.').waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL('**/sign-in**')
    await ask('bob')
    await page.waitForTimeout(500)
    expect(phone.subscribed()?.messages).toEqual([])
    expect(await world.database.query(`select 1 from push_subscriptions where person = 'bob'`)).toEqual([])
  }, 90_000)

  test('whoever may not be told there, or has no such browser, is told why', async () => {
    await using chromium = await openChromium({ width: 390, height: 844 })
    const { context, page } = chromium
    await context.addInitScript(`delete window.PushManager; navigator.standalone = false`)
    await page.goto(`${world.url}/sign-in?next=%2Fapprovals`)
    await page.getByLabel('Account').fill('carol')
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.getByText('On an iPhone or iPad, first put this page on your home screen').waitFor()
    expect(await page.getByRole('button', { name: 'Tell me on this device' }).isVisible()).toBe(false)
  }, 90_000)

  test('Chromium finds nothing that keeps the page from being installed', async () => {
    await using phone = await openPhone('dan')
    const cdp = await phone.chromium.context.newCDPSession(phone.page)
    const { errors, url } = await cdp.send('Page.getAppManifest')
    expect(url).toBe(`${world.url}/approvals/manifest.webmanifest`)
    expect(errors).toEqual([])
    const { installabilityErrors } = await cdp.send('Page.getInstallabilityErrors')
    // A context of a test is like a private window.
    expect(installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito')).toEqual([])
  }, 90_000)
})

/** Runs in the page: a browser's subscriptions, kept at the double and in the page's own storage. */
const fakeSubscriptions = `
  const read = () => JSON.parse(localStorage.getItem('subscription') ?? 'null')
  const wrap = (json) => json && { endpoint: json.endpoint, toJSON: () => json, unsubscribe: async () => (localStorage.removeItem('subscription'), true) }
  PushManager.prototype.getSubscription = async () => wrap(read())
  PushManager.prototype.subscribe = async ({ applicationServerKey }) => {
    const json = await subscribeAtDouble(applicationServerKey)
    localStorage.setItem('subscription', JSON.stringify({ ...json, expirationTime: null }))
    return wrap(read())
  }`

/** The id by which the protocol knows the worker's registration, once there is one. */
const registrationOf = (cdp: CDPSession): Promise<string> =>
  new Promise((resolve) => {
    cdp.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => {
      const [first] = registrations
      if (first !== undefined) resolve(first.registrationId)
    })
  })
