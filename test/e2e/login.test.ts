import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openBrowser } from '../delegation/issuer/browser.ts'
import { programEnv } from '../support/program-env.ts'
import { freshSettings, type Running, remit, type Settings, startCommand, startService } from './process.ts'
import { commandsOf, differences, inShell } from './walkthrough.ts'

// Other tests run beside these, on few cores.
const slow = 360_000
const ready = 'Ctrl-C stops.'

let settings: Settings
beforeAll(async () => {
  settings = await freshSettings(undefined)
})
afterAll(() => settings?.[Symbol.asyncDispose]())

function passwordOf(user: string): string {
  const lines = readFileSync(join(settings.home, 'demo-passwords'), 'utf8').trim().split('\n')
  const found = lines.map((line) => line.split(/ +/)).find(([name]) => name === user)
  return found?.[1] ?? ''
}

/** Confirms the code that a program shows, as this person at a browser; gives what the pages said. */
async function confirm(program: Running, user: string): Promise<string[]> {
  const deadline = Date.now() + 60_000
  const shown = () => /\b[A-Z]{4}-[A-Z]{4}\b/.exec(program.stderr())?.[0]
  while (shown() === undefined && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 50))
  return enter(shown() ?? 'none', user)
}

/** Enters a code, signs in and agrees. */
async function enter(code: string, user: string): Promise<string[]> {
  const browser = openBrowser(settings.url)
  const entry = await browser.open(`${settings.url}/oauth/device`)
  const asked = await browser.submit(entry, '/oauth/device', { user_code: code })
  const signIn = await browser.submit(asked, '/oauth/device')
  const consent = await browser.submit(signIn, '/sign-in', { user, password: passwordOf(user) })
  const done = await browser.submit(consent, '/consent', { seconds: '3600' })
  return [asked, signIn, consent, done].map(({ text }) => text)
}

async function login(user: string): Promise<string[]> {
  await using program = startCommand(['login'], settings.env)
  const pages = await confirm(program, user)
  expect(await program.exit).toMatchObject({ code: 0 })
  expect(program.stdout()).toBe('')
  expect(program.stderr()).toContain(`Signed in as ${user} at ${settings.url}`)
  return pages
}

const cli = (...argv: readonly string[]) => remit(argv, settings.env)

