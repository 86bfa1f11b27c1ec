import type { Random } from './random.ts'

/**
 * The largest rate that still gives so few of so many with this chance at least: Clopper and Pearson's upper
 * bound, one-sided. For none of n it is 1 − (1 − confidence)^(1/n), about 3/n.
 */
export function upperBound(few: number, many: number, confidence = 0.95): number {
  if (many === 0 || few >= many) return 1
  return bisect((rate) => atMost(few, many, rate) > 1 - confidence)
}

function bisect(isTooLow: (rate: number) => boolean): number {
  let [low, high] = [0, 1]
  for (let step = 0; step < 60; step += 1) {
    const middle = (low + high) / 2
    if (isTooLow(middle)) low = middle
    else high = middle
  }
  return high
}

/** P(X ≤ few) of a binomial, summed in logarithms so that a million trials do not run out of digits. */
function atMost(few: number, many: number, rate: number): number {
  if (rate <= 0) return 1
  if (rate >= 1) return 0
  let term = many * Math.log1p(-rate)
  let sum = Math.exp(term)
  const odds = Math.log(rate) - Math.log1p(-rate)
  for (let count = 1; count <= few; count += 1) {
    term += Math.log((many - count + 1) / count) + odds
    sum += Math.exp(term)
  }
  return Math.min(1, sum)
}

export const median = (values: readonly number[]): number => quantile(values, 0.5)

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const [below = 0, above = 0] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  return below + (above - below) * (at - Math.floor(at))
}

/**
 * How likely ranks as far apart as these are where lots alone decided which value stands in which group: the
 * rank sum of Wilcoxon, Mann and Whitney, by drawing the lots anew. It assumes nothing else, and is never
 * less than 1 / (draws + 1).
 */
export function rankSumP(a: readonly number[], b: readonly number[], random: Random, draws = 9_999): number {
  const ranks = ranksOf([...a, ...b])
  const expected = (a.length * (ranks.length + 1)) / 2
  const distance = (values: Float64Array) => {
    let sum = 0
    for (let index = 0; index < a.length; index += 1) sum += values[index] ?? 0
    return Math.abs(sum - expected)
  }
  const seen = distance(ranks) - 1e-9
  let asFar = 0
  for (let draw = 0; draw < draws; draw += 1) {
    // Only who is in the first group counts.
    for (let index = 0; index < a.length; index += 1) {
      const other = index + random.below(ranks.length - index)
      const kept = ranks[index] ?? 0
      ranks[index] = ranks[other] ?? 0
      ranks[other] = kept
    }
    if (distance(ranks) >= seen) asFar += 1
  }
  return (asFar + 1) / (draws + 1)
}

/** What {@link rankSumP} of two groups of this size comes to at least: all of one lie above the other. */
export function leastP(size: number, draws = 9_999): number {
  let lots = 1
  for (let one = 1; one <= size; one += 1) lots *= (size + one) / one
  return Math.max(2 / lots, 1 / (draws + 1))
}

/** From 1; equal values share the middle of their ranks. */
function ranksOf(values: readonly number[]): Float64Array {
  const order = values.map((_, index) => index).sort((x, y) => (values[x] ?? 0) - (values[y] ?? 0))
  const ranks = new Float64Array(values.length)
  for (let from = 0; from < order.length; ) {
    let to = from
    while (to + 1 < order.length && values[order[to + 1] ?? 0] === values[order[from] ?? 0]) to += 1
    for (let at = from; at <= to; at += 1) ranks[order[at] ?? 0] = (from + to) / 2 + 1
    from = to + 1
  }
  return ranks
}

/**
 * Holm's correction: of all these tests together, the chance of a single false alarm stays what each p says
 * after it.
 */
export function holm(ps: readonly number[]): number[] {
  const order = ps.map((_, index) => index).sort((x, y) => (ps[x] ?? 1) - (ps[y] ?? 1))
  const corrected = ps.map(() => 1)
  let worst = 0
  order.forEach((index, place) => {
    worst = Math.max(worst, Math.min(1, (ps[index] ?? 1) * (ps.length - place)))
    corrected[index] = worst
  })
  return corrected
}
