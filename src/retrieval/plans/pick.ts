import type { Costs } from './costs.ts'
import type { Walk } from './graph.ts'

/** Everything that a plan is picked from: exact counts, none of them the database's guess. */
export interface Situation {
  /** Visible chunks, in how many documents. */
  readonly visible: number
  readonly documents: number
  /** Chunks of everybody. */
  readonly corpus: number
  readonly limit: number
  /** What is known of the question's surroundings. Undefined: there are no cells. */
  readonly near?: Near
}

/** Counted in the cells nearest to a question. */
export interface Near {
  /** Visible share of the nearest chunks. */
  readonly share: number
  /** Chunks that plan E would compare, and pairs of cell and document in which it would look for them. */
  readonly chunks: number
  readonly pairs: number
}

export type Choice =
  | { readonly plan: 'exact'; readonly predictedMs: number }
  | { readonly plan: 'cells'; readonly predictedMs: number }
  | {
      readonly plan: 'graph'
      readonly predictedMs: number
      readonly walk: Walk
      /** Where the walk gives up. */
      readonly otherwise: 'exact' | 'cells'
    }

// HNSW finds the best only where most of what it meets is visible.
const shareMin = 0.3
// Without cells nothing is known of a question's surroundings, which may be what is hidden.
const shareMinBlind = 0.9
// Comparing everything is right, and past this it is slow: then a walk that may miss something is the better answer.
const exactMsMax = 20
// 400 and more is HNSW's own price for 99 %, whatever is visible.
const efMin = 300
const efMax = 800
// Measured: places that a walk visits for each candidate that it keeps.
const placesPerCandidate = 12
const rowsMin = 40
// As many as fit into `work_mem` at its default of 4 MB, at some 190 bytes each.
const tuplesMax = 20_000

/** Picks the cheapest plan of those that find what is to be found. */
export function pick(situation: Situation, costs: Costs): Choice {
  const { visible, documents, near } = situation
  const exactMs = costs.of('exact', { chunks: visible, lookUps: documents })
  const cellsMs = near && costs.of('cells', { chunks: near.chunks, lookUps: near.pairs })
  const sure: Choice =
    cellsMs !== undefined && cellsMs < exactMs
      ? { plan: 'cells', predictedMs: cellsMs }
      : { plan: 'exact', predictedMs: exactMs }
  if (!mayWalk(situation, exactMs)) return sure
  const { walk, places } = walkOf(situation)
  const predictedMs = costs.of('graph', { places })
  if (predictedMs >= sure.predictedMs) return sure
  // What the walk may cost beyond what is foreseen is what the sure plan costs: together at most about twice.
  const perPlace = costs.of('graph', { places: 1 }) - costs.of('graph', {})
  const tuples = Math.min(tuplesMax, Math.ceil(places + sure.predictedMs / perPlace))
  return { plan: 'graph', predictedMs, walk: { ...walk, tuples }, otherwise: sure.plan }
}

function mayWalk({ visible, corpus, near }: Situation, exactMs: number): boolean {
  const share = visible / Math.max(corpus, visible, 1)
  if (near !== undefined) return share >= shareMin && near.share >= shareMin
  return share >= shareMinBlind || (share >= shareMin && exactMs > exactMsMax)
}

function walkOf({ visible, corpus, limit, near }: Situation): {
  readonly walk: Omit<Walk, 'tuples'>
  readonly places: number
} {
  const share = Math.min(1, near?.share ?? visible / Math.max(corpus, visible, 1))
  // The k-th survivor is where the walk stops: with exactly k rows it stops too early.
  const rows = limit + Math.max(limit, rowsMin - limit)
  const ef = Math.min(efMax, Math.max(efMin, Math.ceil((2 * rows) / share)))
  return { walk: { ef, rows }, places: placesPerCandidate * ef }
}
