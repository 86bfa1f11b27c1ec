import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Locator } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { remit } from '../cli/world.ts'
import { type ConsolePage, openConsolePage, phone } from '../console/open.ts'
import { needsChromium } from '../support/native.ts'
import { createPrinted } from './printed.ts'
import { freshSettings, type Running, type Settings, startCommand } from './process.ts'
import { commandsOf } from './walkthrough.ts'

const leaked = 'board/gannet/term-sheet.md'
// As wide as the pictures of the page are read.
const desktop = { width: 1_100, height: 700 }
const page = await readFile(new URL('../../docs/incident.md', import.meta.url), 'utf8')

// In the page's order: what is found out first, then the mend, then what is left of it.
describe('an incident at the demo company', { timeout: 120_000 }, () => {
  let settings: Settings
  let story: Running
  let passwords: string
  beforeAll(async () => {
    settings = await freshSettings(undefined)
    const ports = ['--port', settings.env['PORT'] ?? '', '--ops-port', settings.env['OPS_PORT'] ?? '']
    const inUse = { ...settings.env, REMIT_HOME: join(settings.home, '..', 'in-use'), PORT: '1' }
    story = startCommand(['incident', '--home', settings.home, ...ports], inUse, 'examples/run.ts')
    await story.said('Ctrl-C stops.')
    passwords = await readFile(join(settings.home, 'demo-passwords'), 'utf8')
  }, 240_000)
  afterAll(async () => {
    await story?.[Symbol.asyncDispose]()
    await settings?.[Symbol.asyncDispose]()
  })

  const open = (size: typeof phone): Promise<ConsolePage> =>
    openConsolePage(
      settings.url,
      (user) => new RegExp(`^${user} +(.*)$`, 'm').exec(passwords)?.[1] ?? '',
      size,
    )

  test(
    'is found out in the console in four clicks, and in six the switch is reached',
    needsChromium,
    async () => {
      await using browser = await open(desktop)
      const { page: console } = browser
      await browser.signIn('lena', '/console')
      let clicks = 0
      const click = async (what: Locator): Promise<void> => {
        clicks += 1
        await what.click()
      }
      await click(console.getByRole('link', { name: 'Who got it' }))
      await console.getByLabel('Document').fill(leaked)
      await click(console.getByRole('button', { name: 'Who got it?' }))
      await console.getByText('2 people').waitFor()
      expect(await browser.findings('incident-readers')).toEqual([])
      const row = console.getByRole('row', { name: 'agent:brief-bot' })
      expect(await row.innerText()).toMatch(/user:ida Ida Brennan[\s\S]*\b6\b/)
      await click(row.getByRole('link', { name: '18:05' }))
      await console.getByRole('heading', { name: 'What it rests on' }).waitFor()
      const action = await console.getByRole('main').innerText()
      expect(action).toMatch(
        /model_activated[\s\S]*user:emil[\s\S]*plan:m_[\s\S]*delegation_made[\s\S]*user:ida/,
      )
      expect(action).toMatch(/token_exchanged[\s\S]*demo-agent-brief-bot[\s\S]*jti\s+j_[\w-]{22}/)
      const tuples = console.getByRole('list', { name: `What ${leaked} rested on then` })
      expect(await tuples.innerText()).toMatch(/user:ida viewer folder:board\/gannet/)
      expect(await tuples.innerText()).toMatch(/delegation:d_\S+ delegated_to folder:board\/gannet/)
      expect(await browser.findings('incident-action')).toEqual([])
      await click(console.getByRole('link', { name: /^plan:m_/ }))
      await console.getByRole('heading', { name: 'What changes in the text' }).waitFor()
      expect(await console.getByRole('main').innerText()).toMatch(
        /user:kim[\s\S]*user:kim, user:emil[\s\S]*- +define sensitive: .* or sensitive from filed_in\n/,
      )
      expect(await browser.findings('incident-change')).toEqual([])
      expect(clicks).toBe(4)
      clicks += 1
      await console.goBack()
      await click(console.getByRole('link', { name: 'agent:brief-bot' }).first())
      await console.getByRole('heading', { name: 'Kill switch' }).waitFor()
      await console.getByRole('row', { name: 'folder:board/gannet' }).waitFor()
      expect(await browser.findings('incident-agent')).toEqual([])
      expect(clicks).toBe(6)
      expect(browser.said).toEqual([])
    },
  )

  test('is found out and mended by the commands of docs/incident.md, which print what it shows', async () => {
    const commands = commandsOf(page)
    const told = [...story.stdout().matchAll(/^ {2}npm run -s remit -- (.*)$/gm)].map(([, one = '']) => one)
    const asTold: string[] = []
    const [, since = ''] = /--since (\S+)/.exec(page) ?? []
    const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
    const printed = createPrinted({
      shownOn: day(Date.parse(since) + 2 * 86_400_000),
      today: day(Date.now()),
      words: { 'http://localhost:8887': settings.url, '.remit-incident': settings.home },
    })
    for (const { command, output } of commands) {
      const argv = [...printed.here(command).matchAll(/'([^']*)'|(\S+)/g)].map(
        ([, one, other]) => one ?? other ?? '',
      )
      expect(argv.slice(0, 5)).toEqual(['npm', 'run', '-s', 'remit', '--'])
      asTold.push(argv.slice(5).join(' '))
      const { stdout, stderr } = await remit(argv.slice(5), { home: settings.home }, { url: settings.url })
      const real = `${stdout}${stderr}`.trim()
      expect(printed.matches(inOrder(output), inOrder(real)), `${command}\n${real}`).toBe(true)
    }
    expect(told).toEqual(asTold.slice(0, 4))
    expect(commands.map(({ command }) => command.split(' ').slice(5, 7).join(' '))).toEqual([
      'audit verify',
      'audit readers',
      'audit thread',
      'model show',
      'model test',
      'what-if --write',
      'model rollback',
      'agent disable',
      'model apply',
      'model apply',
      'audit reads',
    ])
  })

  test(
    'is over on a phone too: what would be refused today, the way back, the agent that is off',
    needsChromium,
    async () => {
      await using handset = await open(phone)
      const { page: console } = handset
      await handset.signIn('lena', `/console/readers?document=${leaked}`)
      await console.getByText('2 people').waitFor()
      expect(await handset.findings('phone-incident-readers')).toEqual([])
      const row = console.getByRole('row', { name: 'agent:brief-bot' })
      await row.getByRole('link', { name: 'What else it read for them' }).click()
      await console.getByText('2 would be refused today').waitFor()
      expect(await handset.findings('phone-incident-reads')).toEqual([])
      await console.goBack()
      await row.getByRole('link', { name: '18:05' }).click()
      await console.getByRole('heading', { name: 'What it rests on' }).waitFor()
      expect(await handset.findings('phone-incident-action')).toEqual([])
      await console.getByRole('link', { name: /^plan:m_/ }).click()
      await console.getByRole('heading', { name: 'What changes in the text' }).waitFor()
      await console.getByText('It came into force.').waitFor()
      expect(await console.getByText('It is in force.').count()).toBe(0)
      expect(await handset.findings('phone-incident-change')).toEqual([])
      await console.goto(`${settings.url}/console/agents/brief-bot`)
      await console.getByText('Disabled. No token in whose chain it stands counts any more').waitFor()
      expect(await handset.findings('phone-incident-agent')).toEqual([])
      // The other one as well, from where one happens to be.
      await console.goto(`${settings.url}/console/agents/research-bot`)
      await console.getByLabel('Type research-bot to confirm').fill('research-bot')
      expect(await handset.findings('phone-kill-switch')).toEqual([])
      await console.getByRole('button', { name: 'Disable this agent' }).click()
      await console.getByText('Disabled. No token in whose chain it stands counts any more').waitFor()
      const asked = remit(['token', '--user', 'ida', '--agent', 'research-bot'], { home: settings.home })
      expect(await asked).toMatchObject({ code: 1, stderr: expect.stringContaining('is disabled') })
      expect(handset.said).toEqual([])
    },
  )
})

test('the story of an incident names no folder to remove that it did not make, and writes nothing there', async () => {
  await using settings = await freshSettings(undefined)
  await mkdir(join(settings.home, 'db'), { recursive: true })
  await using story = startCommand(['incident', '--home', settings.home], settings.env, 'examples/run.ts')
  expect((await story.exit).code).toBe(1)
  expect(story.stderr()).toContain('is not a folder of the story')
  expect(story.stderr()).not.toContain('remove')
  expect(await readdir(settings.home)).toEqual(['db'])
})

/** Of those who lose something in a list, nobody is first. */
const inOrder = (text: string): string =>
  text.replaceAll(/(?:^ {2}- .*\n)+/gm, (lines) => `${lines.trimEnd().split('\n').toSorted().join('\n')}\n`)
