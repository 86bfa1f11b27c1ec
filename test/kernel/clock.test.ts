import { describe, expect, test } from 'vitest'
import { clocksApartMs, isNoOlderThan } from '../../src/kernel/clock.ts'

const now = 1_800_000_000_000

describe('what was at most a minute ago', () => {
  test.each([
    ['now', 0, true],
    ['a minute ago', 60_000, true],
    ['longer ago', 60_001, false],
    ['ahead by as much as clocks differ', -clocksApartMs, true],
    ['further ahead: the clock was set back since', -clocksApartMs - 1, false],
    ['at no time', Number.NaN, false],
  ])('is told of what was %s', (_, ageMs, expected) => {
    expect(isNoOlderThan(60_000, now - ageMs, now)).toBe(expected)
  })
})
