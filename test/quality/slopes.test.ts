import { expect, test } from 'vitest'
import { createRandom } from '../../benchmarks/kubernetes/random.ts'
import { slopeOf } from '../../benchmarks/soak/slopes.ts'

const quarterMinutes = Array.from({ length: 180 }, (_, index) => index / 240)
/** Noise in which each sample is mostly the one before, as memory and queues are. */
function drifting(seed: number): number[] {
  const random = createRandom(seed)
  let now = 0
  return quarterMinutes.map(() => {
    now = 0.7 * now + (random.next() - 0.5)
    return now
  })
}
const within = (truth: number, { perHour, plusMinus }: ReturnType<typeof slopeOf>): boolean =>
  Math.abs(perHour - truth) <= plusMinus

test('a straight line has its slope, without doubt', () => {
  const { perHour, plusMinus, first, last } = slopeOf(quarterMinutes.map((at) => [at, 500 + 12 * at]))
  expect(perHour).toBeCloseTo(12, 6)
  expect(plusMinus).toBeLessThan(1e-6)
  expect(last - first).toBeCloseTo(12 * 0.75 * (14 / 15), 1)
})

test('the interval holds the true slope in some 95 of 100 runs, and tells growth from none', () => {
  const runs = Array.from({ length: 200 }, (_, seed) => drifting(seed))
  const of = (truth: number) =>
    runs.map((noise) =>
      slopeOf(
        noise.map((value, index) => [
          quarterMinutes[index] as number,
          value + truth * (quarterMinutes[index] as number),
        ]),
      ),
    )
  expect(of(0).filter((slope) => within(0, slope)).length).toBeGreaterThan(174)
  expect(of(5).filter((slope) => within(0, slope))).toEqual([])
})

test('what could not be seen is left out, and too little of it is no slope', () => {
  expect(
    slopeOf(quarterMinutes.map((at, index) => [at, index % 3 === 0 ? Number.NaN : 7 * at])).perHour,
  ).toBeCloseTo(7, 6)
  expect(() =>
    slopeOf([
      [0, 1],
      [1, 2],
    ]),
  ).toThrow('batches')
})
