import { explain } from '@remit/engine'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { explanationLines } from '../../src/cli/explain.ts'
import { reasonToWire } from '../../src/http/routes/security/explain.ts'
import { createTestIndex } from '../authz/parts.ts'
import { openWorld, type World } from '../support/world.ts'
import { runRemit } from './remit.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
  await world.write('user:anne viewer document:plan')
  await world.service.administrators.add('user:dan', ['security.read'])
  await world.service.index.catchUp()
})
afterAll(() => world?.[Symbol.asyncDispose]())

const remit = (...argv: readonly string[]) => runRemit(world, argv)

test('remit explain asks as an administrator of the demo and says OpenFGA’s decision', async () => {
  const { code, out } = await remit('explain', 'user:anne', 'can_read', 'document:plan', '--as', 'dan')
  expect(code).toBe(0)
  expect(out).toContain('user:anne has can_read of document:plan.')
  expect(out).toContain('`- + user:anne viewer document:plan (written ')
})

test('remit explain with another clock says that the tuples are today’s', async () => {
  const question = ['explain', 'user:anne', 'can_read', 'document:plan', '--as', 'dan']
  const { out } = await remit(...question, '--at', '2020-01-01T00:00:00Z')
  expect(out).toContain('By the clock of 2020-01-01T00:00:00.000Z, on today’s tuples:')
  expect((await remit(...question)).out).not.toContain('By the clock')
})

test('remit explain is refused for who is no administrator, and names a wrong field', async () => {
  expect(await remit('explain', 'user:anne', 'can_read', 'document:plan', '--as', 'anne')).toMatchObject({
    code: 1,
    out: '',
  })
  const { said } = await remit('explain', 'user:../x', 'can_read', 'document:plan', '--as', 'dan')
  expect(said).toContain('(user)')
})

test('remit who-can prints who has it, and how', async () => {
  const { code, out } = await remit('who-can', 'can_read', 'document:plan', '--as', 'dan')
  expect(code).toBe(0)
  expect(out).toBe('user:anne  viewer of document:plan\n')
})

test('a tree can be read by a person', () => {
  const { model, tuples } = createTestIndex('m', Date.now).view()!
  for (const [order, line] of [
    'folder:plans parent document:plan',
    'group:eng#member viewer folder:plans',
    'user:anne member group:eng',
  ].entries()) {
    const [user = '', relation = '', object = ''] = line.split(' ')
    tuples.add({ user, relation, object }, `01JN7QZZ0000000000000000${String(order).padStart(2, '0')}`)
  }
  const tree = (user: string): string => {
    const { allowed, reason, cut } = explain(model, tuples, {
      user,
      relation: 'can_read',
      object: 'document:plan',
    })
    const decision = allowed ? 'allowed' : 'denied'
    return explanationLines({
      agrees: true,
      in_words: `${user}: ${decision}.`,
      reason: JSON.parse(JSON.stringify(reasonToWire(reason))),
      cut,
      replica: { state: 'ready', lag_ms: 0 },
    }).join('\n')
  }
  expect(tree('user:anne')).toMatchInlineSnapshot(`
    "user:anne: allowed.

    + can_read of document:plan
    |- + viewer of document:plan
    |  \`- + folder:plans parent document:plan (written 2025-03-01T02:19:02.528Z)
    |     \`- + viewer of folder:plans
    |        \`- + group:eng#member viewer folder:plans (written 2025-03-01T02:19:02.528Z)
    |           \`- + member of group:eng
    |              \`- + user:anne member group:eng (written 2025-03-01T02:19:02.528Z)
    \`- + not excluded by: blocked
       \`- - blocked of document:plan
          |- - no tuple: user:anne or group#member blocked document:plan
          |- - folder:plans parent document:plan (written 2025-03-01T02:19:02.528Z)
          |  \`- - blocked of folder:plans
          |     |- - no tuple: user:anne or group#member blocked folder:plans
          |     \`- - no tuple: folder or collection or zone parent folder:plans
          \`- - no tuple: collection filed_in document:plan"
  `)
  expect(tree('user:bob')).toMatchInlineSnapshot(`
    "user:bob: denied.

    - can_read of document:plan
    \`- - viewer of document:plan
       |- - no tuple: user:bob or user:* or group#member or organization#member viewer document:plan
       |- - owner of document:plan
       |  \`- - no tuple: user:bob owner document:plan
       \`- - folder:plans parent document:plan (written 2025-03-01T02:19:02.528Z)
          \`- - viewer of folder:plans
             |- - no tuple: user:bob or user:* or group#member or organization#member viewer folder:plans
             |- - group:eng#member viewer folder:plans (written 2025-03-01T02:19:02.528Z)
             |  \`- - member of group:eng
             |     \`- - no tuple: user:bob or group#member member group:eng
             \`- - no tuple: folder or collection or zone parent folder:plans"
  `)
})
