import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runRemit } from '../../cli/remit.ts'
import { openPeopleWorld, type PeopleWorld } from './world.ts'

let at: PeopleWorld
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-test-'))
  at = await openPeopleWorld()
  await at.person('anne', 'anne@acme.test')
  at.intranet.accounts.set('7', { name: 'Anne \u001b[31m', email: 'anne@acme.test' })
  at.intranet.accounts.set('8', { name: 'Bob' })
  for (let account = 0; account < 1_100; account += 1) at.intranet.accounts.set(`x${account}`, {})
  await at.add()
})
afterAll(async () => {
  await at?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

async function remit(...argv: readonly string[]) {
  const { out, ...rest } = await runRemit(at.directory, argv)
  return { ...rest, out: out.trim().split('\n') }
}

test('remit source status says since when a source is read, and how often in a row that stopped, and why', async () => {
  const status = async () => (await remit('source', 'status', 'intranet', '--as', 'dan')).out[0]
  expect(await status()).toMatch(/permissions confirmed 2[^;]*$/)
  const { database } = at.directory
  await database.query(
    `update sources set began_at = ended_at + interval '1 hour', failures = 3, problem = 'The source does not answer (timed_out).'`,
  )
  expect(await status()).toMatch(
    /; being read since 2\S+Z; 3 readings in a row stopped; The source does not answer \(timed_out\)\.$/,
  )
  await database.query('update sources set began_at = ended_at, failures = 0, problem = null')
})

test('remit source people prints who is who, all pages of it; link, confirm-link and unlink change it', async () => {
  const all = await remit('source', 'people', 'intranet', '--as', 'dan')
  expect(all.code, all.said).toBe(0)
  expect(all.out).toHaveLength(1_102)
  expect(all.out[0]).toBe('7 (Anne ?[31m, anne@acme.test)  user:acme/anne, by address')
  expect(all.out[1]).toBe('8 (Bob)  unknown; The source gives no address for it')
  expect(all.said).toBe('1 account linked, 0 suspended, 1101 unknown.\n')
  const file = join(folder, 'people.json')
  await writeFile(file, JSON.stringify([{ account: '8', subject: 'user:bob' }]))
  const proposed = await remit('source', 'link', 'intranet', '--people', file, '--as', 'dan')
  expect(proposed.out.slice(0, 2)).toEqual(['Proposed by user:dan:', '  8 is user:bob'])
  const digest = proposed.out[2]?.split(' ').at(-1) ?? ''
  const own = await remit('source', 'confirm-link', 'intranet', '--digest', digest, '--as', 'dan')
  expect(own.code).not.toBe(0)
  const confirmed = await remit('source', 'confirm-link', 'intranet', '--digest', digest, '--as', 'carol')
  expect(confirmed.out).toEqual(['2 accounts linked, 0 suspended, 1100 unknown.'])
  const unlinked = await remit('source', 'unlink', 'intranet', '7', '--as', 'dan')
  expect(unlinked.out).toEqual(['1 account linked, 1 suspended, 1100 unknown.'])
  const suspended = await remit('source', 'people', 'intranet', '--state', 'suspended', '--as', 'dan')
  expect(suspended.out).toEqual([
    '7 (Anne ?[31m, anne@acme.test)  suspended; was user:acme/anne; An administrator suspended it; until two administrators say who it is',
  ])
  const json = await remit('source', 'people', 'intranet', '--state', 'linked', '--json', '--as', 'dan')
  expect(JSON.parse(json.out[0] ?? '')).toMatchObject({ account: '8', linked_by: 'people', held: false })
})

test('remit source add names the id that a removed source had', async () => {
  const settings = join(folder, 'settings.json')
  await writeFile(settings, '{}')
  expect((await remit('source', 'remove', 'intranet', '--as', 'dan')).code).toBe(0)
  await at.directory.service.sources.runDue()
  const flags = ['--kind', 'intranet', '--collection', 'intranet', '--settings', settings, '--as', 'dan']
  const { code, said } = await remit('source', 'add', 'intranet', ...flags)
  expect(code).not.toBe(0)
  expect(said).toMatch(/There was a source intranet\. .*\(id\)/)
})
