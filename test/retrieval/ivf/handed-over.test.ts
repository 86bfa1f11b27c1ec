import { InvertedLists, seededRandom, trainModel } from '@remit/vector-index'
import { expect, test } from 'vitest'
import { visibleOf } from '../../../src/retrieval/access-filter/visible.ts'
import { createNearest } from '../../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import type { Database } from '../../../src/store/sql.ts'

const dimensions = 24
const random = seededRandom(11)
const numbers = Float32Array.from({ length: 50 * dimensions }, () => random() - 0.5)
const set = new InvertedLists(1, trainModel({ numbers, dimensions }, 7, random))
const question = numbers.subarray(0, dimensions)

test('a question that is asked beside others is handed over, and how long it waits is not what its plan takes', async () => {
  const visible = visibleOf(Int32Array.of(1, 3, 5), 600, 1_000_000, () => 1)
  let now = 0
  const handed: number[] = []
  const learned: number[] = []
  const nearest = createNearest({
    database: {
      vectorType: 'halfvec',
      queryFixedPlan: async () => [],
      query: async () => [],
    } as unknown as Database,
    ivf: {
      lists: () => [set],
      scanPool: {
        async scan(sets, { rows }) {
          handed.push(rows)
          now += 60
          return {
            best: sets.map(() => ({ slots: new Int32Array(), scores: new Float32Array() })),
            waitedMs: 50,
          }
        },
      },
    },
    costs: { of: (plan) => (plan === 'ivf' ? 0 : 1_000), learn: (_, __, ms) => learned.push(ms) },
    ticks: () => now,
  })
  const ask = { visible, embedding: question, limit: 10 }
  await nearest(ask)
  await nearest(ask)
  expect(handed).toEqual([])
  expect(learned).toEqual([0, 0])
  await Promise.all([nearest(ask), nearest(ask)])
  expect(handed).toHaveLength(1)
  expect(learned.slice(2)).toContain(10)
})
