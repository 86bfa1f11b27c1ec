import { expect, test } from 'vitest'
import { scanBudget } from '../src/probe.ts'

/** As `upkeep.ts` has it. */
const cellsOf = (corpus: number) => Math.min(16_384, Math.round(4 * Math.sqrt(corpus)))
const shareOf = (corpus: number, share: number) =>
  scanBudget({ visible: share * corpus, corpus, partitions: cellsOf(corpus) }) / (share * corpus)

test.each([
  [1_000, 1],
  [20_000, 1],
  [100_000, 0.474],
  [1_000_000, 0.15],
  [10_000_000, 0.047],
])('of %i passages, all visible, this part is looked at: %d', (corpus, part) => {
  expect(shareOf(corpus, 1)).toBeCloseTo(part, 2)
})

test('the smaller the part is that is visible, the more of it is looked at, and of little all', () => {
  const shares = [1, 0.5, 0.2, 0.1, 0.05, 0.01, 0.001].map((share) => shareOf(1_000_000, share))
  expect(shares).toEqual(shares.toSorted((a, b) => a - b))
  expect(shares.at(-1)).toBeGreaterThan(0.8)
  expect(shareOf(1_000_000, 0.0001)).toBe(1)
})

test('what is not counted yet is no reason to look at less than all', () => {
  expect(scanBudget({ visible: 10, corpus: 0, partitions: 4_000 })).toBeGreaterThan(0)
  expect(scanBudget({ visible: 0, corpus: 0, partitions: 4_000 })).toBe(0)
  expect(scanBudget({ visible: 500, corpus: 100, partitions: 40 })).toBe(500)
})
