import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Locator } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ConsolePage, openConsolePage, type phone } from '../console/open.ts'
import { needsChromium } from '../support/native.ts'
import { freshSettings, type Running, type Settings, startCommand } from './process.ts'

const leaked = 'board/gannet/term-sheet.md'

describe('an incident at the demo company', { timeout: 120_000 }, () => {
  let settings: Settings
  let story: Running
  let passwords: string
  beforeAll(async () => {
    settings = await freshSettings(undefined)
    story = startCommand(['incident'], settings.env, 'examples/run.ts')
    await story.said('Ctrl-C stops.')
    passwords = await readFile(join(settings.home, 'demo-passwords'), 'utf8')
  }, 240_000)
  afterAll(async () => {
    await story?.[Symbol.asyncDispose]()
    await settings?.[Symbol.asyncDispose]()
  })

  const open = (size?: typeof phone): Promise<ConsolePage> =>
    openConsolePage(
      settings.url,
      (user) => new RegExp(`^${user} +(.*)$`, 'm').exec(passwords)?.[1] ?? '',
      size,
    )

  test('is found out in the console in six clicks', needsChromium, async () => {
    await using browser = await open()
    const { page } = browser
    await browser.signIn('lena', '/console')
    let clicks = 0
    const click = async (what: Locator): Promise<void> => {
      clicks += 1
      await what.click()
    }
    await click(page.getByRole('link', { name: 'Who got it' }))
    await page.getByLabel('Document').fill(leaked)
    await click(page.getByRole('button', { name: 'Who got it?' }))
    await page.getByText('2 people').waitFor()
    expect(await browser.findings('incident-readers')).toEqual([])
    const row = page.getByRole('row', { name: 'agent:brief-bot' })
    await click(row.getByRole('link', { name: '18:05' }))
    await page.getByRole('heading', { name: 'What it rests on' }).waitFor()
    expect(await browser.findings('incident-action')).toEqual([])
    await click(page.getByRole('link', { name: /^plan:m_/ }))
    await page.getByRole('heading', { name: 'What changes in the text' }).waitFor()
    expect(await browser.findings('incident-change')).toEqual([])
    expect(browser.said).toEqual([])
    expect(clicks).toBe(4)
  })
})
