import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { judges } from '../../src/cli/exit-code.ts'
import { remit as process } from '../e2e/process.ts'
import { type Commands, openCommands, remit } from './world.ts'

let world: Commands
let folder: string
beforeAll(async () => {
  world = await openCommands()
  folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  await writeFile(join(folder, 'passes.yaml'), store(true))
  await writeFile(join(folder, 'fails.yaml'), store(false))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
  await world.database.close()
})

const store = (expected: boolean) => `model: |
  model
    schema 1.1
  type user
  type document
    relations
      define viewer: [user]
tuples: [{ user: user:anne, relation: viewer, object: document:a }]
tests:
  - name: one
    check: [{ user: user:anne, object: document:a, assertions: { viewer: ${expected} } }]
`

const nobodyThere = ['--server', 'http://127.0.0.1:9']

test.each([
  [2, 'audit verify'],
  [2, 'audit verify --against nowhere'],
  [2, 'audit verify --bogus'],
  [2, 'audit --bogus verify'],
  [2, 'doctor --bogus'],
  [2, 'drift'],
  [2, 'drift --bogus'],
  [2, 'model test nowhere.yaml'],
  [2, 'model test --bogus'],
  [0, 'audit verify --help'],
  [1, 'agent list'],
  [1, 'agent list --bogus'],
  [1, 'audit heads'],
])('%i is what remit ends with where it could not do this, with nobody there: %s', async (code, line) => {
  expect(await remit(line.split(' '), { home: folder })).toMatchObject({ code })
})

test('remit model test ends with 2 where the server does not answer, with 1 where the engine said that one fails', async () => {
  const ran = (file: string) =>
    remit(['model', 'test', join(folder, file), ...nobodyThere], { home: folder }).then(({ code }) => code)
  expect(await ran('passes.yaml')).toBe(2)
  expect(await ran('fails.yaml')).toBe(1)
})

test.each([
  [0, { mended: 3, requestOnly: 0, adopted: true }],
  [1, { mended: 3, requestOnly: 1, adopted: true }],
  [2, { mended: 3, requestOnly: 0, adopted: false }],
  [1, { mended: 3, requestOnly: 1, adopted: false }],
])('remit drift ends with %i where it came to %o, which it prints', async (code, report) => {
  const ran = await remit(['drift', '--json'], {
    home: world.home,
    withService: (work) => work({ ...world.deps, drift: async () => report }),
  })
  expect(ran.code).toBe(code)
  expect(JSON.parse(ran.stdout)).toEqual(report)
})

test.each([
  [2, 'audit verify'],
  [2, 'doctor'],
  [1, 'agent list'],
])('%i is what remit %s ends with where a setting cannot be read', async (code, line) => {
  const ran = await process(line.split(' '), { REMIT_HOME: folder, PORT: 'none' })
  expect(ran).toMatchObject({ code, stdout: '', stderr: expect.stringContaining('PORT') })
})

test.each([
  [2, 'audit verify'],
  [1, 'agent list'],
])(
  '%i is what remit %s ends with where .env cannot be read, or its answer cannot be written',
  async (code, line) => {
    const cwd = join(folder, `at-${code}`)
    await mkdir(join(cwd, '.env'), { recursive: true })
    const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))
    const argv = [program, ...line.split(' ')]
    expect(spawnSync(execPath, argv, { cwd, encoding: 'utf8' })).toMatchObject({
      status: code,
      stdout: '',
      stderr: expect.stringMatching(/^\.env cannot be read: [^\n]*\n$/),
    })
    const full = await open('/dev/full', 'w')
    try {
      const stdio = ['ignore', full.fd, 'pipe'] as const
      expect(spawnSync(execPath, [...argv, '--help'], { stdio: [...stdio], encoding: 'utf8' })).toMatchObject(
        {
          status: code,
          stderr: expect.stringMatching(/^The answer cannot be written: [^\n]*\n$/),
        },
      )
    } finally {
      await full.close()
    }
  },
)

test('docs/versions.md says of each command that judges what it ends with', async () => {
  const page = await readFile(new URL('../../docs/versions.md', import.meta.url), 'utf8')
  const rows = page.split('| command | 0 | 1 | 2 |\n|---|---|---|---|\n')[1]?.split('\n\n')[0] ?? ''
  expect([...rows.matchAll(/^\| `([\w ]+)` \|/gm)].map(([, name]) => name)).toEqual(judges)
})
