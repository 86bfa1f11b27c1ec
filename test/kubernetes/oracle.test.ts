import { expect, test } from 'vitest'
import { chooseAskers } from '../../benchmarks/kubernetes/ask.ts'
import { createOracle, verifyOracle } from '../../benchmarks/kubernetes/oracle.ts'
import { createRandom } from '../../benchmarks/kubernetes/random.ts'

const tuples = [
  { user: 'user:ann', relation: 'member', object: 'group:inner' },
  { user: 'group:inner#member', relation: 'member', object: 'group:outer' },
  { user: 'group:outer#member', relation: 'editor', object: 'folder:top' },
  { user: 'folder:top', relation: 'parent', object: 'folder:top/below' },
  { user: 'folder:top/below', relation: 'parent', object: 'document:deep' },
  { user: 'user:bob', relation: 'owner', object: 'document:own' },
  { user: 'user:*', relation: 'viewer', object: 'document:open' },
]

test('the oracle follows nested groups and folders, and gives a stranger only what is open', () => {
  const oracle = createOracle(tuples)
  expect(oracle.visible('ann')).toEqual(new Set(['deep', 'open']))
  expect(oracle.visible('bob')).toEqual(new Set(['own', 'open']))
  expect(oracle.visible('*')).toEqual(new Set(['open']))
})

test('the oracle refuses a relation that it does not know, instead of leaving somebody out', () => {
  expect(() => createOracle([{ user: 'user:ann', relation: 'blocked', object: 'document:own' }])).toThrow(
    'blocked',
  )
})

test('the oracle is refused where its truth differs from a digest of the data set', () => {
  const visible = [{ user: '*', documents: 1, sha256: '0'.repeat(64) }]
  expect(() => verifyOracle(createOracle(tuples), { visible })).toThrow('differs')
})

test('the same seed draws the same people, from the fewest to the most documents, under numbers', () => {
  const people = Array.from({ length: 200 }, (_, index) => ({
    handle: `handle-${index}`,
    visible: new Set(Array.from({ length: index }, (__, at) => `d${at}`)),
  }))
  const drawn = chooseAskers(people, 40, createRandom(7))
  expect(drawn).toEqual(chooseAskers(people, 40, createRandom(7)))
  expect(drawn).toHaveLength(40)
  expect([drawn[0]?.visible.size, drawn.at(-1)?.visible.size]).toEqual([1, 199])
  for (const { pseudonym } of drawn) expect(pseudonym).toMatch(/^person-\d+$/)
})
