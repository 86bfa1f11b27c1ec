import { expect, test } from 'vitest'
import { averageOf, inSteps, weightOf } from '../../../src/retrieval/ranking/weigh.ts'
import fc from '../../support/properties.ts'

const count = fc.integer({ min: 0, max: 10_000_000 })

test('keeps counts in steps: at least 8, off by a fifth at most, the same again when kept twice', () => {
  expect([0, 1, 8, 9, 10, 11, 16, 100, 1_000_000].map(inSteps)).toEqual([
    8, 8, 8, 8, 11, 11, 16, 91, 1_048_576,
  ])
  fc.assert(
    fc.property(count, (n) => {
      const kept = inSteps(n)
      expect(inSteps(kept)).toBe(kept)
      if (n >= 8) expect(Math.abs(Math.log2(kept / n))).toBeLessThan(0.31)
    }),
  )
})

test('shows one document more at a step only: of the counts up to 10,000, 21 differ from the one before', () => {
  const differ = Array.from({ length: 10_000 }, (_, n) => n).filter((n) => inSteps(n) !== inSteps(n + 1))
  expect(differ).toHaveLength(21)
})

test('keeps the average length to the next 5, as of 1,000 passages at the least', () => {
  expect([
    averageOf(0, 0),
    averageOf(10 * 900, 10),
    averageOf(1_000 * 42, 1_000),
    averageOf(0, 5_000),
  ]).toEqual([90, 100, 40, 5])
})

test('weighs a rarer word more, every word above 0, and all alike where a corpus is small or not counted', () => {
  fc.assert(
    fc.property(count, count, count, (all, one, other) => {
      const corpus = { passages: all, wordsOnAverage: 90 }
      expect(weightOf(corpus, one)).toBeGreaterThan(0)
      if (one <= other) expect(weightOf(corpus, one)).toBeGreaterThanOrEqual(weightOf(corpus, other))
    }),
  )
  expect(weightOf({ passages: 5, wordsOnAverage: 91 }, 5)).toBe(
    weightOf({ passages: 0, wordsOnAverage: 1 }, 0),
  )
})
