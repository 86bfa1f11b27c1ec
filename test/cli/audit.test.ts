import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AdminDeps } from '../../src/cli/commands/command.ts'
import { runCommand } from '../../src/cli/commands.ts'
import { openWorld, type World } from '../support/world.ts'
import { runRemit } from './remit.ts'

let world: World
let folder: string
let txn: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'remit-audit-'))
  world = await openWorld()
  await world.put({ plan: { text: 'Otters build.', access: { viewers: ['user:anne'] } } })
  await world.service.administrators.add('user:dan', ['security.read'])
  await world.lend('anne', 'research-bot', 'collection:handbook')
  const token = await world.token({ user: 'anne', agent: 'research-bot' })
  txn = (await world.retrieve(token, { query: 'otters' })).txn
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

function remit(...argv: readonly string[]) {
  const { database, service } = world
  return runRemit(world, argv, {
    admin: {
      run: (name: string, args: object) =>
        runCommand(name, args, { ...service, database } as unknown as AdminDeps),
    },
  })
}

test('remit audit answers the questions of an incident, as an administrator of the demo', async () => {
  const as = ['--as', 'dan']
  expect((await remit('audit', 'readers', 'plan', ...as)).out).toContain(
    'user:anne\n  by: agent:research-bot\n',
  )
  // A typing error is no all-clear.
  expect((await remit('audit', 'readers', 'plen', ...as)).said).toContain(
    'document:plen was never here. Did you mean document:plan?',
  )
  expect((await remit('audit', 'readers', 'elsewhere', ...as)).said).toContain(
    'document:elsewhere was never here. Check the spelling.',
  )
  expect(await remit('explain', 'user:ane', 'can_read', 'document:plan', ...as)).toMatchObject({
    code: 0,
    out: expect.stringContaining('user:ane does not have can_read'),
    said: expect.stringContaining('user:ane was never here. Did you mean user:anne?'),
  })
  const reads = ['audit', 'reads', 'user:anne', '--agent', 'agent:research-bot', ...as]
  expect((await remit(...reads, '--today')).out).toMatch(/^plan\n[^]*today: allowed/)
  const thread = (await remit('audit', 'thread', txn, ...as)).out
  expect(thread).toMatch(/ retrieved( allowed)?\n {2}for: user:anne\n {2}by: agent:research-bot\n/)
  expect(thread).toMatch(
    /gave document:plan \(1 passage, \w[\w ]+\), allowed then by\n {4}user:anne viewer document:plan\n/,
  )
  expect(thread).toMatch(/\nIt rests on\n.* delegation_made\n[^]* {2}scope: collection:handbook\n/)
  await world.service.record.seal()
  const reach = await remit('audit', 'reach', 'agent:research-bot', ...as)
  expect(reach).toMatchObject({ code: 0, said: expect.stringContaining('Fewer than 7 days') })
  expect(reach.out).toContain('documents: 1')
  expect((await remit('audit', 'list', '--event', 'retrieved', ...as)).out).toMatch(/ retrieved allowed\n/)
  const lines = (await remit('audit', 'list', '--all', '--txn', txn, ...as)).out
  expect(
    lines
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).event),
  ).toContain('retrieved')
  expect(await remit('audit', 'list', '--as', 'anne')).toMatchObject({ code: 1, out: '' })
})

test('remit audit verify ends with 1 where the record is not whole, and says where; with 2 where it cannot tell', async () => {
  expect(await remit('audit', 'verify')).toMatchObject({ code: 0, said: 'The record is whole.\n' })
  const heads = join(folder, 'heads.ndjson')
  const { out } = await remit('audit', 'heads')
  await writeFile(heads, out)
  expect((await remit('audit', 'verify', '--against', heads)).code).toBe(0)
  expect((await remit('audit', 'verify', '--against', heads, '--resume')).code).toBe(0)
  expect(await remit('audit', 'verify', '--resume')).toMatchObject({
    code: 2,
    said: expect.stringContaining('--against FILE'),
  })
  await writeFile(heads, `${out}${JSON.stringify({ ...JSON.parse(out.split('\n')[0] ?? ''), seal: 999 })}\n`)
  const cut = await remit('audit', 'verify', '--against', heads, '--json')
  expect(cut.code).toBe(1)
  expect(JSON.parse(cut.out).findings).toMatchObject([{ kind: 'truncated', seal: 999 }])
  await writeFile(heads, 'no head\n')
  expect(await remit('audit', 'verify', '--against', heads)).toMatchObject({
    code: 2,
    said: 'Line 1 of the file is not JSON.\n',
  })
  await world.database.query('alter table decision_records disable trigger user')
  await world.database.query(`update decision_records set client = 'x' where txn = $1`, [txn])
  await world.database.query('alter table decision_records enable trigger user')
  const edited = await remit('audit', 'verify')
  expect(edited.code).toBe(1)
  expect(edited.out).toMatch(/^changed: record \d+ \(seal 1\)$/m)
  expect(edited.said).toBe('The record is NOT whole.\n')
})

test('remit audit erase asks for a yes, and does not keep whom it erased', async () => {
  expect((await remit('audit', 'erase', 'user:anne')).code).toBe(1)
  expect((await remit('audit', 'erase', 'user:anne', '--yes')).said).toMatch(/^\d+ records say erased:/)
  const rows = await world.database.query('select * from decision_records')
  expect(JSON.stringify(rows)).not.toMatch(/user:anne\b/)
  expect((await remit('audit', 'readers', 'plan', '--as', 'dan')).out).toMatch(/^erased:/)
})

test('audit thread and trace say that they cut, and have the action all the same', async () => {
  await world.database.query(
    `insert into decision_records (txn, event, subject, actors, client, trace_id, detail)
     select case when n = 1001 then 't_theft' else 't_' || n end, 'signed_out', 'user:anne', '{}', 'bot', 'trace_full', '{}'
     from generate_series(1, 1001) n`,
  )
  const more = (option: string) => `There are more than are listed: audit list ${option} --all\n`
  for (const argv of [
    ['audit', 'thread', 't_theft', '--as', 'dan', '--json'],
    ['trace', 't_theft', '--json'],
  ]) {
    const ran = await remit(...argv)
    expect(ran.said).toBe(more('--trace trace_full'))
    expect(ran.out).toContain('"t_theft"')
  }
  expect((await remit('trace', 'trace_full')).said).toBe(more('--trace trace_full'))
  await world.database.query(
    `insert into decision_records (txn, event, subject, actors, client, detail)
     select 't_long', 'signed_out', 'user:anne', '{}', 'bot', '{}' from generate_series(1, 1001)`,
  )
  expect((await remit('trace', 't_long')).said).toBe(more('--txn t_long'))
  expect((await remit('trace', txn)).said).not.toContain('There are more')
})

test.each([
  [1, ['trace', 't_1'], { steps: [{}], complete: true }, 'steps.0.seq: is missing'],
  [2, ['audit', 'verify'], { findings: [] }, 'found: is missing'],
  [1, ['audit', 'heads'], { heads: [{}] }, 'heads.0.seal: is missing'],
  [1, ['directory', 'waiting', 'corp'], { waiting: {} }, 'waiting: must be a list'],
])(
  '%i is what remit %j ends with where it cannot read an answer, and says what',
  async (code, argv, answer, says) => {
    expect(await runRemit(world, argv, { admin: { run: async () => answer } })).toMatchObject({
      code,
      out: '',
      said: `The service answered what this command cannot read: ${says}\n`,
    })
  },
)
