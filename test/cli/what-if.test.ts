import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { replaceOnce } from '../model/mutants.ts'
import { openWorld, type World } from '../support/world.ts'
import { onceFollowing } from './once-following.ts'
import { type Ran, remit } from './world.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const unblocked = replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: viewer').dsl

let world: World
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  world = await openWorld()
  await world.service.administrators.add('user:dan', ['security.read', 'security.write'])
  await world.write(
    'user:anne viewer document:a',
    'user:anne blocked document:a',
    'user:anne member group:finance',
    ...Array.from({ length: 30 }, (_, nth) => [
      `group:finance#member viewer document:f${nth}`,
      `collection:finance filed_in document:f${nth}`,
    ]).flat(),
  )
  await writeFile(join(folder, 'changed.fga'), unblocked)
  await world.service.index.catchUp()
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

async function run(...argv: readonly string[]): Promise<Ran> {
  const envToken = await world.token({ user: 'dan' })
  const url = world.config.publicUrl
  return remit(argv, { home: folder }, { url, envToken, fetch: onceFollowing(world.service.app) })
}

test('remit what-if says who would lose what, where it is filed, and that nothing was changed', async () => {
  const { code, stdout } = await run('what-if', '--delete', 'user:anne member group:finance')
  expect(code).toBe(0)
  expect(stdout).toMatch(
    /^People gain nothing\.\nPeople lose 30: 1 of them, 30 documents\n {2}30 in finance\n/,
  )
  expect(stdout.match(/^ {2}- user:anne {2}document:f\d+$/gm)).toHaveLength(20)
  expect(stdout).toContain('  - and 10 more\n')
  expect(stdout).toMatch(
    /It can reach 1 person and 0 agents: 30 questions, on \d+ tuples .* Nothing is changed\.\n$/,
  )
})

test('remit what-if takes a changed model, an end, only some people and documents, and gives JSON', async () => {
  const { stdout } = await run(
    ...[
      'what-if',
      '--model',
      join(folder, 'changed.fga'),
      '--write',
      'user:bob viewer document:a 2999-01-01T00:00:00Z',
    ],
    ...['--person', 'user:anne', '--person', 'user:bob', '--document', 'a', '--json'],
  )
  const { can_read, asked } = JSON.parse(stdout)
  expect(asked).toEqual({ people: 2, agents: 0, questions: 2 })
  expect(can_read.gained.samples.map(({ who }: { who: string }) => who).sort()).toEqual([
    'user:anne',
    'user:bob',
  ])
})

test('remit what-if says what is so already, and what is no tuple', async () => {
  const { stdout } = await run(
    'what-if',
    '--write',
    'user:anne viewer document:a',
    '--delete',
    'user:bob viewer document:a',
  )
  expect(stdout).toContain('Is so already: user:anne viewer document:a\n')
  expect(stdout).toContain('Is not stored: user:bob viewer document:a\n')
  expect(await run('what-if', '--write', 'anne')).toMatchObject({ code: 1, stdout: '' })
  expect((await run('what-if')).stderr).toContain('--write, --delete or --model')
})

const workflow = readFileSync(new URL('../../examples/github/model.yml', import.meta.url), 'utf8')
interface Workflow {
  readonly on: object
  readonly permissions: object
  readonly jobs: Readonly<Record<string, { readonly steps: readonly { readonly run?: string }[] }>>
}

test('the workflow for pull requests has no more rights than to comment, and no secret', () => {
  const { on, permissions } = parse(workflow) as Workflow
  // pull_request_target would run a stranger's model with the repository's rights.
  expect(on).toEqual({
    pull_request: { paths: ['model.fga', 'model.fga.yaml', 'model.allow-list.yaml'] },
  })
  expect(permissions).toEqual({ contents: 'read', 'pull-requests': 'write' })
  expect(workflow).not.toContain('secrets.')
})

test('the command lines of the workflow run, and what it comments says who gains and hides nothing', async () => {
  const list = readFileSync(new URL('../../model.allow-list.yaml', import.meta.url), 'utf8')
  await writeFile(join(folder, 'changed.yaml'), list.replace('delete: writer }', 'delete: administrator }'))
  const lines = Object.values((parse(workflow) as Workflow).jobs)
    .flatMap(({ steps }) => steps.flatMap(({ run: line }) => line ?? []))
    .filter((line) => line.startsWith('npm run -s remit -- '))
  expect(lines).toHaveLength(2)
  const [tested, planned] = await Promise.all(
    lines.map((line) => {
      const words = line
        .replace('npm run -s remit -- ', '')
        .replace(/ > plan\.md$/, '')
        .split(' ')
      const argv = words
        .map((word) => (word.endsWith('model.fga.yaml') ? 'model.fga.yaml' : word))
        .map((word) => (word.endsWith('change/model.fga') ? join(folder, 'changed.fga') : word))
        .map((word) => (word.endsWith('change/model.allow-list.yaml') ? join(folder, 'changed.yaml') : word))
        .filter((word, at, all) => word !== '--as' && all[at - 1] !== '--as')
      return run(...argv)
    }),
  )
  expect(tested).toMatchObject({ code: 0, stdout: expect.stringContaining('Tests ') })
  expect(planned?.code).toBe(0)
  expect(planned?.stdout).toContain('| people | **1**: 1 of them, 1 document | nothing |')
  expect(planned?.stdout).toContain('- `user:anne` `document:a`')
  expect(planned?.stdout).toContain('- `document#owner` `Administrators may now delete it for user.`')
  expect(planned?.stdout).toMatch(/^> \*\*\d+ of \d+ tests of the truth table fail\.\*\*\n\n- `user:/m)
}, 60_000)

test('a plan as JSON is the service’s own, and a refused one says so first in a comment', async () => {
  const file = join(folder, 'changed.fga')
  expect(JSON.parse((await run('model', 'plan', file, '--json')).stdout)).toMatchObject({
    complete: true,
    state: 'open',
  })
  const unlent = replaceOnce(
    dsl,
    'define can_be_told: can_read and in_scope',
    'define can_be_told: can_read',
  ).dsl
  await writeFile(join(folder, 'refused.fga'), unlent)
  const { code, stdout } = await run('model', 'plan', join(folder, 'refused.fga'), '--markdown')
  expect(code).toBe(1)
  expect(stdout).toContain('> **It could not come into force as it is.**')
  expect(stdout).toContain('**Refused**\n\n- `document#')
})
