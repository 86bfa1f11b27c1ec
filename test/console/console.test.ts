import { eventNames } from '@remit/contract/events'
import { decodeJwt } from 'jose'
import type { Locator, Page, Request } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { record } from '../../src/audit/record.ts'
import { password } from '../delegation/issuer/world.ts'
import { needsChromium } from '../support/native.ts'
import { type ConsolePage, type ConsoleWorld, openConsoleWorld, phone } from './open.ts'

const hostile = `<img src=x onerror="alert(1)"><script>alert(2)</script>`

describe('the console', needsChromium, () => {
  let world: ConsoleWorld
  let browser: ConsolePage
  let delegation: string
  let action: string
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
    await world.put({
      'handbook/travel': { text: 'Travel costs.', access: { viewers: ['user:anne'] } },
      'finance/budget': { collection: 'finance', text: 'The travel budget.', access: { owner: 'user:anne' } },
    })
    delegation = await world.lend('anne', 'research-bot', 'collection:handbook', 'collection:finance')
    const token = await world.token({ user: 'anne', agent: 'research-bot' })
    const refused = await world.call('GET', '/documents/handbook%2Ftravel', {
      token: await world.token({ user: 'bob' }),
    })
    expect(refused.status).toBe(404)
    const who = { subject: 'user:dan', actors: [], client: 'remit-console', txn: 't_model' } as const
    await record(world.database, who, {
      event: 'model_activated',
      plan: 'p_wider',
      digest: 'x',
      base_model: 'before',
      model_id: 'after',
    })
    action = (await world.retrieve(token, { query: 'travel' })).txn
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

  test('signs an administrator in for their roles alone, each time on record, and a reload asks nothing and is refused nothing', async () => {
    const { page } = browser
    await browser.signIn('anne', '/console/agents')
    await page.getByRole('heading', { name: 'Agents' }).waitFor()
    expect(await browser.findings('agents')).toEqual([])
    const refused: string[] = []
    page.on('response', (one) => {
      if (one.status() >= 400) refused.push(`${one.status()} ${one.url()}`)
    })
    await page.reload()
    await page.getByRole('link', { name: 'research-bot' }).waitFor()
    expect(refused).toEqual([])
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
    // The sign-in's own, which no route of the API reads.
    expect(names.filter((name) => !name.startsWith('remit_oauth') && name !== 'remit_known')).toEqual([])
    // Shown by somebody else, without the key.
    const alone = await world.call('GET', '/agents', { headers: { authorization: `Bearer ${token}` } })
    expect(alone.status).toBe(401)
  })

  test('runs nothing of what stands in a name or a purpose', async () => {
    const { page } = browser
    await page.getByRole('link', { name: 'other-bot' }).click()
    await page.getByRole('heading', { name: 'Agent other-bot' }).waitFor()
    await page.getByText(hostile, { exact: true }).waitFor()
    await page.getByRole('link', { name: 'Agents' }).click()
    await page.getByRole('link', { name: 'research-bot' }).waitFor()
    expect(await page.locator('img, main script').count()).toBe(0)
    expect(browser.said).toEqual([])
  })

  test('shows the hosts that are disabled once they are asked for', async () => {
    const { page } = browser
    await world.database.query(`insert into denied_hosts (host, denied_at) values ('evil.example', now())`)
    expect(await page.getByText('evil.example').count()).toBe(0)
    await page.getByRole('button', { name: 'Show disabled hosts' }).click()
    await page.getByRole('cell', { name: 'evil.example' }).waitFor()
    expect(await browser.findings('disabled-hosts')).toEqual([])
  })

  test('pulls the kill switch once its name is typed, and says what that did', async () => {
    const { page } = browser
    await world.lend('anne', 'other-bot', 'collection:handbook')
    const token = await world.token({ user: 'anne', agent: 'other-bot' })
    await page.getByRole('link', { name: 'other-bot' }).click()
    await page.getByText('lent to another agent that may pass it on to this one, as its sub-agent').waitFor()
    const pull = page.getByRole('button', { name: 'Disable this agent' })
    await page.getByLabel('Type other-bot to confirm').fill('other')
    expect(await pull.isDisabled()).toBe(true)
    await page.getByLabel('Type other-bot to confirm').fill('other-bot')
    await pull.click()
    await page.getByText('Disabled. No token in whose chain it stands counts any more').waitFor()
    expect(await browser.findings('kill-switch')).toEqual([])
    expect((await world.call('POST', '/retrieve', { token, body: { query: 'x' } })).status).toBe(403)
  })

  test('says at a glance how much was asked and refused, in a picture and in numbers that lead on', async () => {
    const { page } = browser
    await page.getByRole('link', { name: 'Overview' }).click()
    await page.locator('canvas').waitFor()
    expect(await browser.findings('overview')).toEqual([])
    await page.getByText('As a table').click()
    await page.getByRole('columnheader', { name: 'Denied' }).waitFor()
    await page.emulateMedia({ colorScheme: 'dark' })
    expect(await browser.findings('overview-dark')).toEqual([])
    await page.emulateMedia({ colorScheme: 'light' })
    await page.getByRole('definition').nth(1).getByRole('link', { name: '1' }).click()
    await page.getByRole('row', { name: 'document_read' }).getByText('user:bob').waitFor()
  })

  test('leads from a document that leaked to people, agent, delegation, model change and the tuple that let it out, in six clicks', async () => {
    const { page } = browser
    let clicks = 0
    const click = async (link: Locator): Promise<void> => {
      clicks += 1
      await link.click()
    }
    await click(page.getByRole('link', { name: 'Who got it' }))
    await page.getByLabel('Document').fill('document:finance/budget')
    await click(page.getByRole('button', { name: 'Who got it?' }))
    await page.getByText('One person.').waitFor()
    const reader = page.getByRole('row', { name: 'user:anne' })
    expect(await reader.innerText()).toMatch(/user:anne anne[\s\S]*agent:research-bot[\s\S]*\b1\b/)
    expect(await browser.findings('readers')).toEqual([])
    await click(reader.getByRole('link', { name: /^20\d\d-/ }))
    await page.getByRole('heading', { name: `Action ${action}` }).waitFor()
    const grounds = page.getByRole('listitem').filter({ hasText: 'model_activated' })
    expect(await grounds.innerText()).toMatch(/user:dan[\s\S]*plan:p_wider/)
    const rested = page.getByRole('list', { name: 'What finance/budget rested on then' })
    expect(await rested.innerText()).toContain('user:anne owner document:finance/budget')
    await click(rested.getByRole('link', { name: 'how it came about' }).first())
    await page.getByRole('link', { name: 'document_published' }).waitFor()
    await page.goBack()
    await click(page.getByRole('link', { name: `delegation:${delegation}` }).first())
    await page.getByRole('heading', { name: `Delegation ${delegation}` }).waitFor()
    const facts = page.locator('dl.facts').first()
    expect(await facts.innerText()).toMatch(
      /live[\s\S]*user:anne anne[\s\S]*agent:research-bot[\s\S]*collection:finance/,
    )
    await page.getByRole('row', { name: 'delegation_made' }).waitFor()
    expect(await browser.findings('delegation')).toEqual([])
    await click(page.getByRole('link', { name: 'What it read for them since' }))
    await page.getByText('0 would be refused today').waitFor()
    expect(await page.getByRole('row', { name: 'finance/budget' }).innerText()).toMatch(
      /allowed[\s\S]*Explain/,
    )
    expect(await browser.findings('reads')).toEqual([])
    expect(clicks).toBe(6)
  })

  test('says what would be refused today of what was given then, and why', async () => {
    const { page } = browser
    await world.remove('user:anne owner document:finance/budget')
    await page.reload()
    await page.getByText('1 would be refused today').waitFor()
    const row = page.getByRole('row', { name: 'finance/budget' })
    expect(await row.innerText()).toContain('refused')
    await row.getByRole('link', { name: 'Explain' }).click()
    await page.getByText('user:anne may not read it').waitFor()
    await world.write('user:anne owner document:finance/budget')
  })

  test('says of an agent whether it reads more than usual, and lists what people lent to it', async () => {
    const { page } = browser
    for (let back = 1; back <= 9; back += 1)
      await world.database.query(
        `insert into agent_baselines select 'agent:research-bot', now()::date - $1::int, 'd' || n, 2 from generate_series(1, $2::int) n`,
        [back, back === 2 ? 60 : 4],
      )
    await page.goto(`${world.url}/console/agents/research-bot`)
    await page.getByText('Not unusual: today it read as on a normal day.').waitFor()
    await page.getByText('Day by day').click()
    const day = new Date(Date.now() - 2 * 86_400_000).toISOString().slice(0, 10)
    await page.getByRole('link', { name: `Check this day ${day}` }).click()
    await page.getByText(`Unusual: on ${day} it read more than on a normal day.`).waitFor()
    expect(await page.getByRole('row', { name: 'Documents never given' }).innerText()).toMatch(
      /56[\s\S]*unusual/,
    )
    expect(await browser.findings('agent-reach')).toEqual([])
    const lent = page.getByRole('region', { name: 'What people lent to it' })
    await lent.getByRole('row', { name: delegation }).waitFor()
    await page.getByLabel('For whom').fill('user:anne')
    await page.getByRole('button', { name: 'What it read for them' }).click()
    await page.getByText('2 documents; of these').waitFor()
  })

  test('lists delegations to pick from, by whose, to whom and what became of them', async () => {
    const { page } = browser
    await world.service.delegations.revoke(await world.lend('bob', 'research-bot', 'collection:finance'))
    await page.getByRole('link', { name: 'Delegations' }).click()
    await page.getByLabel('State').selectOption('revoked')
    await page.getByLabel('Who lent').fill('user:bob')
    await page.getByRole('button', { name: 'List them' }).click()
    await page.getByText('1, of which 0 live').waitFor()
    expect(await page.getByRole('row', { name: 'user:bob' }).innerText()).toMatch(
      /collection:finance[\s\S]*revoked/,
    )
    expect(await browser.findings('delegations')).toEqual([])
  })

  test('leads from the search of the record to one action, to why, and to the agent', async () => {
    const { page } = browser
    await page.getByRole('link', { name: 'Record' }).click()
    await page.getByLabel('About').fill('document:finance/budget')
    await page.getByLabel('Decision').selectOption('allowed')
    await page.getByRole('button', { name: 'Search' }).click()
    await page.getByText('1 record.').waitFor()
    const row = page.getByRole('row', { name: 'retrieved' })
    expect(await row.innerText()).toMatch(
      /user:anne anne[\s\S]*agent:research-bot[\s\S]*document:finance\/budget/,
    )
    expect(await browser.findings('record')).toEqual([])
    await row.getByRole('link', { name: 'retrieved' }).click()
    await page.getByRole('heading', { name: `Action ${action}` }).waitFor()
    const steps = page.getByRole('listitem').filter({ has: page.locator('.step') })
    await page.getByRole('heading', { name: 'What it rests on' }).waitFor()
    expect(await steps.first().innerText()).toMatch(/delegation_made[\s\S]*collection:finance/)
    expect(await steps.last().innerText()).toMatch(
      /2 documents were released:[\s\S]*document:finance\/budget · 1 passage/,
    )
    expect(await browser.findings('action')).toEqual([])
    await steps.last().getByRole('link', { name: 'why' }).first().click()
    await page.getByRole('heading', { name: 'Why' }).waitFor()
    await page.getByText('user:anne owner document:finance/budget').first().waitFor()
    expect(await page.getByLabel('Delegation').inputValue()).toBe(delegation)
    await page.goBack()
    await steps.last().getByRole('link', { name: 'agent:research-bot' }).last().click()
    await page.getByRole('heading', { name: 'Agent research-bot' }).waitFor()
    const lent = page.getByRole('row', { name: delegation })
    expect(await lent.innerText()).toMatch(/user:anne[\s\S]*collection:finance[\s\S]*live/)
    await page
      .getByRole('region', { name: 'What it did last' })
      .getByText('document:finance/budget')
      .waitFor()
    expect(await browser.findings('agent')).toEqual([])
    await page.goBack()
    await steps.last().getByRole('link', { name: delegation }).last().click()
    await page.getByRole('cell', { name: 'delegation_made' }).waitFor()
  })

  test('names the command of a record of one, where no document or agent is named', async () => {
    const { page } = browser
    const operator = { subject: 'service:remit', actors: [], client: 'machine', txn: 't_command' } as const
    await record(world.database, operator, { event: 'command', command: 'drift', arguments: {} })
    await page.goto(`${world.url}/console/record?event=command`)
    const row = page.getByRole('row', { name: 'service:remit' })
    await row.waitFor()
    expect(await row.getByRole('cell').last().innerText()).toBe('drift')
  })

  test('says which field of a search is wrong, and that nothing fits', async () => {
    const { page } = browser
    await page.getByRole('link', { name: 'Record' }).click()
    await page.getByLabel('About').fill('document:nobody/has-it')
    await page.getByLabel('About').press('Enter')
    await page.getByText('Nothing on record fits.').waitFor()
    await page.goto(`${world.url}/console/record?event=nonsense`)
    await page.getByRole('alert').getByText('(event)').waitFor()
    expect(await browser.findings('record-problem')).toEqual([])
  })

  test('asks for every event that there is', async () => {
    const { page } = browser
    await page.goto(`${world.url}/console/record`)
    const choices = page.locator('select[name=event] option')
    await choices.first().waitFor({ state: 'attached' })
    expect((await choices.allTextContents()).slice(1)).toEqual(eventNames)
  })

  test('shows whoever may read the record no switch, and all of it on a phone too', async () => {
    await using handset = await world.open(phone)
    await handset.signIn('bob', '/console/record?event=retrieved')
    await handset.page.getByRole('link', { name: 'retrieved' }).waitFor()
    expect(await handset.findings('phone-record')).toEqual([])
    await handset.page.getByRole('link', { name: 'retrieved' }).click()
    await handset.page.getByText('2 documents were released:').waitFor()
    expect(await handset.findings('phone-action')).toEqual([])
    await handset.page.getByRole('link', { name: 'agent:research-bot' }).last().click()
    await handset.page.getByRole('row', { name: delegation }).waitFor()
    expect(await handset.page.getByRole('heading', { name: 'Kill switch' }).count()).toBe(0)
    expect(await handset.findings('phone-agent')).toEqual([])
    await handset.page.getByRole('link', { name: 'Overview' }).click()
    await handset.page.locator('canvas').waitFor()
    expect(await handset.findings('phone-overview')).toEqual([])
    expect(handset.said).toEqual([])
  })

  test('lets nobody in who has no role, says how one is given, and puts nothing on record as agreed to', async () => {
    await using other = await world.open(phone)
    await other.signIn('carol')
    await other.page.getByRole('heading', { name: 'This account has no role here' }).waitFor()
    expect(await other.findings('no-role')).toEqual([])
    expect(await consents('carol')).toEqual([])
  })

  test('asks for a sign-in anew where the last one is too old, and comes back to the place', async () => {
    const { page } = browser
    const tooOld = {
      title: 'A recent sign-in is needed',
      code: 'insufficient_user_authentication',
      txn: 't_1',
    }
    await page.goto(`${world.url}/console/agents`)
    await page.getByRole('link', { name: 'research-bot' }).waitFor()
    await page.route('**/agents/research-bot', (route) =>
      route.fulfill({ status: 403, contentType: 'application/problem+json', json: tooOld }),
    )
    await page.getByRole('link', { name: 'research-bot' }).click()
    await page.getByRole('alert').getByText('A recent sign-in is needed').waitFor()
    expect(await browser.findings('too-old')).toEqual([])
    await page.unroute('**/agents/research-bot')
    await page.getByRole('button', { name: 'Sign in again' }).click()
    await page.getByLabel('Account').fill('anne')
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.waitForURL(`${world.url}/console/agents/research-bot`)
    await page.getByRole('heading', { name: 'Kill switch' }).waitFor()
  })

  test('says until when one is signed in, and offers to go on before that ends', async () => {
    await using other = await world.open()
    const { page } = other
    await page.clock.install()
    await other.signIn('bob', '/console/agents')
    await page.getByRole('link', { name: 'research-bot' }).waitFor()
    expect(await page.getByRole('status').first().innerText()).toMatch(/^until \d\d:\d\d UTC$/)
    await page.clock.fastForward('13:30')
    await page.getByText(/^your sign-in ends at /).waitFor()
    await page.getByRole('button', { name: 'Sign in anew' }).waitFor()
    expect(await other.findings('sign-in-ends')).toEqual([])
    await page.clock.fastForward('02:00')
    await page.getByText('your sign-in is over').waitFor()
  })

  test('signs out in every tab at once and at the authorization server, on record: whoever opens it next has to sign in', async () => {
    const { page } = browser
    await page.goto(`${world.url}/console/agents`)
    const [asked] = await Promise.all([
      apiRequest(page),
      page.getByRole('link', { name: 'Agents' }).waitFor(),
    ])
    const ended = async () =>
      world.database.query(
        `select from decision_records where event = 'signed_out' and subject = 'user:anne'`,
      )
    expect(await ended()).toHaveLength(0)
    const other = await page.context().newPage()
    await other.goto(`${world.url}/console/record`)
    await other.getByRole('link', { name: 'record_read' }).first().waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    await other.getByRole('heading', { name: 'You are signed out' }).waitFor()
    expect(await other.getByText('user:anne').count()).toBe(0)
    await other.close()
    expect(await browser.findings('signed-out')).toEqual([])
    expect(await ended()).toHaveLength(1)
    const [, token = ''] = ((await asked.allHeaders())['authorization'] ?? '').split(' ')
    const [known] = await world.database.query(
      `select from revocations where kind = 'jti' and key like '%' || $1`,
      [String(decodeJwt(token).jti)],
    )
    expect(known).toBeDefined()
    await page.reload()
    await page.getByRole('heading', { name: 'Who got what' }).waitFor()
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByLabel('Password').waitFor()
  })

  test('shows nothing to whoever has no session any more', async () => {
    const { page } = browser
    const before = await consents('anne')
    await page.context().clearCookies()
    await page.goto(`${world.url}/console/agents/research-bot`)
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    expect(await consents('anne')).toEqual(before)
  })
})

const apiRequest = (page: Page): Promise<Request> =>
  page.waitForRequest((request) => new URL(request.url()).pathname === '/agents')
