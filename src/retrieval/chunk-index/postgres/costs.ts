import type { PlanName } from './plan.ts'

/** What plans take here, in milliseconds: measured elsewhere, scaled by what they took here. */
export interface Costs {
  of(plan: PlanName, work: Work): number
  /** One more measurement: the first ones count as much as their number, later ones a twentieth each. */
  learn(plan: PlanName, predictedMs: number, actualMs: number): void
}

export interface Work {
  /** Chunks to compare. */
  readonly chunks?: number
  /** Look-ups in an index: documents, or chunks. */
  readonly lookUps?: number
  /** Places of the graph to visit. */
  readonly places?: number
  /** Codes to look at in memory. */
  readonly codes?: number
}

// Postgres 18, pgvector 0.8.5, halfvec(384), cached: docs/decisions/0023-search-plans.md.
const known: Readonly<Record<PlanName, Required<Work> & { readonly start: number }>> = {
  exact: { start: 0.2, chunks: 0.000_36, lookUps: 0.001, places: 0, codes: 0 },
  ivf: { start: 0.2, chunks: 0.000_5, lookUps: 0.001_5, places: 0, codes: 0.000_02 },
  hnsw: { start: 0.3, chunks: 0, lookUps: 0, places: 0.000_35, codes: 0 },
}

const usualWeight = 0.05
// One slow answer on a busy machine says nothing of the next.
const timesMax = 8

export function createCosts(): Costs {
  const scales = new Map<PlanName, { readonly scale: number; readonly times: number }>()

  /** Of a plan that was never taken: as slow a machine as the others found. */
  function scaleOf(plan: PlanName): number {
    const own = scales.get(plan)
    if (own !== undefined) return own.scale
    const others = [...scales.values()]
    return Math.exp(others.reduce((sum, { scale }) => sum + Math.log(scale), 0) / Math.max(1, others.length))
  }

  return {
    of(plan, { chunks = 0, lookUps = 0, places = 0, codes = 0 }) {
      const price = known[plan]
      const ms =
        price.start +
        price.chunks * chunks +
        price.lookUps * lookUps +
        price.places * places +
        price.codes * codes
      return scaleOf(plan) * ms
    },
    learn(plan, predictedMs, actualMs) {
      if (!(predictedMs > 0) || !(actualMs > 0)) return
      const times = scales.get(plan)?.times ?? 0
      const weight = Math.max(usualWeight, 1 / (times + 2))
      const off = Math.min(timesMax, Math.max(1 / timesMax, actualMs / predictedMs))
      const scale = Math.min(timesMax, Math.max(1 / timesMax, scaleOf(plan) * off ** weight))
      scales.set(plan, { scale, times: times + 1 })
    },
  }
}
