import { expect, test } from 'vitest'
import { createRandom } from '../../benchmarks/kubernetes/random.ts'
import { besideOf } from '../../benchmarks/search/beside.ts'
import type { Cell } from '../../benchmarks/search/cells.ts'
import { seededCorpus } from '../../benchmarks/search/corpus.ts'
import { measure } from '../../benchmarks/search/measure.ts'
import { createOracle } from '../../benchmarks/search/oracle.ts'
import { interval, quantile } from '../../benchmarks/search/statistics.ts'
import { topK, type Way } from '../../benchmarks/search/ways/way.ts'

const corpus = seededCorpus(200, 1, 1)
const [question] = corpus.questions
if (question === undefined) throw new Error('There is no question.')
const document = (at: number): string => `document:${corpus.documents[at]?.id}`
const day = 86_400_000
const now = Date.now()
const until = (at: number) => ({ context: { expires_at: new Date(at).toISOString() } })
const oracle = createOracle(corpus, [
  { user: 'user:ann', relation: 'member', object: 'group:inner' },
  { user: 'group:inner#member', relation: 'member', object: 'group:outer' },
  { user: 'group:outer#member', relation: 'viewer', object: 'folder:top' },
  { user: 'folder:top', relation: 'parent', object: 'folder:below' },
  { user: 'folder:below', relation: 'parent', object: document(0) },
  { user: 'folder:below', relation: 'parent', object: document(1) },
  { user: 'group:inner#member', relation: 'blocked', object: document(1) },
  { user: 'user:ann', relation: 'owner', object: document(2) },
  { user: 'user:*', relation: 'viewer', object: document(3) },
  { user: 'user:ann', relation: 'viewer', object: document(4), condition: until(now + day) },
  { user: 'user:ann', relation: 'viewer', object: document(5), condition: until(now - day) },
  { user: 'user:bob', relation: 'viewer', object: document(6) },
])
const visible = oracle.visibleTo('user:ann', now)

test('the oracle follows groups, folders, owners and ends, takes what is blocked away, and gives a stranger what is open', () => {
  const numbers = (of: Uint8Array): number[] => [...of.keys()].filter((at) => of[at] === 1)
  expect(numbers(visible)).toEqual([0, 2, 3, 4])
  expect(numbers(oracle.visibleTo('user:stranger', now))).toEqual([3])
})

test('the oracle refuses a relation that it does not know, instead of leaving somebody out', () => {
  expect(() =>
    createOracle(corpus, [{ user: 'user:ann', relation: 'editor', object: 'folder:top' }]),
  ).toThrow('editor')
})

test('a way that releases what its person may not read is caught with each passage, one that misses some with its recall', async () => {
  const best = oracle.best(question, visible, topK)
  const everything = new Uint8Array(corpus.documents.length).fill(1)
  const all = oracle.best(question, everything, topK)
  const way = (name: string, passages: readonly number[], complete?: boolean): Way => ({
    name,
    kind: 'release',
    ask: async () => ({ passages, checks: 4, ...(complete !== undefined && { complete }) }),
  })
  const hidden = Array.from({ length: corpus.count }, (_, at) => at).filter(
    (at) => visible[corpus.documentOf[at] ?? 0] !== 1,
  )
  const cell: Cell = {
    policy: 'tree',
    topic: 'independent',
    level: 0.1,
    filter: 1,
    share: 0.1,
    near: 0,
    questions: [
      {
        person: 'user:ann',
        vector: question,
        visible,
        passages: best.visible,
        least: best.least,
        leastOfAll: all.least,
      },
    ],
  }
  const ways = [
    way('right', best.passages),
    way('leaking', [...best.passages.slice(0, 8), ...hidden.slice(0, 2)]),
    way('short', best.passages.slice(0, 5)),
    way('short, says so', best.passages.slice(0, 5), false),
    way('short, says that it is not', best.passages.slice(0, 5), true),
  ]
  const rows = await measure({
    corpus,
    cell,
    ways,
    sent: () => '',
    budgetMs: 1_000,
    rounds: 2,
    processorTime: () => 0,
  })
  expect(rows.map(({ asked }) => asked)).toEqual([1, 1, 1, 1, 1])
  expect(rows.map(({ leaks, recall, short }) => ({ leaks, recall, short }))).toEqual([
    { leaks: 0, recall: 1, short: 0 },
    { leaks: 2, recall: 0.8, short: 1 },
    { leaks: 0, recall: 0.5, short: 1 },
    { leaks: 0, recall: 0.5, short: 1 },
    { leaks: 0, recall: 0.5, short: 1 },
  ])
  expect(besideOf({ measured: rows, extras: undefined }).map((row) => row.slice(0, 4))).toEqual([
    ['way', 'leaks, of passages released', 'recall@10: mean, worst cell', 'fewer, of answers'],
    ['---', '---', '---', '---'],
    ['right', '0 of 10', '1.000, 1.000', '0 of 1'],
    ['leaking', '**2** of 10', '0.800, 0.800', '1 of 1'],
    ['short', '0 of 5', '0.500, 0.500', '1 of 1'],
    ['short, says so', '0 of 5', '0.500, 0.500', '1 of 1; 1 said so'],
    ['short, says that it is not', '0 of 5', '0.500, 0.500', '1 of 1; 0 said so'],
  ])
})

test('an interval holds the mean, and grows with what the values differ by', () => {
  const random = createRandom(1)
  expect(interval([1, 1, 1], random)).toEqual([1, 1])
  const [from, to] = interval([1, 1, 1, 0.5, 1, 0.9], random)
  expect(from).toBeLessThan(0.9)
  expect(to).toBeGreaterThan(0.9)
  expect(quantile([3, 1, 2], 0.5)).toBe(2)
  // The largest of twenty is the worst there was.
  expect(quantile([9, ...Array.from({ length: 19 }, (_, at) => at / 10)], 0.95)).toBe(1.8)
})
