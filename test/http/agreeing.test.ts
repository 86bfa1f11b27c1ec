import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { beforeAll, describe, expect, test } from 'vitest'
import { openChromium } from '../support/chromium.ts'
import { needsChromium } from '../support/native.ts'
import { agreeingPages } from './agreeing-pages.ts'

// A click that was meant for another window must not agree to anything, on any page.

/** By their words: what refuses, takes away, names, signs in or leads on. Whatever is not here agrees. */
const harmless = [
  ...['Refuse', 'Stop', 'Cancel', 'Ask'],
  ...['Take back', 'Disconnect', 'End this link', 'Remove', 'Sign out', 'Tell me nowhere'],
  ...['Save', 'Continue', 'Sign in', 'Sign in with a passkey', 'Continue with ${host}'],
  // By a script, and the browser asks.
  ...['Tell me on this device', 'Do not tell me here any more'],
]

test('each button that we have wakes late, or is known to agree to nothing', () => {
  const folder = new URL('../../src/http', import.meta.url).pathname
  const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
  const buttons = sources.flatMap((text) => [...text.matchAll(/<button([^>]*)>([^<]*)/g)])
  expect(buttons.length).toBeGreaterThan(30)
  const awake = buttons.filter(([, attributes = '']) => !/class="[^"]*\bwakes\b/.test(attributes))
  expect(awake.map(([, , words = '']) => words).filter((words) => !harmless.includes(words))).toEqual([])
})

test('so does the yes to a change of the model, in the console', () => {
  const folder = new URL('../../packages/console/src/', import.meta.url)
  const yes = readFileSync(new URL('views/model/plan.tsx', folder), 'utf8')
  const buttons = [...yes.matchAll(/<button[^>]*>/g)].map(([button]) => button)
  expect(buttons).toHaveLength(1)
  expect(buttons[0]).toMatch(/class=\{hold \? 'main wakes' : 'bad wakes'\}/)
  expect(readFileSync(new URL('style.css', folder), 'utf8')).toContain('html:not(:hover) .wakes')
})

describe('in a real browser', needsChromium, () => {
  let pages: Awaited<ReturnType<typeof agreeingPages>>
  beforeAll(async () => {
    if (needsChromium.skip === true) return
    pages = await agreeingPages()
  }, 60_000)

  /**
   * Everything is open and seen, as after every press on the page; what agrees, and whether it takes a click.
   */
  const look = (page: Page) => page.evaluate<{ words: string; takes: boolean }[]>(lookInPage)

  test('whatever agrees takes no click before the pointer has been over the page for a second', async () => {
    await using browser = await openChromium()
    for (const [name, text] of Object.entries(pages)) {
      const page = await browser.context.newPage()
      await page.setContent(text)
      const below = await look(page)
      expect([name, below.length > 0, below.filter(({ takes }) => takes)]).toEqual([name, true, []])
      await page.mouse.move(3, 3)
      await page.evaluate(at(500))
      expect([name, (await look(page)).filter(({ takes }) => takes)]).toEqual([name, []])
      await page.evaluate(at(1_000))
      expect([name, (await look(page)).filter(({ takes }) => !takes)]).toEqual([name, []])
      await page.close()
    }
  })

  test('a click at once does nothing on a page that had waited below, and one a second later does', async () => {
    await using browser = await openChromium()
    // One that no pointer has been over.
    const page = await browser.context.newPage()
    await page.setContent(pages['a stranger asks for consent'] ?? '')
    await page.evaluate(`(() => {
      globalThis.sent = 0
      addEventListener('submit', (event) => { event.preventDefault(); globalThis.sent += 1 })
    })()`)
    const box = await page.getByRole('button', { name: 'Agree' }).boundingBox()
    const [x, y] = [(box?.x ?? 0) + 5, (box?.y ?? 0) + 5]
    const sent = () => page.evaluate<number>('globalThis.sent')
    await page.mouse.move(x, y)
    await page.evaluate(at(10))
    await page.mouse.click(x, y)
    expect(await sent()).toBe(0)
    await page.evaluate(at(1_000))
    await page.mouse.click(x, y)
    expect(await sent()).toBe(1)
  })

  test('nothing is ticked beforehand for a stranger, nor where an agent led somebody to', () => {
    expect(pages['a known agent asks for consent']).toContain(' checked')
    for (const name of ['a stranger asks for consent', 'an agent asks for an account elsewhere'])
      expect([name, pages[name]?.includes('type="checkbox"'), pages[name]?.includes(' checked')]).toEqual([
        name,
        true,
        false,
      ])
  })
})

/** Holds what wakes where it stands so many milliseconds after it began to, however long ago that was. */
const at = (ms: number): string => `(() => {
  for (const one of document.querySelectorAll('.wakes')) {
    one.style.animation = 'none'
    one.offsetWidth
    one.style.animation = ''
  }
  for (const one of document.getAnimations()) {
    one.pause()
    if (${ms} < 1_000) one.currentTime = ${ms}
    else one.finish()
  }
})()`

const lookInPage = `(() => {
  for (const one of document.querySelectorAll('details')) one.open = true
  for (const one of document.querySelectorAll('form')) one.hidden = false
  const harmless = ${JSON.stringify(harmless)}
  return [...document.querySelectorAll('button')]
    .filter((one) => one.type === 'submit')
    .map((one) => ({
      words: one.firstChild.textContent.trim(),
      takes: getComputedStyle(one).pointerEvents !== 'none',
    }))
    .filter(({ words }) => !harmless.includes(words))
})()`
