import { decodeJwt } from 'jose'
import type { Page, Request } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { needsChromium } from '../support/native.ts'
import { type ConsolePage, type ConsoleWorld, openConsoleWorld, phone } from './open.ts'

const hostile = `<img src=x onerror="alert(1)"><script>alert(2)</script>`

describe('the console', needsChromium, () => {
  let world: ConsoleWorld
  let browser: ConsolePage
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    world = await openConsoleWorld()
    await world.service.agents.save({
      id: 'other-bot',
      owner: 'user:dan',
      title: hostile,
      purpose: `javascript:alert(3)//${hostile}`,
      issuer: world.service.ownIssuer,
      sub: 'other-bot',
    })
    browser = await world.open()
  })
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]()
    await world?.[Symbol.asyncDispose]()
  })

  const consents = async (user: string) =>
    (
      await world.database.query<{ scope: string }>(
        `select detail->>'scope' as scope from decision_records
         where event = 'consented' and detail->>'client' = 'remit-console' and subject = $1`,
        [`user:${user}`],
      )
    ).map(({ scope }) => scope)

  test('signs an administrator in for their roles alone, each time on record, and a reload asks nothing', async () => {
    const { page } = browser
    await browser.signIn('anne', '/console/agents')
    await page.getByRole('heading', { name: 'Agents' }).waitFor()
    expect(await browser.findings('agents')).toEqual([])
    await page.reload()
    await page.getByRole('link', { name: 'research-bot' }).waitFor()
    const roles = 'security.read security.write agents.write'
    expect(await consents('anne')).toEqual([roles, roles])
  })

  test('asks the API with a token that is bound to a key of the page, for five minutes, and keeps neither', async () => {
    const { page, context } = browser
    const [asked] = await Promise.all([apiRequest(page), page.reload()])
    const { authorization = '', dpop, cookie } = await asked.allHeaders()
    const [scheme, token = ''] = authorization.split(' ')
    expect([scheme, typeof dpop, cookie]).toEqual(['DPoP', 'string', undefined])
    const { exp = 0, iat = 0, cnf, client_id, act } = decodeJwt(token)
    expect({ lives: exp - iat, client_id, act }).toEqual({ lives: 300, client_id: 'remit-console' })
    expect(cnf).toEqual({ jkt: expect.stringMatching(/^[\w-]{43}$/) })
    const stored = await page.evaluate<string>('JSON.stringify([{ ...localStorage }, { ...sessionStorage }])')
    expect(stored).toBe('[{},{}]')
    const names = (await context.cookies()).map(({ name }) => name)
    expect(names.filter((name) => !name.startsWith('remit_oauth'))).toEqual([])
    // Shown by somebody else, without the key.
    const alone = await world.call('GET', '/agents', { headers: { authorization: `Bearer ${token}` } })
    expect(alone.status).toBe(401)
  })

  test('runs nothing of what stands in a name or a purpose', async () => {
    const { page } = browser
    await page.getByRole('link', { name: 'other-bot' }).click()
    await page.getByRole('heading', { name: 'Agent other-bot' }).waitFor()
    expect(await page.getByText(hostile, { exact: true }).count()).toBe(1)
    await page.getByRole('link', { name: 'Agents' }).click()
    await page.getByRole('link', { name: 'research-bot' }).waitFor()
    expect(await page.locator('img, main script').count()).toBe(0)
    expect(browser.said).toEqual([])
  })

  test('pulls the kill switch once its name is typed, and says what that did', async () => {
    const { page } = browser
    await world.lend('anne', 'other-bot', 'collection:handbook')
    const token = await world.token({ user: 'anne', agent: 'other-bot' })
    await page.getByRole('link', { name: 'other-bot' }).click()
    const pull = page.getByRole('button', { name: 'Disable this agent' })
    await page.getByLabel('Type other-bot to confirm').fill('other')
    expect(await pull.isDisabled()).toBe(true)
    await page.getByLabel('Type other-bot to confirm').fill('other-bot')
    await pull.click()
    await page.getByText('Disabled. No token in whose chain it stands counts any more').waitFor()
    expect(await browser.findings('kill-switch')).toEqual([])
    expect((await world.call('POST', '/retrieve', { token, body: { query: 'x' } })).status).toBe(403)
  })

  test('shows whoever has one role only what that role opens, on a phone too', async () => {
    await using handset = await world.open(phone)
    await handset.signIn('bob')
    await handset.page.getByRole('heading', { name: 'What can be asked here' }).waitFor()
    expect(await handset.page.getByRole('link', { name: 'Agents' }).count()).toBe(0)
    expect(await handset.findings('phone-home')).toEqual([])
    expect(handset.said).toEqual([])
  })

  test('lets nobody in who has no role, says how one is given, and puts nothing on record as agreed to', async () => {
    await using other = await world.open(phone)
    await other.signIn('carol')
    await other.page.getByRole('heading', { name: 'This account has no role here' }).waitFor()
    expect(await other.findings('no-role')).toEqual([])
    expect(await consents('carol')).toEqual([])
  })

  test('asks for a sign-in anew where the last one counts no more, and comes back to the place', async () => {
    const { page } = browser
    await world.database.query(`delete from oauth_grants`)
    await page.context().clearCookies()
    await page.goto(`${world.url}/console/agents/research-bot`)
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    expect(await consents('anne')).toHaveLength(3)
  })
})

const apiRequest = (page: Page): Promise<Request> =>
  page.waitForRequest((request) => new URL(request.url()).pathname === '/agents')
