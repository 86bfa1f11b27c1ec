import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { replaceOnce } from '../model/mutants.ts'
import { openWorld, type World } from '../support/world.ts'
import { type Ran, remit } from './world.ts'

const dsl = readFileSync(new URL('../../model.fga', import.meta.url), 'utf8')
const unblocked = replaceOnce(dsl, 'define can_read: viewer but not blocked', 'define can_read: viewer').dsl
const unlent = replaceOnce(
  dsl,
  'define can_be_told: can_read and in_scope',
  'define can_be_told: can_read',
).dsl

let world: World
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  world = await openWorld({ env: { MODEL_APPLY_APPROVERS: '2' } })
  for (const user of ['dan', 'carol'])
    await world.service.administrators.add(`user:${user}`, ['security.write'])
  await world.write('user:anne viewer document:a', 'user:anne blocked document:a')
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** `remit model …` with this person's own token. */
async function model(user: string, ...argv: readonly string[]): Promise<Ran> {
  const envToken = await world.token({ user })
  const url = world.config.publicUrl
  const ask = async (input: string | URL | Request, init?: RequestInit) =>
    world.service.app.request(String(input), init)
  return remit(['model', ...argv], { home: folder }, { url, envToken, fetch: ask })
}

async function plan(text: string, user = 'dan'): Promise<Ran & { readonly id: string }> {
  const file = join(folder, 'changed.fga')
  await writeFile(file, text)
  const ran = await model(user, 'plan', file)
  return { ...ran, id: /^Plan (\S+) /.exec(ran.stdout)?.[1] ?? '' }
}

test('a plan that nobody gains by says so in a line', async () => {
  const can_read = 'define can_read: viewer but not blocked'
  const { stdout } = await plan(
    replaceOnce(dsl, can_read, `${can_read}\n    define seen: viewer but not blocked`).dsl,
  )
  expect(stdout).toMatch(/^Nobody gains and nobody loses anything\.$/m)
  expect(stdout).not.toContain('gain nothing')
}, 60_000)

test('a plan that is refused before anything is compared says so, and not that nobody gains', async () => {
  const { stdout } = await plan(dsl.replaceAll('can_be_told', 'can_be_said'))
  expect(stdout).toContain('REFUSED')
  expect(stdout).toMatch(/^It was not compared: who gains and who loses is not known\.$/m)
  expect(stdout).not.toContain('Nobody gains')
  const { stdout: markdown } = await model('dan', 'plan', join(folder, 'changed.fga'), '--markdown')
  expect(markdown).toContain('> **It was not compared: who gains and who loses is not known.**')
  expect(markdown).not.toContain('| people |')
}, 60_000)

