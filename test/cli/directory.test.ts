import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Commands, openCommands, remit, serving } from './world.ts'

let world: Commands
let server: AsyncDisposable
beforeAll(async () => {
  world = await openCommands()
  server = await serving(world)
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
  await world.database.close()
})

const run = (...argv: readonly string[]) => remit(argv, world)

test('a directory is added and listed, its token said once and kept nowhere, the record included', async () => {
  expect(await run('directory', 'list')).toMatchObject({ code: 0, stderr: 'No directories.\n' })
  const add = ['directory', 'add', 'acme', '--namespace', 'acme', '--prefix', 'acme/']
  expect((await run(...add)).stderr).toContain('--key-attribute')
  const key = '--key-attribute'
  expect((await run(...add, key, 'mail')).code).toBe(1)
  expect(await run(...add, key, 'externalId')).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('/scim/v2'),
  })
  const { stdout, stderr } = await run('directory', 'token', 'acme', '--days', '7')
  const token = stdout.trim()
  expect(token).toMatch(/^remit_dir_[\w-]{43}$/)
  expect(stderr).toContain('It counts until')
  const [listed] = (await run('directory', 'list', '--json')).stdout.split('\n')
  expect(JSON.parse(listed ?? '')).toEqual({
    directory: 'acme',
    namespace: 'acme',
    prefix: 'acme/',
    users: 0,
    users_seen: 0,
    groups: 0,
    key_attribute: 'externalId',
    tokens_end: [expect.stringMatching(/^\d{4}-/)],
  })
  const records = JSON.stringify(await world.database.query('select * from decision_records'))
  expect(records).toContain('directory_token')
  expect(records).not.toContain(token)
})

test('what is wrong is refused by name', async () => {
  for (const [argv, says] of [
    [['token', 'none'], 'There is no directory none'],
    [['token', 'acme', '--days', 'x'], 'days'],
    [['groups', 'none'], 'There is no directory none'],
    [
      ['add', 'b', '--namespace', 'b', '--prefix', 'b/', '--key-attribute', 'userName'],
      'No trusted issuer has the namespace b',
    ],
  ] as const)
    expect(await run('directory', ...argv)).toMatchObject({ code: 1, stderr: expect.stringContaining(says) })
  expect(await run('directory', 'groups', 'acme')).toMatchObject({ code: 0, stderr: 'No groups.\n' })
  expect((await run('service', 'add', 'feeder', '--prefix', 'acme/x')).stderr).toContain(
    'The directory acme writes groups',
  )
})
