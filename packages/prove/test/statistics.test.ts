import { expect, test } from 'vitest'
import { createRandom } from '../src/random.ts'
import { holm, leastP, rankSumP, upperBound } from '../src/statistics.ts'

test('bounds are those of Clopper and Pearson', () => {
  // One-sided, 95 %; of their tables.
  expect(upperBound(0, 3_000)).toBeCloseTo(0.000998, 6)
  expect(upperBound(0, 10)).toBeCloseTo(1 - 0.05 ** 0.1, 10)
  expect(upperBound(2, 10)).toBeCloseTo(0.5069, 4)
  expect(upperBound(0, 1_000_000)).toBeCloseTo(3e-6, 7)
  expect([upperBound(0, 0), upperBound(10, 10)]).toEqual([1, 1])
})

test('lots shuffle evenly, also where what is shuffled is nothing', () => {
  const random = createRandom(3)
  const first = Array.from({ length: 4_000 }, () => random.shuffled([undefined, 1, undefined, 2])[0])
  const share = (value: unknown) => first.filter((one) => one === value).length / first.length
  expect(share(1)).toBeCloseTo(0.25, 1)
  expect(share(undefined)).toBeCloseTo(0.5, 1)
})

test('where lots decide, one in twenty experiments is below 0.05; where they do not, all are', () => {
  const random = createRandom(7)
  const sample = (shift: number) => Array.from({ length: 10 }, () => Math.round(random.next() * 20) + shift)
  const ps = Array.from({ length: 300 }, () => rankSumP(sample(0), sample(0), random, 199))
  const share = ps.filter((p) => p <= 0.05).length / ps.length
  expect(share).toBeLessThan(0.09)
  expect(share).toBeGreaterThan(0.01)
  expect(rankSumP(sample(0), sample(30), random)).toBeLessThan(0.001)
})

test('few values can tell little, whatever they are', () => {
  // Of 4 and 4 there are 70 lots, and 2 of them lie as far apart as can be.
  expect(leastP(4)).toBeCloseTo(2 / 70, 10)
  expect(rankSumP([1, 2, 3, 4], [5, 6, 7, 8], createRandom(1))).toBeCloseTo(2 / 70, 2)
  expect(leastP(20)).toBe(1e-4)
})

test('Holm’s correction', () => {
  expect(holm([0.01, 0.04, 0.03])).toEqual([0.03, 0.06, 0.06])
})
