import type { PlanName } from './plan.ts'

/** What plans take here, in milliseconds: measured elsewhere, scaled by what they took here. */
export interface Costs {
  of(plan: PlanName, work: Work): number
  /** One more measurement. It moves the scale by a twentieth, or by `weight`. */
  learn(plan: PlanName, predictedMs: number, actualMs: number, weight?: number): void
}

export interface Work {
  /** Chunks to compare. */
  readonly chunks?: number
  /** Look-ups in an index: documents, or pairs of cell and document. */
  readonly lookUps?: number
  /** Places of the graph to visit beyond its start. */
  readonly places?: number
}

// Postgres 18, pgvector 0.8.5, halfvec(384), cached: docs/decisions/0023-search-plans.md.
const known: Readonly<Record<PlanName, Required<Work> & { readonly start: number }>> = {
  exact: { start: 0.2, chunks: 0.000_36, lookUps: 0.001, places: 0 },
  cells: { start: 0.4, chunks: 0.000_36, lookUps: 0.001, places: 0 },
  graph: { start: 0.3, chunks: 0, lookUps: 0, places: 0.004 },
}

const usualWeight = 0.05
// One slow answer on a busy machine says nothing of the next.
const timesMax = 8

export function createCosts(): Costs {
  const scales: Record<PlanName, number> = { exact: 1, cells: 1, graph: 1 }
  return {
    of(plan, { chunks = 0, lookUps = 0, places = 0 }) {
      const price = known[plan]
      return (
        scales[plan] * (price.start + price.chunks * chunks + price.lookUps * lookUps + price.places * places)
      )
    },
    learn(plan, predictedMs, actualMs, weight = usualWeight) {
      if (!(predictedMs > 0) || !(actualMs > 0)) return
      const off = Math.min(timesMax, Math.max(1 / timesMax, actualMs / predictedMs))
      const scale = scales[plan] * off ** weight
      scales[plan] = Math.min(timesMax, Math.max(1 / timesMax, scale))
    },
  }
}
