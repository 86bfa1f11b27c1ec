import type { StrategyName } from './strategy.ts'

/** What strategies take here, in milliseconds: measured elsewhere, scaled by what they took here. */
export interface Costs {
  of(strategy: StrategyName, work: Work): number
  /** One more measurement: the first ones count as much as their number, later ones a twentieth each. */
  learn(strategy: StrategyName, predictedMs: number, actualMs: number): void
}

/** How much a search does, by kind. Left out: none. */
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
const measured: Readonly<Record<StrategyName, Required<Work> & { readonly start: number }>> = {
  exact: { start: 0.2, chunks: 0.000_36, lookUps: 0.001, places: 0, codes: 0 },
  ivf: { start: 0.2, chunks: 0.000_5, lookUps: 0.001_5, places: 0, codes: 0.000_02 },
  hnsw: { start: 0.3, chunks: 0, lookUps: 0, places: 0.000_35, codes: 0 },
}

const usualWeight = 0.05
// One slow answer on a busy machine says nothing of the next.
const timesMax = 8

/** Makes a model of costs without measurements of this machine. */
export function createCosts(): Costs {
  const scales = new Map<StrategyName, { readonly scale: number; readonly times: number }>()

  /** For a strategy without a measurement: the mean scale of the others. */
  function scaleOf(strategy: StrategyName): number {
    const ownScale = scales.get(strategy)
    if (ownScale !== undefined) return ownScale.scale
    const otherScales = [...scales.values()]
    return Math.exp(
      otherScales.reduce((sum, { scale }) => sum + Math.log(scale), 0) / Math.max(1, otherScales.length),
    )
  }

  return {
    of(strategy, { chunks = 0, lookUps = 0, places: graphNodes = 0, codes = 0 }) {
      const price = measured[strategy]
      const ms =
        price.start +
        price.chunks * chunks +
        price.lookUps * lookUps +
        price.places * graphNodes +
        price.codes * codes
      return scaleOf(strategy) * ms
    },
    learn(strategy, predictedMs, actualMs) {
      if (!(predictedMs > 0) || !(actualMs > 0)) return
      const times = scales.get(strategy)?.times ?? 0
      const weight = Math.max(usualWeight, 1 / (times + 2))
      const off = Math.min(timesMax, Math.max(1 / timesMax, actualMs / predictedMs))
      const scale = Math.min(timesMax, Math.max(1 / timesMax, scaleOf(strategy) * off ** weight))
      scales.set(strategy, { scale, times: times + 1 })
    },
  }
}
