import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
    held: 0,
    kind: 'scim',
    key_attribute: 'externalId',
    tokens_end: [expect.stringMatching(/^\d{4}-/)],
  })
  const records = JSON.stringify(await world.database.query('select * from decision_records'))
  expect(records).toContain('directory_token')
  expect(records).not.toContain(token)
})

test('what is wrong is refused by name', async () => {
  for (const [argv, says] of [
    [['token', 'none'], 'There is no directory none that comes by SCIM'],
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

test('a directory that is read is registered with its settings, read when one says so, and ended by its number', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'remit-directory-'))
  const settings = join(folder, 'ldap.json')
  const people = { base: 'dc=x', filter: '(uid=*)', key: 'uid', id: 'entryUUID', active: 'always' }
  const groups = { base: 'dc=x', filter: '(cn=*)', id: 'entryUUID' }
  const url = 'ldaps://ldap.acme.test'
  await writeFile(settings, JSON.stringify({ url, bind_dn: 'cn=remit', people, groups }))
  const add = ['directory', 'add', 'read', '--kind', 'ldap', '--namespace', 'read', '--prefix', 'read/']
  const flags = ['--settings', settings, '--secret', 'corp', '--max-age', '7200']
  expect((await run(...add, '--secret', 'corp')).stderr).toContain('settings.')
  expect((await run(...add, '--settings', settings, '--secret', 'other')).stderr).toContain(
    'DIRECTORY_SECRETS',
  )
  expect((await run(...add, ...flags, '--poll', '7200')).stderr).toContain('poll_seconds')
  expect(await run(...add, ...flags)).toMatchObject({ code: 0 })
  const lines = (await run('directory', 'list', '--json')).stdout.trim().split('\n')
  expect(lines.map((line) => JSON.parse(line)).find(({ directory }) => directory === 'read')).toEqual({
    directory: 'read',
    kind: 'ldap',
    namespace: 'read',
    prefix: 'read/',
    key_attribute: 'uid',
    origin: url,
    users: 0,
    users_seen: 0,
    groups: 0,
    held: 0,
    read_at: null,
    ended_at: null,
    failures: 0,
    problem: null,
    problems: [],
    stale: false,
    waiting: 0,
  })
  expect(await run('directory', 'sync', 'read')).toMatchObject({ code: 0 })
  expect((await run('directory', 'sync', 'acme')).stderr).toContain('that the service reads')
  expect((await run('directory', 'end', 'read', '--waiting', '3')).stderr).toContain('0 are held now')
  expect((await run('directory', 'token', 'read')).stderr).toContain('that comes by SCIM')
})
