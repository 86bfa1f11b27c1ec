import axe, { type AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { ApprovalOptions } from '../../src/delegation/approvals/request-approval.ts'
import type { RequestedAccess } from '../../src/delegation/approvals/requested-access.ts'
import { digestOfBody } from '../../src/delegation/vault/call.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { type Chromium, openChromium } from '../support/chromium.ts'
import { needsChromium } from '../support/native.ts'
import { sideways } from '../support/screen.ts'
import { startCommand } from './process.ts'

const phone = { width: 390, height: 844 }
// What is pressed, and lower than a thumb: runs in the page.
const missed = `[...document.querySelectorAll('button, label.line, select, input[type=text], summary, a.button, nav a')]
  .filter((one) => one.checkVisibility())
  .map((one) => [one.textContent, one.getBoundingClientRect().height])
  .filter(([, height]) => height < 44)`
// Whether a click on the middle of the yes would reach it, so many milliseconds after the page came up.
const reaches = (ms: number): string => `(() => {
  const button = document.querySelector('#yes .wakes')
  button.scrollIntoView({ block: 'center' })
  button.style.animation = 'none'
  button.offsetWidth
  button.style.animation = ''
  for (const one of button.getAnimations()) {
    one.pause()
    one.currentTime = ${ms}
  }
  const { x, y, width, height } = button.getBoundingClientRect()
  const there = document.elementFromPoint(x + width / 2, y + height / 2)
  for (const one of button.getAnimations()) one.finish()
  return there === button
})()`
// Whatever takes the focus by the keyboard and lies under something then (WCAG 2.2, 2.4.11), from below as
// from above.
const hidden = `(() => {
  const all = [...document.querySelectorAll('main button, main a, main summary, main input, main select')]
    .filter((one) => one.checkVisibility() && one.type !== 'hidden' && one.closest('.news') === null)
  const covered = (one) => {
    one.focus()
    const { x, y, width, height } = (one.getClientRects()[0])
    const there = document.elementFromPoint(x + width / 2, y + height / 2)
    return there?.closest('.news') != null || there === null
  }
  document.querySelectorAll('.wakes').forEach((one) => one.getAnimations().forEach((each) => each.finish()))
  return [...all, ...all.toReversed()].filter(covered).map((one) => one.textContent)
})()`
const longTitle = `Finance, ${'and everything that was ever filed under that name, '.repeat(2)}${'Aufbewahrung'.repeat(5)}`
// A folder for pictures of the pages, to be looked at.
const shots = process.env.REMIT_SHOTS

describe('a person answers on their phone', needsChromium, () => {
  let world: IssuerWorld
  let delegation: string
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    world = await openIssuerWorld({
      env: {
        VAULT_PROVIDERS: JSON.stringify([
          { provider: 'github', client_id: 'remit', client_secret_env: 'GITHUB_SECRET' },
        ]),
        GITHUB_SECRET: 'tests',
      },
    })
    await world.database.query(
      `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key,
         key_version, token_expires_at, refreshable, sealed_at, created_at)
       values ('c_1', 'user:anne', 'github', 'https://github.com/login/oauth', '1', 'anne-weber', 'live', '{}', 'none', 'none',
         'home', now(), true, now(), now())`,
    )
    const issuer = world.service.ownIssuer
    await world.service.agents.save({
      id: 'research-bot',
      title: 'Research assistant',
      owner: 'user:dan',
      purpose: 'Finds and compares what your organization wrote.',
      issuer,
      sub: 'research-bot',
    })
    await world.service.issuer.resources.save({
      resource: 'https://broker.example/api',
      scopes: ['trade'],
      takesVerification: false,
    })
    await world.service.ingest.saveCollection(operator('test'), {
      id: 'finance',
      title: longTitle,
      publicAllowed: false,
    })
    const access = { owner: 'user:bob', viewers: ['user:anne'], sensitive: true }
    const minutes = { collection: 'finance', text: 'The board decided on the budget.', access }
    await world.put({
      'board/2026-05': { ...minutes, title: 'Board minutes, 12 May' },
      'board/2026-06': { ...minutes, title: 'Board minutes, 9 June' },
      [`board/2026-07/${'salaries'.repeat(15)}`]: {
        ...minutes,
        title: `Board minutes, 14 July: ${longTitle}`,
      },
    })
    const lent = await world.service.delegations.lend({
      subject: 'user:anne',
      agent: 'research-bot',
      scope: ['collection:finance'],
      purpose: 'Preparing the quarterly report',
      expiresAt: new Date(Date.now() + 8 * 3_600_000),
    })
    delegation = lent.id
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  /** Signed in with a passkey of this device, on the list of approvals. */
  async function openPhone(
    user: string,
    options: object = {},
  ): Promise<Chromium & { readonly said: string[] }> {
    const browser = await openChromium({ ...phone, ...options })
    const { page, context } = browser
    const said: string[] = []
    page.on('console', (message) => said.push(message.text()))
    await browser.addDevice()
    await page.goto(`${world.url}/sign-in?next=/passkeys`)
    await page.getByLabel('Account').fill(user)
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.getByLabel('What is it on?').fill('My phone')
    await page.getByRole('button', { name: 'Add a passkey' }).click()
    await page.getByText('never used').waitFor()
    await context.clearCookies()
    await page.goto(`${world.url}/sign-in?next=/approvals`)
    await page.getByRole('button', { name: 'Sign in with a passkey' }).click()
    await page.waitForURL('**/approvals')
    return { ...browser, said, [Symbol.asyncDispose]: () => browser[Symbol.asyncDispose]() }
  }

  const shot = async (page: Page, name: string): Promise<void> => {
    if (shots !== undefined) await page.screenshot({ path: `${shots}/page-${name}.png`, fullPage: true })
  }

  /** Nothing serious by axe, nothing wider than the screen, nothing that a thumb misses. */
  async function expectKind(page: Page): Promise<void> {
    await page.evaluate(axe.source)
    const { violations } = await page.evaluate<AxeResults>('axe.run()')
    const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    expect(grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)).toEqual([])
    expect(await sideways(page)).toEqual([])
    expect(await page.evaluate(missed)).toEqual([])
  }

  test('asks back, leaves one of three documents out, approves for one use, and the agent reads two, once', async () => {
    await using browser = await openPhone('anne')
    const { page, said } = browser
    await page.getByText('Nothing waits for you.').waitFor()
    await expectKind(page)
    await using agent = startCommand(
      [],
      {
        REMIT_URL: world.url,
        TOKEN: await world.token({ user: 'anne', agent: 'research-bot' }),
        QUERY: 'What did the board decide on the budget?',
      },
      'test/support/asking-agent.ts',
    )
    const heard = async (step: string): Promise<{ readonly what: unknown; readonly at: number }> => {
      await agent.said(`{"step":"${step}"`)
      await expect
        .poll(() => agent.stdout(), { timeout: 20_000 })
        .toMatch(new RegExp(`{"step":"${step}".*}\n`))
      const line = agent
        .stdout()
        .split('\n')
        .find((one) => one.startsWith(`{"step":"${step}"`))
      return JSON.parse(line ?? '{}') as { what: unknown; at: number }
    }
    expect((await heard('first')).what).toEqual([])
    await heard('asked')

    await page.reload()
    await shot(page, 'list-light')
    await expectKind(page)
    await page.getByRole('link', { name: /Research assistant wants to read documents/ }).click()
    await page
      .getByRole('heading', { name: 'Research assistant wants to read 3 documents for you' })
      .waitFor()
    expect(await page.getByText('Its question is not kept in words').count()).toBe(1)
    await shot(page, 'one-light')
    await expectKind(page)
    // The widest yes, with the title of a place in it.
    await page.getByRole('radio', { name: /^Without asking again/ }).check()
    await expectKind(page)
    await page.getByRole('radio', { name: /^Once/ }).check()
    await page.getByText('Ask it something first').click()
    await page.getByLabel('Your question to the agent').fill('Which minutes, and what will you do with them?')
    await shot(page, 'ask-light')
    await page.getByRole('button', { name: 'Ask', exact: true }).click()
    await page.getByText(/^Asked. Its answer/).waitFor()
    await shot(page, 'asked-light')
    await expectKind(page)
    expect((await heard('question')).what).toBe('Which minutes, and what will you do with them?')
    await expect
      .poll(
        async () => {
          const again = page.getByRole('link', { name: 'Look again' })
          if ((await again.count()) > 0) await again.click()
          return page.getByText('The three sets of minutes since May.').count()
        },
        { timeout: 20_000 },
      )
      .toBe(1)

    // Their passkey was a while ago.
    await world.database.query('update browser_sessions set verified_at = $1', [
      new Date(Date.now() - 360_000),
    ])
    await page.reload()
    await page.getByLabel(/Board minutes, 14 July/).uncheck()
    await page.emulateMedia({ colorScheme: 'dark' })
    await shot(page, 'answered-dark')
    await expectKind(page)
    await page.emulateMedia({ colorScheme: 'light' })
    await shot(page, 'answered-light')
    // Meant for a window that closed under a double click.
    expect([await page.evaluate(reaches(500)), await page.evaluate(reaches(1_000))]).toEqual([false, true])
    const at = Date.now()
    await page.getByRole('button', { name: 'Approve with your passkey' }).click()
    await page.getByText('Approved. The agent can go on.').waitFor()
    await shot(page, 'approved-light')
    await expectKind(page)

    const decided = await heard('decided')
    expect(decided.what).toBe('approved')
    // Seconds; the rest is for a machine that is busy.
    expect(decided.at - at).toBeLessThan(15_000)
    expect((await heard('once')).what).toEqual(['board/2026-05', 'board/2026-06'])
    expect((await heard('twice')).what).toEqual([])
    expect((await agent.exit).code).toBe(0)
    await page.reload()
    expect(await page.getByText('No approvals in effect').count()).toBe(1)
    // Nothing was blocked, nothing complained.
    expect(said).toEqual([])
  }, 120_000)

  async function asked(what: RequestedAccess, words: Partial<ApprovalOptions>): Promise<string> {
    const asker = {
      subject: 'user:anne',
      agent: 'research-bot',
      client: 'agent-app',
      delegation,
      txn: 't_1',
    } as const
    return (await world.service.approvals.ask(asker, what, { seconds: 600, front: 'rest', ...words })).id
  }

  test.each([
    { width: 390, height: 664 },
    { width: 1024, height: 820 },
  ])(
    'news of the account hide nothing that has the focus, and the first click approves ($width × $height)',
    async (viewport) => {
      await using browser = await openChromium(viewport)
      const { page } = browser
      await world.database.query(
        `insert into account_links (issuer, sub, person, linked_at) values
         ('https://one.example', $1, 'anne', now()), ('https://two.example', $1, 'anne', now())`,
        [String(viewport.width)],
      )
      const id = await asked(
        {
          kind: 'access',
          resource: 'https://broker.example/api',
          scopes: ['trade'],
          details: [{ type: 'trade_order', symbol: 'ACME', note: longTitle }],
        },
        { bindingMessage: 'W3-K9', front: 'ciba' },
      )
      await page.goto(`${world.url}/sign-in?next=/approvals`)
      await page.getByLabel('Account').fill('anne')
      await page.getByLabel('Password').fill(password)
      await page.getByRole('button', { name: 'Sign in', exact: true }).click()
      await page.waitForURL('**/approvals')
      await page.goto(`${world.url}/approvals/${id}`)
      await page.getByText('was linked to yours').first().waitFor()
      expect(await page.evaluate(hidden)).toEqual([])
      await page.getByRole('button', { name: 'Approve' }).click()
      await page.getByText('Approved. The agent can go on.').waitFor()
    },
  )

  test('says a call to a third party and an order in words, also where there is little room and no script', async () => {
    await using browser = await openChromium({ width: 360, height: 740, script: false })
    const { page } = browser
    const body = '{"title": "Publish the budget",\n "body": "As the board decided on 9 June."}'
    const call = {
      connection: 'c_1',
      method: 'POST',
      path: '/repos/acme/website/issues?labels=board%20follow-up',
      contentType: 'application/json',
      bodyDigest: digestOfBody(Buffer.from(body)) ?? '',
    }
    const callId = await asked(
      { kind: 'vault_call', scopes: [], provider: 'github', call, body },
      { purpose: 'To open the issue that the board asked for.' },
    )
    const order = { type: 'trade_order', side: 'buy', symbol: 'ACME', quantity: 10, limit: '42.50 EUR' }
    const orderId = await asked(
      { kind: 'access', resource: 'https://broker.example/api', scopes: ['trade'], details: [order] },
      { bindingMessage: 'W3-K9', front: 'ciba' },
    )
    await page.goto(`${world.url}/sign-in?next=/approvals`)
    await page.getByLabel('Account').fill('anne')
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.waitForURL('**/approvals')
    await shot(page, 'list-narrow')
    await page.goto(`${world.url}/approvals/${callId}`)
    await page.getByRole('heading', { name: 'wants to send or create something at GitHub for you' }).waitFor()
    for (const words of [
      'api.github.com',
      'anne-weber',
      'board follow-up',
      'changes things there',
      'As the board decided',
    ])
      expect(await page.getByText(words).count()).toBe(1)
    // It takes a passkey, which takes the script.
    expect(await page.getByRole('button', { name: /Approve/ }).count()).toBe(0)
    await shot(page, 'call-narrow')
    await page.goto(`${world.url}/approvals/${orderId}`)
    await page.getByText('42.50 EUR').waitFor()
    await shot(page, 'order-narrow')
    await page.getByRole('button', { name: 'Approve' }).click()
    await page.getByText('Approved. The agent can go on.').waitFor()
    await page.goto(`${world.url}/approvals/${callId}`)
    await page.getByText('Refuse and say why, or block it').click()
    await page.getByLabel('Tell the agent why').fill('Write it yourself, please.')
    await page.getByLabel('Block this agent').check()
    await shot(page, 'refuse-narrow')
    await page.getByRole('button', { name: 'Refuse' }).last().click()
    await page.getByText('Refused and blocked.').waitFor()
    await shot(page, 'blocked-narrow')
    await page.getByRole('button', { name: 'Unblock' }).click()
    await page.getByText('The agent may ask you again.').waitFor()
  })
})
