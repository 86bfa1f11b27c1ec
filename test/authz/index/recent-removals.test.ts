import { createTupleStore } from '@remit/engine'
import { expect, test } from 'vitest'
import { createRandom } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { createPermissionIndex } from '../../../src/authz/index/create.ts'
import { leadingTo, leadsToAny } from '../../../src/authz/index/recent-removals.ts'
import { markerObject } from '../../../src/delegation/recovery/restore-detection.ts'
import { documentObject } from '../../../src/kernel/ids.ts'
import { ownJson } from '../parts.ts'

test(`which documents lead to what was taken away is what walking from each of them finds (FUZZ_SEED=${seed})`, () => {
  let led = 0
  for (let world = 0; world < 200; world++) {
    const random = createRandom(seed + world)
    const tuples = createTupleStore()
    const nameOf = () => `${random.pick(['document', 'folder', 'group', 'delegation'])}:${random.below(5)}`
    for (let at = 0; at < 14; at++) {
      const relation = random.pick(['parent', 'member'])
      const user = `${nameOf()}${random.chance(0.3) ? '#member' : ''}`
      const key = { user, relation, object: nameOf() }
      if (tuples.get(key) === undefined) tuples.add(key, '')
    }
    const documents = ['0', '1', '2', '3', '4']
    const objects = new Set(Array.from({ length: 1 + random.below(3) }, nameOf))
    const walked = documents.filter((id) => leadsToAny(documentObject(id), objects, new Set(), tuples))
    expect([...leadingTo(documents, objects, tuples)], `${seed + world}`).toEqual(walked)
    led += walked.length
  }
  expect(led).toBeGreaterThan(100)
})

test('what no tuple leads to, such as the marker of epochs that is written anew each minute, has no document walked', () => {
  const tuples = createTupleStore()
  tuples.add({ user: 'folder:1', relation: 'parent', object: 'document:1' }, '')
  tuples.add({ user: 'agent:epoch.2', relation: 'agent', object: markerObject }, '')
  const looked: string[] = []
  const watched = { ...tuples, node: (name: string) => (looked.push(name), tuples.node(name)) }
  expect(leadingTo(['1', '2'], new Set([markerObject, 'folder:gone']), watched).size).toBe(0)
  expect(looked).toEqual([markerObject, 'folder:gone'])
  expect([...leadingTo(['1', '2'], new Set([markerObject, 'folder:1']), watched)]).toEqual(['1'])
})

/** An index that remembers for a second, and clocks of its own. */
async function openIndex() {
  const clocks = { wall: 1_800_000_000_000, steady: 5_000 }
  const index = createPermissionIndex({
    fga: {
      async *readAll() {},
      readChanges: async (position) => ({ changes: [], position, isEnd: true }),
    },
    storage: {
      load: async () => undefined,
      peek: async () => undefined,
      begin: async () => 1,
      save: async ({ version }) => version,
    },
    now: () => clocks.wall,
    elapsed: () => clocks.wall,
    steady: () => clocks.steady,
    log: () => undefined,
    pollMs: 10,
    rememberMs: 1_000,
  })
  index.useModel('m', ownJson)
  await index.catchUp()
  const lately = () => [...index.touched(['a', 'b'], clocks.wall - 500)]
  const take = (id: string) =>
    index.wrote({ deletes: [{ user: 'user:anne', relation: 'viewer', object: documentObject(id) }] })
  const pass = async (wall: number, steady = wall) => {
    clocks.wall += wall
    clocks.steady += steady
    await index.catchUp()
  }
  return { lately, take, pass, [Symbol.asyncDispose]: () => index[Symbol.asyncDispose]() }
}

test('what was taken away a moment ago is remembered through a sleep, and where the clock is set forward', async () => {
  await using opened = await openIndex()
  const { lately, take, pass } = opened
  await pass(501)
  take('a')
  expect(lately()).toEqual(['a'])
  await pass(3_600_000, 0)
  expect(lately()).toEqual(['a'])
  take('b')
  expect(lately()).toEqual(['a', 'b'])
  await pass(500)
  expect(lately()).toEqual(['a', 'b'])
  await pass(1)
  expect(lately()).toEqual([])
  // Nor is it forgotten where the clock is set back.
  take('a')
  await pass(-3_600_000, 400)
  expect(lately()).toContain('a')
})

test('what was taken away before the clock was set back is no longer remembered than anything else', async () => {
  await using opened = await openIndex()
  const { lately, take, pass } = opened
  await pass(501)
  take('a')
  await pass(-3_600_000, 0)
  expect(lately()).toEqual(['a', 'b'])
  take('b')
  await pass(500)
  expect(lately()).toEqual(['a', 'b'])
  await pass(1)
  expect(lately()).toEqual([])
})
