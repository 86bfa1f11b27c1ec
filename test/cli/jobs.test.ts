import { afterAll, beforeAll, expect, test } from 'vitest'
import { openWorld, type World } from '../support/world.ts'
import { runRemit } from './remit.ts'

let world: World
beforeAll(async () => {
  world = await openWorld({ env: { REQUEST_DEADLINE_MS: '60000' } })
  const { administrators, people } = world.service
  for (const key of ['lena', 'kim']) await people.save({ key, name: key })
  await administrators.add('user:lena', ['security.read'])
  await administrators.add('user:kim', ['security.read', 'security.write'])
  await world.put({ 'handbook/well': { text: 'Hours.', access: { viewers: ['user:anne'] } } })
  const token = await world.token({ service: 'loader' })
  const json = { collection: 'handbook', title: 'Secret', text: '{"a":', mime_type: 'application/json' }
  for (const id of ['handbook%2Fbad', 'handbook%2Fworse']) {
    const headers = { prefer: 'wait' }
    expect((await world.call('PUT', `/documents/${id}`, { token, headers, body: json })).status).toBe(422)
  }
})
afterAll(() => world?.[Symbol.asyncDispose]())

const remit = (...argv: readonly string[]) =>
  runRemit(world, argv, {
    admin: { run: async (_: string, { service }: { service: string }) => ({ service }) },
    demoTokens: {
      person: ({ user, scopes }: { user: string; scopes: string[] }) => world.token({ user, scopes }),
      service: ({ service, scopes }: { service: string; scopes: string[] }) =>
        world.token({ service, scopes }),
    },
  })

test.each([[[]], [['list']]])(
  'remit jobs %j lists all as an administrator of the demo, newest first',
  async (more) => {
    const { code, out } = await remit('jobs', ...more)
    expect(code).toBe(0)
    const lines = out.trim().split('\n')
    expect(lines).toHaveLength(3)
    expect(lines[0]).toMatch(/^j_\S+ {2}\S+Z {2}loader {2}document {2}failed, 0 of 1 in, 1 failed$/)
    expect(lines[2]).toMatch(/done, 1 of 1 in$/)
    const failed = (await remit('jobs', ...more, '--state', 'failed', '--json')).out.trim().split('\n')
    expect(failed.map((line) => (JSON.parse(line) as { state: string }).state)).toEqual(['failed', 'failed'])
  },
)

test('remit jobs --service asks as that service, which sees its own alone', async () => {
  await world.service.services.save({ name: 'second', collections: [], prefixes: [] })
  const none = { code: 0, out: '', said: 'No jobs.\n', printed: 'No jobs.\n' }
  expect(await remit('jobs', '--service', 'second')).toEqual(none)
  expect((await remit('jobs', '--service', 'loader')).out.trim().split('\n')).toHaveLength(3)
  expect(await remit('jobs', '--of', 'second')).toEqual(none)
})

test('remit jobs show says why a document of it failed, and of one that is not there that it is not', async () => {
  const [id = ''] = (await remit('jobs', '--state', 'failed')).out.split(' ')
  const { code, out } = await remit('jobs', 'show', id)
  expect(code).toBe(0)
  expect(out).toContain('state: failed')
  expect(out).toMatch(/^handbook\/worse: unreadable: /m)
  for (const as of [[], ['--service', 'loader']]) {
    const none = await remit('jobs', 'show', 'j_never', ...as)
    expect(none.code).toBe(1)
    expect(none.said).toMatch(/^404 /)
  }
})

test('remit jobs failed tells id, reason and tries of each, and no title', async () => {
  for (const as of [[], ['--service', 'loader']]) {
    const { code, out } = await remit('jobs', 'failed', ...as)
    expect(code).toBe(0)
    expect(out).toMatch(/^handbook\/worse {2}\S+Z {2}loader {2}unreadable: .* \(1 try\)\nhandbook\/bad {2}/)
    expect(out).not.toContain('Secret')
  }
  expect((await remit('jobs', 'failed', '--code', 'too_large')).said).toBe('Nothing failed.\n')
})

test('remit jobs retry waits for each and ends with 1 where one does not go in, by which name and why', async () => {
  const { code, said } = await remit('jobs', 'retry', 'handbook/bad', 'document:never/was')
  expect(code).toBe(1)
  expect(said).toContain('failed: handbook/bad: handbook/bad: unreadable: ')
  expect(said).toContain('failed: never/was: 404 ')
  expect(said).toContain('0 of 2 documents in, 2 failed.')
  const asService = await remit('jobs', 'retry', 'handbook/bad', '--service', 'loader')
  expect(asService.said).toContain('failed: handbook/bad: 422 ')
  expect((await remit('jobs', 'failed')).out).toMatch(/^handbook\/bad .* \(3 tries\)$/m)
})

test.each([[['retry']], [['retry', 'x', '--all']], [['retry', 'x', '--code', 'unreadable']]])(
  'remit jobs %j asks what is meant, and does nothing',
  async (argv) => {
    const { code, said } = await remit('jobs', ...argv)
    expect(code).toBe(1)
    expect(said).toMatch(/--all/)
  },
)

test('remit jobs retry --all takes in what failed once the cause is gone, each once', async () => {
  const token = await world.token({ service: 'loader' })
  const body = {
    collection: 'handbook',
    title: 'Otters',
    text: 'Saw an otter.',
    access: { viewers: ['user:anne'] },
  }
  const headers = { prefer: 'wait' }
  // As three processes left it that ended at it.
  await world.database.query(
    'alter table revisions alter column deaths set default 4, alter column deaths_alone set default 3',
  )
  for (const id of ['handbook%2Fbad', 'handbook%2Fworse'])
    expect((await world.call('PUT', `/documents/${id}`, { token, headers, body })).status).toBe(422)
  await world.database.query(
    'alter table revisions alter column deaths set default 0, alter column deaths_alone set default 0',
  )
  expect((await remit('jobs', 'failed')).out.trim().split('\n')).toHaveLength(2)
  const { code, said } = await remit('jobs', 'retry', '--all')
  expect(said).toContain('2 of 2 documents in, 0 failed.')
  expect(code).toBe(0)
  const anne = await world.token({ user: 'anne' })
  const { results } = await world.retrieve(anne, { query: 'otter' })
  const found = results.map(({ document_id }) => document_id)
  expect(found).toEqual(expect.arrayContaining(['handbook/bad', 'handbook/worse']))
  expect(await remit('jobs', 'retry', '--all')).toMatchObject({
    code: 0,
    said: '0 of 0 documents in, 0 failed.\n',
  })
}, 90_000)
