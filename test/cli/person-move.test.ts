import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AdminDeps } from '../../src/cli/commands/command.ts'
import { openWorld, type World } from '../support/world.ts'
import { type Commands, openCommands, remit, serving } from './world.ts'

const trusted = {
  issuer: 'https://acme.okta.test/oauth2/aus1',
  audiences: { api: 'a', mcp: 'm' },
  namespace: 'acme',
  preset: 'okta',
}
const [old, other] = ['acme/anne@acme.test', 'acme/00u1anne']

let commands: Commands
let world: World
let socket: AsyncDisposable
beforeAll(async () => {
  commands = await openCommands()
  world = await openWorld({ env: { TRUSTED_ISSUERS: JSON.stringify([trusted]) } })
  const deps: AdminDeps = { ...commands.deps, personMove: world.service.personMove }
  socket = await serving({ home: commands.home, deps })
  await world.put({ 'handbook/seen': { access: { viewers: [`user:${old}`] } } })
  await world.write(`user:${old} member group:eng`)
  await world.service.administrators.add(`user:${old}`, ['security.read'])
})
afterAll(async () => {
  await socket?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
  await commands?.database.close()
})

const move = (...args: string[]) => remit(['person', 'move', ...args], { home: commands.home })
const facts = (ran: { readonly stdout: string }): unknown => JSON.parse(ran.stdout)
async function standsUnder(key: string) {
  const tuples: string[] = []
  for await (const page of world.service.fga.readAll())
    for (const { user, relation, object } of page)
      if (user === `user:${key}`) tuples.push(`${relation} ${object}`)
  const rows = await world.database.query(
    'select object from desired_tuples where subject = $1 union all select subject from administrators where subject = $1',
    [`user:${key}`],
  )
  return { tuples: tuples.sort(), rows: rows.length }
}
const all = { tuples: ['member group:eng', 'viewer document:handbook/seen'], rows: 2 }

test.each([
  ['nobody', other, 'The old key is NAMESPACE/KEY'],
  ['bob', other, `bob is a local account, and those are not moved. Whoever has both links ${other} to it`],
  ['bob', 'robert', 'bob is a local account, and those are not moved.\n'],
  [old, old, 'another account key'],
  [old, 'globex/anne', 'Both keys are of one issuer'],
  [old, 'zoe', 'There is no local account zoe.'],
])('a move from %s to %s is refused by name, and moves nothing', async (from, to, why) => {
  expect(await move(from, to, '--confirm')).toMatchObject({
    code: 1,
    stdout: '',
    stderr: expect.stringContaining(why),
  })
  expect(await standsUnder(old)).toEqual(all)
})

test('a move says what it would take along, takes it once it is confirmed, and says so again', async () => {
  const found = { tags: 1, tuples: 2, delegations: 0, roles: 1 }
  const looked = await move(old, `user:${other}`, '--json')
  expect(facts(looked)).toMatchObject({ ...found, moved: false })
  expect(looked.stderr).toBe('Nothing was moved. To move it: --confirm\n')
  expect(await standsUnder(old)).toEqual(all)
  const moved = await move(old, other, '--confirm')
  expect(moved).toMatchObject({ code: 0, stderr: '' })
  expect(moved.stdout.split('\n')).toEqual(
    expect.arrayContaining([
      'named on documents and folders: 1',
      'tuples in OpenFGA: 2',
      'roles: 1',
      expect.stringMatching(/^moved: /),
    ]),
  )
  expect(await standsUnder(old)).toEqual({ tuples: [], rows: 0 })
  expect(await standsUnder(other)).toEqual(all)
  // In the form in which an erasure finds both.
  expect(
    await commands.database.query(
      `select detail->'arguments' as arguments from decision_records where detail->>'command' = 'person_move'
       order by record_no desc limit 1`,
    ),
  ).toEqual([{ arguments: { from: `user:${old}`, to: `user:${other}`, confirm: true } }])
})
