import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { needsChromium } from '../support/native.ts'
import { type ConsolePage, type ConsoleWorld, openConsoleWorld, phone } from './open.ts'

const hostile = 'group:<img/src=x/onerror=alert(1)>'

describe('why and who, in the console', needsChromium, () => {
  let world: ConsoleWorld
  let browser: ConsolePage
  let lent: string
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    world = await openConsoleWorld()
    await world.put({
      plan: { text: 'Otters.', access: { viewers: ['group:eng#member'], parents: ['collection:handbook'] } },
      menu: { text: 'Fish.', access: { viewers: ['user:*'], blocked: ['user:carol'] } },
      pay: { collection: 'finance', text: 'Gold.', access: { viewers: ['user:anne'], sensitive: true } },
    })
    await world.write(
      'user:anne member group:eng',
      `user:carol member ${hostile}`,
      `${hostile}#member viewer document:plan`,
    )
    lent = await world.lend('anne', 'research-bot', 'collection:finance')
    await world.service.index.catchUp()
    browser = await world.open()
  })
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]()
    await world?.[Symbol.asyncDispose]()
  })

  const recorded = (event: string) =>
    world.database.query<{ subject: string; detail: Record<string, unknown> }>(
      'select subject, detail from decision_records where event = $1 order by record_no',
      [event],
    )

  test('explains from a link: the answer in words, then every tuple, folded and unfolded by keyboard', async () => {
    const { page } = browser
    await browser.signIn('bob', '/console/explain?user=user:anne&relation=can_read&object=document:plan')
    await page.getByText('Yes. user:anne has can_read of document:plan.').waitFor()
    await page
      .getByText('Decision: allowed (OpenFGA). The tree below comes from the index, which agrees.')
      .waitFor()
    const tuple = page.getByText('user:anne member group:eng', { exact: true })
    expect(await tuple.isVisible()).toBe(true)
    expect(await browser.findings('explain')).toEqual([])
    await page.locator('.tree summary').first().focus()
    await page.keyboard.press('Enter')
    expect(await tuple.isVisible()).toBe(false)
    await page.keyboard.press('Enter')
    expect(await tuple.isVisible()).toBe(true)
    expect(await recorded('explained')).toMatchObject([
      { subject: 'user:bob', detail: { question: { user: 'user:anne', object: 'document:plan' } } },
    ])
  })

  test('says of an agent which side failed, and keeps the question in the address', async () => {
    const { page } = browser
    await page.getByLabel('Has').fill('can_read_delegated')
    await page.getByLabel('Of', { exact: true }).fill('document:pay')
    await page.getByText('Through an agent, or by another clock').click()
    await page.getByLabel('Agent').fill('research-bot')
    await page.getByLabel('Delegation').selectOption(lent)
    await page.getByRole('button', { name: 'Ask why' }).click()
    await page.getByText('It is sensitive, and no approval that was presented covers it.').waitFor()
    await page.getByText('An approval covers it: no').waitFor()
    expect(new URL(page.url()).searchParams.get('delegation')).toBe(lent)
    expect(await browser.findings('explain-agent')).toEqual([])
    await page.goBack()
    await page.getByText('Yes. user:anne has can_read of document:plan.').waitFor()
  })

  test('runs nothing of what stands in a tuple', async () => {
    const { page } = browser
    await page.goto(`${world.url}/console/explain?user=user:carol&relation=can_read&object=document:plan`)
    await page.getByText(`user:carol member ${hostile}`, { exact: true }).waitFor()
    expect(await page.locator('img, main script').count()).toBe(0)
    expect(browser.said).toEqual([])
  })

  test('lists who can, everyone and whom that leaves out, and leads from each to why', async () => {
    const { page } = browser
    await page.getByRole('link', { name: 'Who can' }).click()
    await page.getByLabel('Of', { exact: true }).fill('document:menu')
    await page.getByRole('button', { name: 'List them' }).click()
    await page.getByText('everyone', { exact: true }).waitFor()
    expect(await page.getByText('left out of everyone').count()).toBe(1)
    expect(await browser.findings('who-can')).toEqual([])
    await page.getByRole('link', { name: 'Explain user:carol' }).click()
    await page.getByText('No. user:carol does not have can_read of document:menu.').waitFor()
    expect(await recorded('who_can_listed')).toMatchObject([
      { subject: 'user:bob', detail: { object: 'document:menu', listed: 2, complete: true } },
    ])
  })

  test('shows what somebody would be given, themselves and through an agent, and that one looked', async () => {
    const { page } = browser
    await page.goto(`${world.url}/console/view-as?user=user:anne`)
    await page.getByRole('cell', { name: 'plan', exact: true }).waitFor()
    expect(await page.getByRole('row').count()).toBe(4)
    expect(await browser.findings('view-as')).toEqual([])
    await page.getByLabel('Through agent').fill('research-bot')
    await page.getByLabel('Delegation').selectOption(lent)
    await page.getByRole('button', { name: 'View as' }).click()
    await page.getByText('Nothing that OpenFGA confirms.').waitFor()
    expect(await page.getByText('Gold.').count()).toBe(0)
    expect(await recorded('viewed_as')).toMatchObject([
      { subject: 'user:bob', detail: { user: 'user:anne', listed: 3 } },
      { subject: 'user:bob', detail: { user: 'user:anne', agent: 'research-bot', listed: 0 } },
    ])
  })

  test('shows a person’s groups and through which, a group’s members, and that one looked', async () => {
    const { page } = browser
    await world.write('group:eng#member member group:staff')
    await page.getByRole('link', { name: 'People' }).click()
    await page.getByLabel('Person or group').fill('user:anne')
    await page.getByRole('button', { name: 'Show' }).click()
    const nested = page.getByRole('row', { name: 'group:staff' })
    expect(await nested.innerText()).toMatch(/member of group:eng, member of group:staff[\s\S]*yes/)
    await page.getByRole('region', { name: 'What they lent' }).getByRole('row', { name: lent }).waitFor()
    expect(await browser.findings('person')).toEqual([])
    await nested.getByRole('link', { name: 'group:staff' }).click()
    await page.getByRole('row', { name: 'group:eng#member' }).getByText('yes').waitFor()
    expect(await browser.findings('group')).toEqual([])
    await page.getByRole('link', { name: 'group:eng#member' }).click()
    await page.getByRole('link', { name: 'user:anne' }).waitFor()
    expect(await recorded('memberships_listed')).toMatchObject([
      { subject: 'user:bob', detail: { user: 'user:anne', listed: 2, complete: true } },
      { subject: 'user:bob', detail: { object: 'group:staff', listed: 1, complete: true } },
      { subject: 'user:bob', detail: { object: 'group:eng', listed: 1, complete: true } },
    ])
  })

  test('names the field of a question that cannot be asked', async () => {
    const { page } = browser
    await page.goto(`${world.url}/console/explain`)
    await page.getByLabel('Who').fill('anne')
    await page.getByLabel('Has').fill('can_read')
    await page.getByLabel('Of', { exact: true }).fill('document:plan')
    await page.getByRole('button', { name: 'Ask why' }).click()
    await page.getByRole('alert').waitFor()
    expect(await page.getByRole('alert').textContent()).toMatch(/type:id.*\(user\)/)
  })

  test('says of an agent that is disabled that it is given nothing, whatever OpenFGA says, and of what was lent to it', async () => {
    const { page } = browser
    await world.service.agents.save({
      id: 'other-bot',
      owner: 'user:dan',
      purpose: 'tests',
      issuer: world.service.ownIssuer,
      sub: 'other-bot',
    })
    const delegation = await world.lend('anne', 'other-bot', 'collection:handbook')
    await world.service.agents.disable('other-bot')
    await page.goto(
      `${world.url}/console/explain?user=user:anne&agent=other-bot&delegation=${delegation}&relation=can_read_delegated&object=document:plan`,
    )
    const said = page.locator('.said')
    await said.getByText('No.').waitFor()
    expect(await said.innerText()).toBe(
      'No. The registry: agent:other-bot is disabled, and is given nothing.',
    )
    await page.getByText(/^OpenFGA, by tuples alone: Yes\./).waitFor()
    await page
      .getByText('Decision: allowed (OpenFGA). The registry of agents refuses it all the same.')
      .waitFor()
    expect(await browser.findings('explain-disabled')).toEqual([])
    await page.goto(`${world.url}/console/delegations?agent=other-bot`)
    await page.getByText('1, of which 0 live').waitFor()
    await page.getByRole('row', { name: delegation }).getByText('live, agent disabled').waitFor()
  })

  test('fit a phone', async () => {
    await using handset = await world.open(phone)
    await handset.signIn('bob', '/console/explain?user=user:anne&relation=can_read&object=document:plan')
    await handset.page.getByText('user:anne member group:eng', { exact: true }).waitFor()
    expect(await handset.findings('phone-explain')).toEqual([])
    await handset.page.goto(`${world.url}/console/who-can?relation=can_read&object=document:plan`)
    await handset.page.getByRole('code').getByText('user:anne', { exact: true }).waitFor()
    expect(await handset.findings('phone-who-can')).toEqual([])
    expect(handset.said).toEqual([])
  })

  test('says of a mistyped id that it was never here, not that it was given to nobody', async () => {
    const { page } = browser
    for (const [path, words] of [
      [
        'explain?user=user:anne&relation=can_read&object=document:plen',
        'No document with the id plen was ever here.',
      ],
      ['readers?document=plen', 'No document with the id plen was ever here.'],
      ['reads?subject=user:ane', 'No person with the id ane was ever here.'],
      ['who-can?relation=can_read&object=document:plen', 'No document with the id plen was ever here.'],
      ['view-as?user=user:ane', 'No person with the id ane was ever here.'],
      ['people/user:ane', 'No person with the id ane was ever here.'],
      ['people/group:enq', 'No group with the id enq was ever here.'],
      ['agents/research-bt', 'No agent with the id research-bt was ever here.'],
    ] as const) {
      await page.goto(`${world.url}/console/${path}`)
      await page.getByRole('alert').getByText(words).waitFor()
      const said = await page.getByRole('main').innerText()
      expect(said).not.toMatch(/nobody|nothing that|in no group|What people lent/i)
    }
    expect(await browser.findings('never-here')).toEqual([])
    for (const [path, meant, where] of [
      ['readers?document=plen', 'plan', '/console/readers?document=plan'],
      [
        'who-can?relation=can_read&object=document:plen',
        'plan',
        '/console/who-can?relation=can_read&object=document%3Aplan',
      ],
      ['people/user:ane', 'anne', '/console/people/user%3Aanne'],
    ] as const) {
      await page.goto(`${world.url}/console/${path}`)
      await page.getByRole('alert').getByRole('link', { name: meant, exact: true }).click()
      await page.waitForURL(`${world.url}${where}`)
      await page.getByRole('alert').waitFor({ state: 'detached' })
    }
    await page.goto(`${world.url}/console/readers?document=pay`)
    await page.getByText('It was given to nobody, as far as the record goes.').waitFor()
    await page.goto(`${world.url}/console/people`)
    await page.getByLabel('Person or group').fill('anne')
    await page.getByRole('button', { name: 'Show' }).click()
    await page.getByRole('heading', { name: 'user:anne' }).waitFor()
  })
})
