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
  expect((await run(...add, key, 'externalId', '--required')).stderr).toContain('no --required')
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

test('a directory that is read is registered with its settings, read when one says so, and what waits is done by its digest', async () => {
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
  // A password that somebody gives where it does not belong is refused, and nowhere on record.
  const wrong = join(folder, 'wrong.json')
  for (const mistaken of [{ bind_password: 'Hunter2' }, { url: 'ldaps://cn=remit:Hunter2@ldap.acme.test' }]) {
    await writeFile(wrong, JSON.stringify({ url, bind_dn: 'cn=remit', people, groups, ...mistaken }))
    expect((await run(...add, ...flags, '--settings', wrong)).stderr).toContain('settings')
  }
  expect((await run(...add, '--settings', settings, '--secret', 'Hunter2')).stderr).toContain(
    'DIRECTORY_SECRETS',
  )
  expect(await run(...add, ...flags)).toMatchObject({ code: 0 })
  const recorded = await world.database.query(
    `select detail->'arguments' as given from decision_records where detail->>'command' = 'directory_add'
     and detail->'arguments'->>'name' = 'read' order by record_no`,
  )
  expect(JSON.stringify(recorded)).not.toContain('Hunter2')
  expect(recorded.at(-1)).toMatchObject({
    given: { kind: 'ldap', settings: { url, bind_dn: 'cn=remit', people } },
  })
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
    required: false,
    waiting: null,
  })
  expect(await run(...add, ...flags, '--required')).toMatchObject({ code: 0 })
  expect((await run('directory', 'list', '--json')).stdout).toContain('"required":true')
  expect(await run('directory', 'sync', 'read')).toMatchObject({ code: 0 })
  expect((await run('directory', 'sync', 'acme')).stderr).toContain('that the service reads')
  expect((await run('directory', 'waiting', 'read')).stderr).toBe('Nothing waits.\n')
  expect((await run('directory', 'waiting', 'none')).stderr).toContain('There is no directory none')
  await world.database.query(
    `with users as (insert into directory_users (id, directory, sub, account, login, attributes, is_active, created_at, changed_at)
       values ('u_1', 'read', 'anne', 'read/anne', 'anne', '{}', false, now(), now())),
     groups as (insert into directory_groups (id, directory, attributes, created_at, changed_at)
       values ('g_1', 'read', '{"displayName": "Left"}', now(), now()))
     insert into directory_waiting (directory, what, member_id, group_id)
     values ('read', 'return', 'u_1', ''), ('read', 'unblock', 'u_1', 'g_1'), ('read', 'unblock', 'g_2', 'g_1')`,
  )
  const waiting = (await run('directory', 'waiting', 'read', '--json')).stdout.trim().split('\n')
  const [back, unblock] = waiting.map((line) => JSON.parse(line) as { readonly digest: string })
  expect(back).toEqual({
    what: 'return',
    digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    members: [{ member: 'user:read/anne', group: null, name: null }],
  })
  expect((await run('directory', 'waiting', 'read')).stdout).toBe(
    `They were ended, and would be active again: directory confirm read --digest ${back?.digest}
  user:read/anne
They are missing from groups that keep them from something, and would read more: directory confirm read --digest ${unblock?.digest}
  user:read/anne in group:read/g_1 (Left)
  group:read/g_2#member in group:read/g_1 (Left)
`,
  )
  const confirm = (digest = '') => run('directory', 'confirm', 'read', '--digest', digest)
  expect((await confirm('0'.repeat(64))).stderr).toContain('This is not what waits now.')
  expect(await confirm(back?.digest)).toMatchObject({ code: 0 })
  expect((await confirm(back?.digest)).stderr).toContain('This is not what waits now.')
  const confirmed = await world.database.query('select what from directory_waiting where is_confirmed')
  expect(confirmed).toEqual([{ what: 'return' }])
  const [, listed] = (await run('directory', 'list', '--json')).stdout.trim().split('\n')
  expect(JSON.parse(listed ?? '')).toMatchObject({ waiting: { unblock: 2 } })
  expect((await run('directory', 'token', 'read')).stderr).toContain('that comes by SCIM')
})
