import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { password } from '../delegation/issuer/world.ts'
import { needsChromium } from '../support/native.ts'
import { type ConsolePage, type ConsoleWorld, openConsoleWorld, phone } from './open.ts'

// Told before, done, felt, seen, taken back: each step goes on from the one before.
describe('lending and its effect', needsChromium, () => {
  let world: ConsoleWorld
  let handset: ConsolePage
  let desk: ConsolePage
  let token: string
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    world = await openConsoleWorld()
    await world.put({
      'finance/budget': {
        collection: 'finance',
        text: 'The travel budget.',
        access: { viewers: ['user:bob'] },
      },
      'finance/pay': {
        collection: 'finance',
        text: 'Pay for travel.',
        access: { viewers: ['user:bob'], sensitive: true },
      },
      'finance/loan': {
        collection: 'finance',
        text: 'A loan for travel.',
        access: { viewers: ['user:anne'] },
      },
      'handbook/travel': { text: 'How to travel.', access: { viewers: ['user:bob'] } },
    })
    await world.service.index.catchUp()
    handset = await world.open(phone)
    desk = await world.open()
  })
  afterAll(async () => {
    await handset?.[Symbol.asyncDispose]()
    await desk?.[Symbol.asyncDispose]()
    await world?.[Symbol.asyncDispose]()
  })

  const ask = () => world.call('POST', '/retrieve', { token, body: { query: 'travel' } })

  test('is told on a phone before it is done: what the agent would be given, and nothing that is sensitive', async () => {
    const { page } = handset
    await handset.signIn('bob', '/console/what-if')
    await page.getByText('Lend something to an agent').click()
    await page.getByLabel('Who lends').fill('user:bob')
    await page.getByLabel('What', { exact: true }).first().fill('collection:finance')
    await page.getByLabel('To agent').fill('other-bot')
    await page.getByRole('button', { name: 'Suppose it' }).nth(0).click()
    await page.getByRole('button', { name: 'What would change?' }).click()
    await page.getByText('user:bob by agent:other-bot: finance/budget').waitFor()
    expect(await page.getByText('by agent:other-bot').count()).toBe(1)
    expect(await handset.findings('phone-lending-what-if')).toEqual([])
    await expect(world.token({ user: 'bob', agent: 'other-bot' })).rejects.toThrow('has lent nothing')
  })

  test('is done by its person on their own page, and counts for the agent’s next question', async () => {
    const { page } = handset
    await page.goto(`${world.url}/sign-in?next=/delegations`)
    await page.getByLabel('Account').fill('bob')
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.getByText('No agent can read anything for you now.').waitFor()
    await page.getByLabel('To which agent?').selectOption('other-bot')
    await page.getByLabel('The finance').check()
    await page.getByLabel('What is it for?').fill('The travel budget')
    expect(await handset.findings('phone-lending-form')).toEqual([])
    await page.getByRole('button', { name: 'Lend', exact: true }).click()
    await page.getByText('Lent. It counts from now on.').waitFor()
    expect(await handset.findings('phone-lending-lent')).toEqual([])
    token = await world.token({ user: 'bob', agent: 'other-bot' })
    const { results } = (await (await ask()).json()) as { results: { document_id: string }[] }
    expect(results.map(({ document_id }) => document_id)).toEqual(['finance/budget'])
  })

  test('is seen by whoever looks after it: who lent what, and exactly what the agent would be given', async () => {
    const { page } = desk
    await desk.signIn('anne', '/console/delegations?subject=user:bob')
    const row = page.getByRole('row', { name: 'user:bob' })
    expect(await row.innerText()).toMatch(/other-bot[\s\S]*collection:finance[\s\S]*live/)
    await row.getByRole('link', { name: /^d_/ }).click()
    await page.getByText('The travel budget').waitFor()
    await page.getByRole('link', { name: 'What it would be given now' }).click()
    await page.getByRole('cell', { name: 'finance/budget', exact: true }).waitFor()
    expect(await page.getByRole('row').count()).toBe(2)
    expect(await desk.findings('lending-given')).toEqual([])
    await page.goBack()
    await page.getByRole('heading', { name: /^Delegation/ }).waitFor()
  })

  test('is over as soon as its person takes it back, for a token that is alive too', async () => {
    const { page } = handset
    await page.getByRole('button', { name: 'Take back from other-bot' }).click()
    await page.getByText('Taken back. The agent reads nothing under it any more.').waitFor()
    expect(await handset.findings('phone-lending-back')).toEqual([])
    expect((await ask()).status).toBe(403)
    await desk.page.reload()
    await desk.page.getByRole('definition').getByText('revoked', { exact: true }).waitFor()
    expect([...desk.said, ...handset.said]).toEqual([])
  })
})
