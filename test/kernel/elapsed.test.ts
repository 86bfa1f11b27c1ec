import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createElapsed, ownElapsed } from '../../src/kernel/elapsed.ts'
import { createFollower } from '../../src/kernel/follower.ts'

const hour = 3_600_000

describe('an age', () => {
  const clocks = { wall: 0, steady: 0 }
  let elapsed: () => number
  beforeEach(() => {
    Object.assign(clocks, { wall: 1_800_000_000_000, steady: 5_000 })
    elapsed = createElapsed(
      () => clocks.wall,
      () => clocks.steady,
    )
  })

  /** What it says of a time in which the clocks did this. */
  function ageAfter(...moves: readonly { readonly wall?: number; readonly steady?: number }[]): number {
    const before = elapsed()
    for (const { wall = 0, steady = 0 } of moves) {
      clocks.wall += wall
      clocks.steady += steady
      elapsed()
    }
    return elapsed() - before
  }

  test('is what passed while both clocks go', () => {
    expect(ageAfter({ wall: 700, steady: 700 })).toBe(700)
  })
  test('goes on while the machine sleeps, when the clock that never jumps stands still', () => {
    expect(ageAfter({ wall: hour }, { wall: 100, steady: 100 })).toBe(hour + 100)
  })
  test('is that of the clock that never jumps where the other one is set back', () => {
    expect(ageAfter({ wall: -hour, steady: 300 })).toBe(300)
  })
  test('counts a sleep after the clock was set back', () => {
    expect(ageAfter({ wall: -hour }, { wall: 60_000 })).toBe(60_000)
  })
  test('never gets less, whatever the clocks do', () => {
    let last = elapsed()
    for (const wall of [hour, -2 * hour, 0, 19, -19, 500, -1]) {
      const now = last + ageAfter({ wall, steady: 1 })
      expect(now).toBeGreaterThan(last)
      last = now
    }
  })
  test('grows no faster where one of the clocks counts whole milliseconds', () => {
    const moves = Array.from({ length: 10_000 }, (_, nth) => ({
      steady: 0.1,
      wall: nth % 10 === 9 ? 1 : 0,
    }))
    expect(ageAfter(...moves)).toBeCloseTo(1_000, 0)
  })
})

describe('after a sleep of an hour', () => {
  beforeEach(() => {
    // `performance` is the real one, which does not move with it.
    vi.useFakeTimers({ toFake: ['Date'] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })
  const sleep = () => vi.setSystemTime(Date.now() + hour)

  test('this process is an hour older', () => {
    const before = ownElapsed()
    sleep()
    // Sums of fractions of a millisecond are rounded.
    expect(ownElapsed() - before).toBeGreaterThan(hour - 0.001)
  })

  test('what a follower read before is not fresh', async () => {
    await using follower = createFollower({ read: async () => undefined })
    await follower.refresh()
    expect(follower.isFresh(60_000)).toBe(true)
    sleep()
    expect(follower.isFresh(60_000)).toBe(false)
    await follower.refresh()
    expect(follower.isFresh(60_000)).toBe(true)
  })
})
