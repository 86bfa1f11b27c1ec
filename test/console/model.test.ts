import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { needsChromium } from '../support/native.ts'
import { type ConsolePage, type ConsoleWorld, openConsoleWorld, phone } from './open.ts'

const hostile = '# <img src=x onerror="alert(1)"><script>alert(2)</script>'

describe('a change of the model, in the console', needsChromium, () => {
  let world: ConsoleWorld
  let browser: ConsolePage
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    world = await openConsoleWorld({ env: { MODEL_APPLY_APPROVERS: '2' } })
    await world.service.administrators.add('user:dan', ['security.write'])
    await world.put({ plan: { text: 'Otters.', access: { viewers: ['user:bob'], blocked: ['user:bob'] } } })
    await world.write('user:carol member group:finance', 'group:finance#member viewer document:plan')
    await world.service.index.catchUp()
    browser = await world.open()
  })
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]()
    await world?.[Symbol.asyncDispose]()
  })

  /** Replaces the text in the editor, as whoever pastes does. */
  async function write(change: (text: string) => string): Promise<void> {
    const { page } = browser
    const text = page.getByRole('textbox', { name: 'The model’s text' })
    await text.click()
    const [current] = await world.database.query<{ dsl: string }>(
      'select dsl from models order by activated_at desc limit 1',
    )
    await page.keyboard.press('ControlOrMeta+a')
    // Typed over a selection, Chromium's own editing tries an inline style first, which the page's policy
    // refuses.
    await page.evaluate(`((pasted) => {
      const clipboardData = new DataTransfer()
      clipboardData.setData('text/plain', pasted)
      const place = document.querySelector('.editor').shadowRoot.querySelector('.cm-content')
      place.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }))
    })(${JSON.stringify(change(current?.dsl ?? ''))})`)
  }

  test('shows what is wrong while it is written, and leads to the line', async () => {
    const { page } = browser
    await browser.signIn('anne', '/console/model')
    await write((text) => text.replace(/define can_read: .*/, 'define can_read: nobody'))
    const found = page.getByRole('button', { name: 'the relation `nobody` does not exist.' })
    await found.waitFor()
    await page.getByText('1 problem', { exact: true }).waitFor()
    expect(await page.getByRole('button', { name: 'Plan this change' }).isDisabled()).toBe(true)
    expect(await browser.findings('model-wrong')).toEqual([])
    await found.click()
    // Asked from outside: `waitForFunction` evaluates text in the page, which the page's policy refuses when
    // it must wait.
    await expect.poll(() => page.evaluate('document.activeElement.classList.contains("editor")')).toBe(true)
    expect(browser.said).toEqual([])
  })

  test('runs the truth table, and shows what no longer holds', async () => {
    const { page } = browser
    await write((text) => text.replace(/define can_read: .*/, 'define can_read: viewer'))
    await page.getByText('No problem in the text.').waitFor()
    await page.getByRole('button', { name: 'Run the truth table' }).click()
    await page.getByText(/hold, [1-9]\d* do not/).waitFor({ timeout: 60_000 })
    await page
      .getByText(/, expected: no/)
      .first()
      .waitFor()
    // What fails stands above what holds, and the green button is gone.
    expect(await page.locator('ul.tests > li').first().innerText()).toMatch(/^✕/)
    expect(await page.locator('main button.main').count()).toBe(0)
    expect(await browser.findings('model-tests')).toEqual([])
  })

  test('plans it with what fails above who gains and loses; its editor confirms it with a reason only, and not alone', async () => {
    const { page } = browser
    await write((text) =>
      text
        .replace('# The person themselves.', hostile)
        .replace(/define can_read: .*/, 'define can_read: viewer'),
    )
    await page.getByText('No problem in the text.').waitFor()
    await page.getByRole('button', { name: 'Plan this change' }).click()
    await page.getByRole('heading', { name: 'What it would do' }).waitFor({ timeout: 60_000 })
    await page.getByText('user:bob: plan').waitFor()
    expect(await browser.findings('model-plan')).toEqual([])
    expect(await page.getByRole('main').innerText()).toMatch(
      /✕ \d+ of \d+ tests fail[\s\S]*expected: no[\s\S]*What it would do/,
    )
    expect(await page.locator('main button.main').count()).toBe(0)
    const confirm = page.getByRole('button', { name: 'Confirm despite the tests' })
    // Without a reason nothing is sent.
    await confirm.click()
    expect(await page.getByText('You cannot confirm it a second time').count()).toBe(0)
    await page.getByLabel(/Why may it come into force all the same/).fill('Blocking moves to groups')
    await confirm.click()
    await page.getByText('You cannot confirm it a second time').waitFor()
    expect(await page.locator('dl.facts').innerText()).toMatch(
      /Confirmed by\s+user:anne \(2 needed\)\s+Although tests fail\s+user:anne: “Blocking moves to groups”/,
    )
    expect(await confirm.count()).toBe(0)
    await page.reload()
    await page.getByText('You cannot confirm it a second time').waitFor()
    const token = await world.token({ user: 'anne' })
    const plan_id = decodeURIComponent(new URL(page.url()).pathname.split('/').at(-1) ?? '')
    expect((await world.call('POST', '/model/apply', { token, body: { plan_id, reason: 'x' } })).status).toBe(
      409,
    )
  })

  test('plans a changed allow-list, and shows whom it lets write and what changes in it', async () => {
    await using handset = await world.open(phone)
    const { page } = handset
    await handset.signIn('dan', '/console/model')
    const planning = page.getByRole('button', { name: 'Plan this change' })
    expect(await planning.isDisabled()).toBe(true)
    await page.getByText('Who may write which tuples: the allow-list').click()
    const list = page.getByLabel('The allow-list')
    const current = await list.inputValue()
    await list.fill('schema: [')
    await planning.click()
    await page
      .getByText(/allow_list/)
      .first()
      .waitFor()
    await list.fill(current.replace('delete: writer }', 'delete: administrator }'))
    expect(await handset.findings('phone-allow-list')).toEqual([])
    await planning.click()
    await page.getByText('Administrators may now delete it for user.').waitFor({ timeout: 60_000 })
    await page.getByText('+    owner: { subjects: [user], write: writer, delete: administrator }').waitFor()
    const read = await page.getByRole('main').innerText()
    expect(read).toMatch(
      /Tests[\s\S]*What it would do[\s\S]*Warnings[\s\S]*What changes in the text\s+Nothing\.\s+What changes in the allow-list\s+@/,
    )
    expect(await handset.findings('phone-allow-list-plan')).toEqual([])
    expect(handset.said.filter((text) => !text.includes('422'))).toEqual([])
  }, 120_000)

  test('runs nothing of what stands in a model', async () => {
    const { page } = browser
    expect(await page.getByText(`+    ${hostile}`).count()).toBe(1)
    expect(await page.locator('img, main script').count()).toBe(0)
    expect(browser.said).toEqual([])
  })

  test('tells before it is done what lending would give to an agent, and what leaving a group takes', async () => {
    const { page } = browser
    await page.getByRole('link', { name: 'What if' }).click()
    await page.getByText('Lend something to an agent').click()
    await page.getByLabel('Who lends').fill('user:carol')
    await page.getByLabel('What', { exact: true }).first().fill('collection:handbook')
    await page.getByLabel('To agent').fill('research-bot')
    await page.getByRole('button', { name: 'Suppose it' }).nth(0).click()
    await page.getByRole('button', { name: 'What would change?' }).click()
    await page.getByText('user:carol by agent:research-bot: plan').waitFor()
    await page.getByText('1 · 1 of them, 1 document', { exact: true }).waitFor()
    expect(await browser.findings('what-if-lend')).toEqual([])
    await page.getByLabel('If these tuples were added').fill('')
    await page.getByLabel('If these tuples were removed').fill('user:carol member group:finance')
    await page.getByRole('button', { name: 'What would change?' }).click()
    await page.getByText('user:carol: plan').waitFor()
    await using handset = await world.open(phone)
    await handset.signIn('bob', '/console/what-if?deletes=user:carol+member+group:finance')
    await handset.page.getByRole('button', { name: 'What would change?' }).click()
    await handset.page.getByText('user:carol: plan').waitFor()
    expect(await handset.findings('phone-what-if')).toEqual([])
    expect([...browser.said, ...handset.said]).toEqual([])
  })

  test('stands among the open plans, also where it is refused', async () => {
    const { page } = browser
    const [current] = await world.database.query<{ dsl: string }>(
      'select dsl from models order by activated_at desc limit 1',
    )
    const model = current?.dsl.replace(
      'define can_be_told: can_read and in_scope',
      'define can_be_told: can_read',
    )
    const token = await world.token({ user: 'anne' })
    const unblocked = current?.dsl.replace(/define can_read: .*/, 'define can_read: viewer')
    await world.call('POST', '/model/plan', { token, body: { model: unblocked } })
    const planned = await world.call('POST', '/model/plan', { token, body: { model } })
    expect(await planned.json()).toMatchObject({
      plan: { refusals: expect.arrayContaining([expect.anything()]) },
    })
    await page.getByRole('link', { name: 'Model', exact: true }).click()
    await page.getByRole('link', { name: 'Planned by user:anne, refused' }).waitFor()
    await page.getByRole('link', { name: 'Planned by user:anne, confirmed by user:anne' }).waitFor()
    expect(await page.getByText('✕ tests fail').count()).toBeGreaterThan(0)
    // Two plans of one person can be told apart.
    const open = page.getByRole('region', { name: 'Open plans' }).getByRole('listitem')
    expect(await open.filter({ hasText: 'confirmed by user:anne' }).innerText()).toMatch(
      /[0-9a-f]{12}: people gain 1, lose 0; agents gain 0, lose 0/,
    )
    const texts = await open.allInnerTexts()
    expect(new Set(texts.map((text) => /[0-9a-f]{12}/.exec(text)?.[0])).size).toBe(texts.length)
  })

  test('is in force once a second person confirms it, who reads it on a phone, and nothing on the page says otherwise then', async () => {
    await using handset = await world.open(phone)
    const { page } = handset
    await handset.signIn('dan', '/console/model')
    await page.getByRole('textbox', { name: 'The model’s text' }).waitFor()
    expect(await handset.findings('phone-model')).toEqual([])
    await page.getByRole('link', { name: 'Planned by user:anne, confirmed by nobody yet' }).waitFor()
    await page.getByRole('link', { name: 'Planned by user:anne, confirmed by user:anne' }).click()
    await page.getByText('user:bob: plan').waitFor()
    expect(await handset.findings('phone-model-plan')).toEqual([])
    await page.getByLabel(/Why may it come into force all the same/).fill('As she says')
    await page.getByRole('button', { name: 'Confirm despite the tests' }).click()
    await page.getByText('It came into force.').waitFor({ timeout: 60_000 })
    expect(await page.locator('dl.facts').innerText()).toMatch(
      /Confirmed by\s+user:anne, user:dan\s+Although tests fail[\s\S]*user:dan: “As she says”$/,
    )
    await page.getByRole('heading', { name: 'What it did' }).waitFor()
    expect(handset.said).toEqual([])
    const [pinned] = await world.database.query<{ activated_by: string[] }>(
      'select activated_by from models order by activated_at desc limit 1',
    )
    expect(pinned?.activated_by).toEqual(['user:anne', 'user:dan'])
  })
})