async function search(token: string): Promise<{ readonly status: number; readonly found: string[] }> {
  const response = await fetch(`${settings.url}/retrieve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query: 'What did the March pump recall cost?', top_k: 3 }),
  })
  const { results = [] } = (await response.json()) as { results?: { document_id: string }[] }
  return { status: response.status, found: results.map(({ document_id }) => document_id) }
}

const question = ['explain', 'user:bob', 'can_read', 'document:finance/recall/recall-cost-2026.md']

/** What the documentation shows, done by its own commands; gives what does not fit. */
async function walk(page: string): Promise<string[]> {
  const env = settings.env
  const here = (text: string) => text.replaceAll('http://localhost:8787', settings.url)
  const known = new Map<string, string>()
  const wrong: string[] = []
  for (const { command, output } of commandsOf(here(page))) {
    const filled = [...known].reduce((text, [name, value]) => text.replaceAll(name, value), command)
    const said = await inShell(filled.replace('npx node', process.execPath), env)
    if (!output.startsWith('{')) {
      known.set('ASSERTION', said)
      wrong.push(...differences(output, said, command))
      continue
    }
    const real = JSON.parse(said) as Readonly<Record<string, string>>
    wrong.push(...differences(JSON.parse(output), real, command))
    if (real.device_code !== undefined) known.set('DEVICE_CODE', real.device_code)
    if (real.user_code !== undefined) await enter(real.user_code, 'anne')
    if (real.access_token !== undefined)
      known.set(known.has('PERSON_TOKEN') ? 'AGENT_TOKEN' : 'PERSON_TOKEN', real.access_token)
  }
  const claims = /^```json\n(\{"client_id".*)\n```$/m.exec(here(page))?.[1] ?? '{}'
  wrong.push(...differences(JSON.parse(claims), decodeJwt(known.get('AGENT_TOKEN') ?? ''), 'claims'))
  return wrong
}

const root = fileURLToPath(new URL('../../', import.meta.url))

/** The shell blocks of a page, from one heading to another or all of them, with the programs of this tree. */
function scriptOf(path: string, heading = /^(?=# )/, end = /$/): string {
  const page = readFileSync(join(root, path), 'utf8')
  const section = page.slice(page.search(heading), page.search(end))
  const blocks = [...section.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block)
  return (blocks.join('') || 'exit 1')
    .replaceAll('npm run -s example --', `'${process.execPath}' ${root}examples/run.ts`)
    .replaceAll('npm run -s remit --', `'${process.execPath}' ${root}src/cli/main.ts`)
    .replaceAll('http://localhost:8787', settings.url)
}

/** As a shell runs it beside the service's folder. */
const inFolder = (script: string, env: Readonly<Record<string, string>> = {}) =>
  promisify(execFile)('bash', ['-ec', script], {
    cwd: dirname(settings.home),
    env: { ...settings.env, ...programEnv, ...env },
  })

/** The commands of docs/your-own-documents.md for a service with a key of its own. */
async function ingestOutsideTheDemo(): Promise<string> {
  const folder = dirname(settings.home)
  mkdirSync(join(folder, 'folder'))
  writeFileSync(join(folder, 'folder/otter.md'), 'Saw an otter by the river.')
  for (const command of ['collection add diary --title Diary', 'service add scribe --collection diary'])
    await cli(...command.split(' '))
  const script = scriptOf('docs/your-own-documents.md', /^## Outside the demo$/m)
  const { stderr } = await inFolder(script, { PUBLIC_URL: settings.url })
  expect(statSync(join(folder, 'scribe-app.key.json')).mode & 0o777).toBe(0o600)
  return stderr
}

describe('a person of the demo at the command line', { timeout: slow }, () => {
  test('signs in by the device flow, is known, asks as themself, and an agent of theirs by exchange', async () => {
    await using service = startService(settings.env)
    await service.said(ready)
    expect(service.stdout()).toContain(`Their passwords: ${join(settings.home, 'demo-passwords')}`)
    expect(service.stdout()).toContain(`REMIT_HOME='${settings.home}' npm run -s remit -- login && `)
    expect(statSync(join(settings.home, 'demo-passwords')).mode & 0o777).toBe(0o600)
    const everybody = ['anne', 'bob', 'carol', 'kim'].map(passwordOf)
    expect(new Set(everybody).size).toBe(4)
    for (const password of everybody) expect(password).toMatch(/^[\w-]{16}$/)

    const [asked, signIn] = await login('anne')
    expect(asked).toContain('Remit on the command line')
    expect(signIn).toContain(`The passwords are in ${join(settings.home, 'demo-passwords')}`)
    expect((await cli('whoami')).stdout).toContain(`anne at ${settings.url}\nmay: docs.search docs.read\n`)
    // No administrator: nothing is explained to her, and she is not taken for somebody else.
    expect(await cli(...question)).toMatchObject({ code: 1, stdout: '' })

    const { stdout } = await cli('token', '--user', 'anne', '--agent', 'research-bot')
    expect(decodeJwt(stdout.trim())).toMatchObject({
      sub: 'anne',
      client_id: 'demo-agent-research-bot',
      act: { iss: `${settings.url}/oauth`, sub: 'research-bot' },
      demo: true,
    })
    expect((await search(stdout.trim())).found).toContain('finance/recall/recall-cost-2026.md')

    await using program = startCommand(
      ['What did the March recall cost?'],
      { ...settings.env, REMIT_URL: settings.url },
      'examples/agent-exchange.ts',
    )
    await confirm(program, 'anne')
    expect(await program.exit).toMatchObject({ code: 0 })
    expect(program.stdout()).toContain('finance/recall/recall-cost-2026.md  What the March recall cost\n')

    await using quickStart = startCommand(['quick-start'], settings.env, 'examples/run.ts')
    expect([(await quickStart.exit).code, quickStart.stderr()]).toEqual([0, ''])
    const otter = '  "Anne saw an otter by the river." [notes/otter, Otters]'
    expect(
      quickStart
        .stdout()
        .split('\n')
        .filter((line) => line.startsWith('  ')),
    ).toEqual([otter, '  (nothing)', otter, '  (nothing)'])

    await using source = startCommand(['source'], settings.env, 'examples/run.ts')
    expect([(await source.exit).code, source.stderr()]).toEqual([0, ''])
    expect(
      source
        .stdout()
        .split('\n')
        .filter((line) => !line.startsWith('$ ')),
    ).toEqual([
      'imported 1, withdrawn 0, failed 0',
      'Anne finds “An otter was seen by the river.”',
      'Bob finds nothing.',
      'imported 0, withdrawn 0, failed 0',
      'Anne finds nothing.',
      'Bob finds “An otter was seen by the river.”',
      '',
    ])

    await login('kim')
    const explained = await cli(...question)
    expect(explained).toMatchObject({ code: 0, stderr: '' })
    expect(explained.stdout).toContain('user:bob does not have can_read')
    service.kill('SIGINT')
    expect((await service.exit).code).toBe(0)
    expect(service.stderr()).toBe('')
  })

  test('is still known after a second start, whose passwords are the same; the documented ways by hand, with a service’s key, and for people and groups work; logout ends it', async () => {
    const before = passwordOf('anne')
    await using service = startService(settings.env)
    await service.said(ready)
    expect(passwordOf('anne')).toBe(before)
    expect((await cli('whoami')).stdout).toContain(`kim at ${settings.url}\n`)
    const file = join(
      settings.env.XDG_CONFIG_HOME ?? '',
      'remit/sign-ins',
      `${encodeURIComponent(settings.url)}.json`,
    )
    const { access_token: token } = JSON.parse(readFileSync(file, 'utf8')) as { access_token: string }
    expect((await search(token)).status).toBe(200)
    const page = readFileSync(new URL('../../docs/flows/consent-and-exchange.md', import.meta.url), 'utf8')
    expect(commandsOf(page)).toHaveLength(6)
    expect(await walk(page)).toEqual([])
    expect(await ingestOutsideTheDemo()).toContain('1 of 1 file is in diary, 0 failed, 0 skipped.')
    const { stdout: kept } = await inFolder(
      scriptOf('docs/your-own-documents.md', /^### Keep people out$/m, /^## Ingest again$/m),
    )
    expect(kept).toMatch(/^user:carol does not have can_read .* Blocked at folder:board\.$/m)
    expect(kept).toMatch(/^user:carol does not have can_read .* Gate 1 of zone:deal does not hold them\.$/m)
    expect(kept).toMatch(/^user:bob {2}audience of zone:deal, /m)
    const { stdout } = await inFolder(scriptOf('docs/people-and-groups.md'))
    expect(stdout).toMatch(/^user:bob does not have can_read .* Blocked at organization:acme\/company\.$/m)
    expect(stdout).toMatch(/^user:nora\n {2}roles: agents.write, security.read, security.write$/m)
    expect(stdout).toMatch(/^group:acme\/staff {2}member of group:acme\/editors/m)
    expect(stdout).toMatch(/^user:bob {2}member {2}until 2099-01-01T00:00:00Z$/m)
    expect(stdout).not.toMatch(/^user:nora {2}member of/m)
    expect(stdout).toMatch(
      /^user:carol has can_read[\s\S]*^user:carol does not have can_read[\s\S]* ended 2099/m,
    )
    expect((await cli('logout')).stderr).toContain('Signed out')
    expect((await search(token)).status).toBe(401)
    expect(await cli('whoami')).toMatchObject({ code: 1, stdout: '' })
    service.kill('SIGINT')
    expect((await service.exit).code).toBe(0)
  })
})
