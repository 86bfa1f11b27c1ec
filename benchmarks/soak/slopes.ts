/** A figure's growth, by ordinary least squares. */
export interface Slope {
  /** In the figure's unit, for each hour. */
  readonly perHour: number
  /** Half of its 95 % confidence interval. */
  readonly plusMinus: number
  readonly first: number
  readonly last: number
}

// Quantile 0.975 of Student's t for 13 degrees of freedom: fifteen means, two parameters.
const [batches, t] = [15, 2.16]

/**
 * The slope over fifteen batches of equal length. Samples beside each other are not independent, and the
 * means of batches nearly are (batch means: Law and Kelton, Simulation Modeling and Analysis, §9.5). Samples
 * without a value are left out.
 */
export function slopeOf(samples: readonly (readonly [hours: number, value: number])[]): Slope {
  const known = samples.filter(([, value]) => Number.isFinite(value))
  const [from, to] = [known[0]?.[0] ?? 0, known.at(-1)?.[0] ?? 0]
  const means = Array.from({ length: batches }, (_, batch): readonly [number, number] | undefined => {
    const own = known.filter(
      ([at]) => Math.min(batches - 1, Math.floor(((at - from) / (to - from)) * batches)) === batch,
    )
    return own.length === 0
      ? undefined
      : [meanOf(own.map(([at]) => at)), meanOf(own.map(([, value]) => value))]
  }).filter((one) => one !== undefined)
  if (means.length < batches) throw new Error(`There are ${means.length} batches of ${batches}.`)
  const [x, y] = [meanOf(means.map(([at]) => at)), meanOf(means.map(([, value]) => value))]
  const squares = sum(means.map(([at]) => (at - x) ** 2))
  const perHour = sum(means.map(([at, value]) => (at - x) * (value - y))) / squares
  const left = sum(means.map(([at, value]) => (value - y - perHour * (at - x)) ** 2))
  return {
    perHour,
    plusMinus: t * Math.sqrt(left / (batches - 2) / squares),
    first: means[0]?.[1] ?? Number.NaN,
    last: means.at(-1)?.[1] ?? Number.NaN,
  }
}

const sum = (values: readonly number[]): number => values.reduce((all, one) => all + one, 0)
const meanOf = (values: readonly number[]): number => sum(values) / values.length
