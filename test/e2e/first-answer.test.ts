import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { openBrowser } from '../delegation/issuer/browser.ts'
import { native, needsPythonClient } from '../support/native.ts'
import { programEnv } from '../support/program-env.ts'
import { freshSettings, listens, type Settings, startService, startShell } from './process.ts'

// Other tests run beside these, on few cores.
const timeout = 300_000
const root = fileURLToPath(new URL('../../', import.meta.url))

/** The shell blocks of a page that name this test, by the programs of this tree and not by a container's. */
async function blocksOf(page: string, { url, home }: Settings): Promise<readonly string[]> {
  const text = await readFile(join(root, page), 'utf8')
  return [...text.matchAll(/<!-- run: test\/e2e\/first-answer\.test\.ts -->\n```sh\n([\s\S]*?)^```$/gm)].map(
    ([, block = '']) =>
      block
        .replaceAll(/npm run -s example --/g, `'${process.execPath}' ${root}examples/run.ts`)
        .replaceAll(
          /npm run -s remit --|docker compose exec (?:-T )?remit node src\/cli\/main\.js/g,
          `'${process.execPath}' ${root}src/cli/main.ts`,
        )
        .replaceAll('npx node', `'${process.execPath}'`)
        .replaceAll('".remit/', `"${home}/`)
        .replaceAll(/https:\/\/remit\.example\.com|http:\/\/localhost:8787/g, url),
  )
}

test('docs/containers.md leads from nothing to an agent’s first answer, by its own lines', {
  timeout,
}, async () => {
  await using settings = await freshSettings(undefined)
  // Accounts of its own and nobody of the demo, as in containers.
  const env = { ...settings.env, REMIT_DEMO: 'false', TRUSTED_ISSUERS: '[]' }
  await using service = startService(env)
  await listens(service)
  const blocks = await blocksOf('docs/containers.md', settings)
  expect(blocks).toHaveLength(4)
  const cwd = await mkdtemp(join(tmpdir(), 'remit-test-'))
  onTestFinished(() => rm(cwd, { recursive: true, force: true }))
  const { stdout } = await promisify(execFile)('sh', ['-euc', blocks.slice(0, 3).join('')], {
    cwd,
    env: { ...programEnv, ...env },
  })
  const password = /^[\w-]{20}$/m.exec(stdout)?.[0] ?? ''

  await using agent = startShell(`cd '${cwd}'\n${blocks[3]}`, env)
  await expect.poll(() => agent.stderr(), { timeout: 60_000 }).toMatch(/^Open \S+ and enter \S+\n$/)
  const [, address = '', code = ''] = /^Open (\S+) and enter (\S+)$/m.exec(agent.stderr()) ?? []
  const browser = openBrowser(settings.url)
  const asked = await browser.submit(await browser.open(address), '/oauth/device', { user_code: code })
  const signIn = await browser.submit(asked, '/oauth/device')
  const consent = await browser.submit(signIn, '/sign-in', { user: 'anne', password })
  for (const shown of ['<span>Diary</span>', '>Agree</button>']) expect(consent.text).toContain(shown)
  await browser.submit(consent, '/consent', { seconds: '3600', object: 'collection:diary' })
  expect([await agent.exit, agent.stdout()]).toEqual([
    { code: 0, signal: null },
    'diary/otter.md: Saw an otter by the river.\n',
  ])
})

test('packages/client/README.md leads from the demo through a sign-in and an exchange to an answer', {
  timeout,
}, async () => {
  await using settings = await freshSettings(undefined)
  await using service = startService(settings.env)
  await listens(service)
  const [block = 'exit 1', ...others] = await blocksOf('packages/client/README.md', settings)
  expect(others).toEqual([])
  const passwords = await readFile(join(settings.home, 'demo-passwords'), 'utf8')
  const [, password = ''] = /^anne\s+(\S+)$/m.exec(passwords) ?? []

  await using program = startShell(block, settings.env)
  await expect.poll(() => program.stderr(), { timeout: 60_000 }).toMatch(/^Open \S+ and enter \S+\n$/)
  const [, address = '', code = ''] = /^Open (\S+) and enter (\S+)$/m.exec(program.stderr()) ?? []
  const browser = openBrowser(settings.url)
  const asked = await browser.submit(await browser.open(address), '/oauth/device', { user_code: code })
  const signIn = await browser.submit(asked, '/oauth/device')
  const consent = await browser.submit(signIn, '/sign-in', { user: 'anne', password })
  await browser.submit(consent, '/consent', { seconds: '3600' })
  expect(await program.exit).toEqual({ code: 0, signal: null })
  expect(program.stdout()).toMatch(/^# What the March recall cost\n/)
})

test('python/README.md has a first answer in four lines', { ...needsPythonClient, timeout }, async () => {
  await using settings = await freshSettings(undefined)
  await using service = startService(settings.env)
  await listens(service)
  const [block = 'exit 1', ...others] = await blocksOf('python/README.md', settings)
  expect(others).toEqual([])
  // Not every machine calls it `python` outside of an environment.
  const bin = join(dirname(settings.home), 'bin')
  await mkdir(bin)
  const { stdout: python } = await promisify(execFile)('sh', ['-c', 'command -v python3'])
  await symlink(python.trim(), join(bin, 'python'))
  const { stdout } = await promisify(execFile)('sh', ['-euc', block], {
    env: {
      ...programEnv,
      ...settings.env,
      PATH: `${bin}:${process.env['PATH']}`,
      PYTHONPATH: `${root}python/src:${native.pythonClient}/site`,
      PYTHONDONTWRITEBYTECODE: '1',
    },
  })
  expect(stdout).toMatch(/^# What the March recall cost\n/)
})
