import { beforeEach, describe, expect, test } from 'vitest'
import {
  type ClockComparison,
  createClockComparison,
} from '../../src/delegation/revocation/clock-comparison.ts'
import type { Log } from '../../src/kernel/log.ts'

// By itself; with a database: revocation-feed.test.ts.

describe('two clocks', () => {
  let logged: Parameters<Log>[]
  let clocks: ClockComparison
  beforeEach(() => {
    logged = []
    clocks = createClockComparison((...line) => logged.push(line))
  })
  /** The database says noon; the read took from `before` to `after`, milliseconds from its noon. */
  function compare(before: number, after = before): boolean {
    const noon = 1_767_268_800_000
    clocks.compare(noon + before, noon, noon + after)
    return clocks.areApart
  }
  const saysApart = (own: string, seconds: number) => ['clocks_apart', { own, seconds }]

  test('are together until they are compared', () => {
    expect([clocks.areApart, logged]).toEqual([false, []])
  })

  test.each([
    ['ahead', 1],
    ['behind', -1],
  ])('are apart beyond five minutes, and not at them, where this one is %s', (own, sign) => {
    expect(compare(sign * 300_000)).toBe(false)
    expect(logged).toEqual([])
    expect(compare(sign * 300_001)).toBe(true)
    expect(compare(sign * 900_000)).toBe(true)
    expect(logged).toEqual([saysApart(own, 300)])
  })

  test.each([1, -1])('are together again at five minutes, and not beyond them (%s)', (sign) => {
    compare(sign * 360_000)
    expect(compare(sign * 300_001)).toBe(true)
    expect(compare(sign * 300_000)).toBe(false)
    compare(0)
    expect(logged.slice(1)).toEqual([['clocks_together']])
  })

  test.each([
    ['ahead', 400_499, 900_000, 400],
    ['behind', -900_000, -400_500, 401],
  ])(
    'differ by what is certain after a slow read, in seconds, where this one is %s',
    (own, before, after, s) => {
      compare(before, after)
      expect(logged).toEqual([saysApart(own, s)])
    },
  )

  test('stay what they were after a read too slow to tell', () => {
    expect(compare(-900_000, 900_000)).toBe(false)
    expect(compare(-900_000, 300_000)).toBe(false)
    expect(compare(-300_000, 900_000)).toBe(false)
    compare(600_000)
    expect(compare(-900_000, 900_000)).toBe(true)
    expect(compare(-900_000, 0)).toBe(true)
    expect(compare(0, 900_000)).toBe(true)
    expect(compare(-300_000, 300_000)).toBe(false)
  })

  test('are apart while one says what is no number', () => {
    expect(compare(Number.NaN)).toBe(true)
    expect(compare(Number.NaN)).toBe(true)
    expect(logged).toHaveLength(1)
    expect(compare(0)).toBe(false)
  })
})
