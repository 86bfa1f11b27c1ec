import { scanBudget } from '@remit/vector-index'
import type { Costs } from './costs.ts'
import type { GraphWalk } from './hnsw.ts'

/** What the choice depends on: exact counts, no estimates of the database. */
export interface StrategyInputs {
  /** Visible chunks, in how many documents. */
  readonly visible: number
  readonly documents: number
  /** Chunks of everybody. */
  readonly corpus: number
  readonly limit: number
  /** Visible documents that lie in no partition yet. Undefined: there is no IVF index. */
  readonly unassigned?: number
  /** How many partitions there are. */
  readonly partitions?: number
  /** What codes do not tell of a vector, as `residualVarianceOf` has it. */
  readonly residualVariance?: number
}

/** A strategy with its expected cost, in milliseconds, and what its statement needs. */
export type Strategy =
  | { readonly strategy: 'exact'; readonly predictedMs: number }
  | {
      readonly strategy: 'ivf'
      readonly predictedMs: number
      /** Chunks to compare of those that codes nominate. */
      readonly rows: number
    }
  | {
      readonly strategy: 'hnsw'
      readonly predictedMs: number
      readonly walk: GraphWalk
    }

// Without partitions nothing is known of a question's surroundings, which may be what is hidden.
const shareMin = 0.9
const shareMinOfMany = 0.3
// Comparing everything is right, and past this it is slow: then a walk that may miss something is the better
// answer.
const exactMsMax = 20
// 400 and more is HNSW's own price for 99 %, whatever is visible.
const efMin = 300
const efMax = 800
// Measured: places that a walk visits for each candidate that it keeps.
const placesPerCandidate = 12
const rowsMin = 40
// Measured on real vectors: what codes put behind so many more than are wanted is hardly ever among the best
// ten. Fifty are enough for most questions, and lost three of ten where many passages say nearly the same. Of
// ten times as much, not quite twice as many.
const rowsMore = (visible: number, residualVariance: number): number =>
  Math.ceil(Math.max(90, 3 * visible ** (1 / 4)) * Math.max(1, residualVariance / residualVarianceUsual))
const residualVarianceUsual = 0.1
// All of them are compared whole.
const unassignedMax = 300
// As many as fit into `work_mem` at its default of 4 MB, at some 190 bytes each.
const tuplesMax = 20_000

/** Chooses the cheapest strategy of those that find what is to be found. */
export function chooseStrategy(situation: StrategyInputs, costs: Costs): Strategy {
  const { visible, documents, corpus, limit, unassigned, partitions = 1, residualVariance = 0 } = situation
  const exactMs = costs.of('exact', { chunks: visible, lookUps: documents })
  let sure: Strategy = { strategy: 'exact', predictedMs: exactMs }
  if (unassigned !== undefined && unassigned <= unassignedMax) {
    const rows = limit + rowsMore(visible, residualVariance)
    const perDocument = visible / Math.max(1, documents)
    const predictedMs = costs.of('ivf', {
      chunks: rows + unassigned * perDocument,
      lookUps: rows + unassigned,
      codes: scanBudget({ visible, corpus, partitions }),
    })
    if (predictedMs < exactMs) sure = { strategy: 'ivf', predictedMs, rows }
  }
  const { walk, places: graphNodes } = walkOf(situation)
  const predictedMs = costs.of('hnsw', { places: graphNodes })
  if (predictedMs >= sure.predictedMs || !mayWalk(situation, exactMs)) return sure
  // What the walk may cost beyond what is foreseen is what the sure strategy costs: together at most about
  // twice.
  const perPlace = costs.of('hnsw', { places: 1 }) - costs.of('hnsw', {})
  const tuples = Math.min(tuplesMax, Math.ceil(graphNodes + sure.predictedMs / perPlace))
  return { strategy: 'hnsw', predictedMs, walk: { ...walk, tuples } }
}

/**
 * Only where there is no IVF index: it finds as much sooner, and what is hidden near the question does not
 * mislead them.
 */
function mayWalk({ visible, corpus, unassigned }: StrategyInputs, exactMs: number): boolean {
  if (unassigned !== undefined) return false
  const share = visible / Math.max(corpus, visible, 1)
  return share >= shareMin || (share >= shareMinOfMany && exactMs > exactMsMax)
}

function walkOf({ visible, corpus, limit }: StrategyInputs): {
  readonly walk: Omit<GraphWalk, 'tuples'>
  readonly places: number
} {
  const share = visible / Math.max(corpus, visible, 1)
  // The k-th survivor is where the walk stops: with exactly k rows it stops too early.
  const rows = limit + Math.max(limit, rowsMin - limit)
  const ef = Math.min(efMax, Math.max(efMin, Math.ceil((2 * rows) / share)))
  return { walk: { ef, rows }, places: placesPerCandidate * ef }
}
