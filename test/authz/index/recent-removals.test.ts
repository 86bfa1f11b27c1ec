import { createTupleStore } from '@remit/engine'
import { expect, test } from 'vitest'
import { createRandom } from '../../../packages/engine/test/support/random.ts'
import { seed } from '../../../packages/engine/test/support/seed.ts'
import { leadingTo, leadsToAny } from '../../../src/authz/index/recent-removals.ts'
import { markerObject } from '../../../src/delegation/recovery/restore-detection.ts'
import { documentObject } from '../../../src/kernel/ids.ts'

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
