import axe, { type AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import { buildIfOlder } from '../../packages/console/build.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../delegation/issuer/world.ts'
import { type Chromium, openChromium } from '../support/chromium.ts'
import { sideways } from '../support/screen.ts'
import type { WorldOptions } from '../support/world.ts'

/** The service with its console: anne has every role, bob reads, carol has none. */
export interface ConsoleWorld extends IssuerWorld {
  /** A signed-out browser, wide, or as a phone. */
  open(size?: { readonly width: number; readonly height: number }): Promise<ConsolePage>
}

export interface ConsolePage extends Chromium {
  /** What the page complained of. */
  readonly said: readonly string[]
  /** To a place of the console, by way of the sign-in. */
  signIn(user: string, path?: string): Promise<void>
  /**
   * Nothing serious by axe, nothing wider than this or a small screen, on a phone nothing that a thumb
   * misses; and a picture.
   */
  findings(name: string): Promise<readonly unknown[]>
}

export const phone = { width: 390, height: 844 }
const desktop = { width: 1280, height: 800 }
// A folder for pictures of the pages, to be looked at.
const shots = process.env.REMIT_SHOTS
// What is pressed, and lower than a thumb: runs in the page.
const missed = `[...document.querySelectorAll('button, select, input, summary, nav a')]
  .map((one) => (one.type === 'checkbox' && one.closest('label')) || one)
  .filter((one) => one.checkVisibility())
  .map((one) => [one.textContent, one.getBoundingClientRect().height])
  .filter(([, height]) => height < 44)`

export async function openConsoleWorld(options: WorldOptions = {}): Promise<ConsoleWorld> {
  const [world] = await Promise.all([openIssuerWorld(options), buildIfOlder()])
  await world.service.administrators.add('user:anne', ['security.read', 'security.write', 'agents.write'])
  await world.service.administrators.add('user:bob', ['security.read'])
  return { ...world, open: (size) => openConsolePage(world.url, () => password, size) }
}

/** A browser for the console of a service, wherever that runs. */
export async function openConsolePage(
  url: string,
  passwordOf: (user: string) => string,
  size: { readonly width: number; readonly height: number } = desktop,
): Promise<ConsolePage> {
  const browser = await openChromium(size)
  const { page } = browser
  const said: string[] = []
  page.on('console', (message) => {
    // The first proof after a sign-in page has no nonce yet, which the server answers with one: browsers note
    // every such answer.
    if (!/^Failed to load resource: .* status of 40[01]/.test(message.text())) said.push(message.text())
  })
  page.on('pageerror', (error) => said.push(error.message))
  page.on('dialog', async (dialog) => {
    said.push(`dialog: ${dialog.message()}`)
    await dialog.dismiss()
  })
  return {
    ...browser,
    said,
    async signIn(user, path = '/console') {
      await page.goto(`${url}${path}`)
      await page.getByRole('button', { name: 'Sign in' }).click()
      await page.getByLabel('Account').fill(user)
      await page.getByLabel('Password').fill(passwordOf(user))
      await page.getByRole('button', { name: 'Sign in', exact: true }).click()
      await page.waitForURL(`${url}${path}`)
    },
    findings: (name) => findings(page, name, size.width < 600),
  }
}

async function findings(page: Page, name: string, isPhone: boolean): Promise<readonly unknown[]> {
  if (shots !== undefined) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true })
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate<AxeResults>('axe.run()')
  const wider = await page.evaluate<number>('document.documentElement.scrollWidth - innerWidth')
  const narrow = await sideways(page)
  return [
    ...violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`),
    ...(wider > 0 ? [`${wider} px wider than the screen`] : []),
    ...narrow,
    ...(isPhone ? await page.evaluate<unknown[]>(missed) : []),
  ]
}