test('a plan says who gains, two people apply it, and it is taken back', async () => {
  const stale = await plan(unblocked)
  expect((await model('dan', 'show', stale.id)).stdout).not.toContain('OUTDATED')
  const made = await plan(unblocked)
  expect(made).toMatchObject({ code: 0, stderr: expect.stringContaining(`model apply ${made.id}`) })
  expect(made.stderr).toContain('--reason WHY')
  expect(made.stdout).toMatch(
    /TESTS FAIL: \d+ of \d+ in the truth table\.\n {2}✕ user:\S+ can_\S+ \S+: yes, expected: no \(/,
  )
  expect(made.stdout).toContain('People gain 1: 1 of them, 1 document\n  + user:anne  document:a\n')
  expect(await model('carol', 'plans')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`${made.id}\n  state: open\n  planner: user:dan\n`),
  })
  expect(await model('dan', 'apply', made.id)).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/tests of the truth table fail.*\(reason\) Name it with --reason WHY\./),
  })
  const first = await model('dan', 'apply', made.id, '--reason', 'Blocking moves to groups')
  expect(first).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('Somebody else has to confirm it too'),
  })
  expect((await model('dan', 'show')).stdout).toContain('Waits for another yes:')
  const read = (await model('carol', 'show', made.id)).stdout
  expect(read).toContain(
    'Confirmed by user:dan.\n  user:dan, although tests fail: Blocking moves to groups\n',
  )
  expect(read).toContain('\n-    define can_read: viewer but not blocked\n+    define can_read: viewer\n')
  expect(await model('dan', 'apply', made.id, '--reason', 'again')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('needs somebody else'),
  })
  const [line = ''] = (await model('carol', 'plans', '--json')).stdout.split('\n')
  expect(JSON.parse(line)).toMatchObject({ plan_id: made.id, approved_by: ['user:dan'] })
  expect((await model('carol', 'apply', made.id, '--reason', 'As he says')).stdout).toContain(
    'confirmed by user:dan, user:carol.',
  )
  expect(await model('carol', 'plans')).toMatchObject({
    code: 0,
    stdout: '',
    stderr: 'No plan can be confirmed now.\n',
  })
  const shown = (await model('dan', 'show')).stdout
  expect(shown).toContain('which is not model.fga')
  expect(shown).toContain(`${made.id}, confirmed by user:dan, user:carol\n`)
  // A record names the model that decided.
  const [, model_id = ''] = /^In force: (\S+),/.exec(shown) ?? []
  const brought = (await model('dan', 'show', model_id)).stdout
  expect(brought).toContain(`Plan ${made.id} by user:dan, which came into force\n`)
  const [, first_id = ''] = /Z (\S+) \S+ by a start$/m.exec(shown) ?? []
  expect((await model('dan', 'show', first_id)).stderr).toContain('there is no plan of it')
  expect((await model('dan', 'show', 'other')).stderr).toContain('No model other was ever in force.')

  // Made before it, from another model.
  expect((await model('dan', 'show', stale.id)).stdout).toContain(
    'OUTDATED, nobody can confirm it: Another model is in force than the one it was made from. Make a new plan.\n',
  )
  expect(brought).not.toContain('OUTDATED')

  const back = await model('dan', 'rollback')
  expect(back.code).toBe(0)
  expect(back.stdout).toMatch(/^The truth table holds: \d+ tests\.$/m)
  expect(back.stdout).toContain('People lose 1: 1 of them, 1 document\n  - user:anne  document:a\n')
}, 60_000)

test('a plan says of tuples that it would not take that they stay, and have to be deleted first', async () => {
  const { stdout } = await plan(
    replaceOnce(
      dsl,
      '[user, group#member] or blocked from parent or',
      '[group#member] or blocked from parent or',
    ).dsl,
  )
  expect(stdout).toMatch(
    /1 stored tuple would not count any more:\n {2}user:anne blocked document:a {2}\(.*\)\n {2}They stay stored: while it is in force nobody can delete them by POST \/access, .* Delete them first\.\n/,
  )
  const file = join(folder, 'changed.fga')
  expect((await model('dan', 'plan', file, '--markdown')).stdout).toContain('any more. They stay stored')
}, 60_000)

test('a refused model says why and ends with 1, as does a person who is no administrator', async () => {
  const made = await plan(unlent)
  expect(made).toMatchObject({ code: 1, stdout: expect.stringContaining('REFUSED') })
  expect(made.stderr).not.toContain('Confirm it with')
  expect(await model('dan', 'apply', made.id)).toMatchObject({ code: 1, stdout: '' })
  expect(await plan(unblocked, 'anne')).toMatchObject({ code: 1, stdout: '' })
  expect(await model('anne', 'show')).toMatchObject({ code: 1, stdout: '' })
})

test.each([
  [
    'is none',
    'define can_read: viewer but not blocked',
    'define can_read viewer',
    "missing ':' at 'viewer'",
    21,
  ],
  [
    'means none',
    'define can_read: viewer but not blocked',
    'define can_read: viewer but not hidden',
    'the relation `hidden` does not exist.',
    37,
  ],
])('a text that %s is refused with the file, the line and the column', async (_, from, to, why, column) => {
  const text = replaceOnce(dsl, from, to).dsl
  const line = text.split('\n').findIndex((one) => one.includes(to)) + 1
  const { code, stdout, stderr } = await plan(text)
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(/^422 .* \(model\)\n/)
  expect(stderr.split('\n')).toContain(`${join(folder, 'changed.fga')}:${line}:${column}: ${why}`)
})

test('without a token nobody is asked, and the answer says how to come by one', async () => {
  const ran = await remit(
    ['model', 'show'],
    { home: folder },
    { fetch: () => Promise.reject(new Error('asked')) },
  )
  expect(ran).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('REMIT_TOKEN') })
})
