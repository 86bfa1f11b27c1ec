import type { Random } from '../kubernetes/random.ts'

/**
 * The smallest of the values than which at least this share are no larger: of twenty, the 19th for 95 %. NaN
 * of none.
 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share - 1e-9) - 1)] ?? Number.NaN
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

const resamples = 1_000

/** The middle 95 % of the means of as many values drawn from these, again and again. */
export function interval(values: readonly number[], random: Random): readonly [number, number] {
  const [first] = values
  if (first === undefined || values.every((value) => value === first)) return [mean(values), mean(values)]
  const means = Array.from({ length: resamples }, () => {
    let sum = 0
    for (let at = 0; at < values.length; at++)
      sum += values[Math.floor(random.next() * values.length)] as number
    return sum / values.length
  })
  return [quantile(means, 0.025), quantile(means, 0.975)]
}
