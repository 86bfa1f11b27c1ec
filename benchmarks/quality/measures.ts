/**
 * How good one ranked list of distinct documents is. Relevance is binary, as in BEIR's use of both
 * collections.
 */
export interface Measures {
  readonly ndcg10: number
  readonly recall10: number
}

/** nDCG and recall of the first ten. `relevant` must not be empty. */
export function measure(ranked: readonly string[], relevant: ReadonlySet<string>): Measures {
  const top = ranked.slice(0, 10)
  const gain = top.reduce((sum, id, index) => sum + (relevant.has(id) ? discount(index) : 0), 0)
  const ideal = Array.from({ length: Math.min(10, relevant.size) }, (_, index) => discount(index)).reduce(
    (a, b) => a + b,
    0,
  )
  return { ndcg10: gain / ideal, recall10: top.filter((id) => relevant.has(id)).length / relevant.size }
}

const discount = (index: number): number => 1 / Math.log2(index + 2)

export function mean(all: readonly Measures[]): Measures {
  const average = (value: (one: Measures) => number): number =>
    all.reduce((sum, one) => sum + value(one), 0) / all.length
  return { ndcg10: average(({ ndcg10 }) => ndcg10), recall10: average(({ recall10 }) => recall10) }
}
