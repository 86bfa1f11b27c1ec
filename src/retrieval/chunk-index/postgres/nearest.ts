import type { InvertedLists, ScanPool } from '@remit/vector-index'
import { probeWithPool } from '@remit/vector-index'
import type { Database } from '../../../store/sql.ts'
import type { FoundChunk } from '../port.ts'
import { chooseStrategy, type Strategy } from './choose-strategy.ts'
import { type Costs, createCosts } from './costs.ts'
import { exact } from './exact.ts'
import { hnsw } from './hnsw.ts'
import { ivf, unassignedOf } from './ivf.ts'
import type { OnStrategy, VectorQuery } from './strategy.ts'

/** Times are in milliseconds. Costs default to a model that learns from this process alone. */
export interface NearestDeps {
  readonly database: Database
  /** Undefined: there are never any. */
  readonly ivf?: { lists(): readonly InvertedLists[]; readonly scanPool?: Pick<ScanPool, 'scan'> } | undefined
  readonly onStrategy?: OnStrategy | undefined
  readonly costs?: Costs
  /** Milliseconds of a clock that never goes back. */
  readonly ticks?: () => number
}

/** Nearest by inner product of unit vectors, best first; never fewer than there are, up to the limit. */
export type NearestSearch = (ask: VectorQuery) => Promise<FoundChunk[]>

/** Chooses a strategy for each query, and falls back to `exact` where the first finds too little. */
export function createNearest({
  database,
  ivf: index,
  onStrategy: onPlan,
  costs = createCosts(),
  ticks = () => performance.now(),
}: NearestDeps): NearestSearch {
  /** Questions that are searched for now. */
  let runningSearches = 0

  return async (ask) => {
    runningSearches += 1
    try {
      return await search(ask)
    } finally {
      runningSearches -= 1
    }
  }

  async function search(ask: VectorQuery): Promise<FoundChunk[]> {
    const { visible, limit, like } = ask
    const started = ticks()
    const lists = index?.lists() ?? []
    const unassigned = lists.length === 0 ? undefined : unassignedOf(lists, visible)
    // Where there is more of it than of what it is to be like, that would take too long.
    const likeFilter = like === undefined || like.chunks < visible.chunks ? visible : like
    const choice = chooseStrategy(
      {
        visible: likeFilter.chunks,
        documents: likeFilter.size,
        corpus: likeFilter.corpusChunks,
        limit,
        ...(unassigned !== undefined && {
          unassigned: likeFilter === visible ? unassigned.length : unassignedOf(lists, likeFilter).length,
          partitions: Math.min(...lists.map(({ codes }) => codes.partitions)),
          residualVariance: Math.max(...lists.map(({ residualVariance }) => residualVariance)),
        }),
      },
      costs,
    )
    const ran = await run(choice, ask, lists, unassigned)
    let { found } = ran
    if (like !== undefined) return found
    const alone = ticks() - started
    // How many others asked at the same time says nothing of what the strategy takes.
    costs.learn(choice.strategy, choice.predictedMs, alone - ran.waitedMs)
    // pgvector gives up without a word, and the IVF index may be behind: what is missing is found by comparing all.
    const fellBack = choice.strategy !== 'exact' && found.length < Math.min(limit, visible.chunks)
    if (fellBack) found = await exact(database, ask)
    onPlan?.({
      strategy: fellBack ? 'exact' : choice.strategy,
      predictedMs: choice.predictedMs,
      actualMs: fellBack ? ticks() - started : alone,
      visible: visible.chunks,
      corpus: visible.corpusChunks,
      returned: found.length,
      fellBack,
    })
    return found
  }

  async function run(
    choice: Strategy,
    ask: VectorQuery,
    lists: readonly InvertedLists[],
    unassigned: Int32Array = new Int32Array(),
  ): Promise<{ readonly found: FoundChunk[]; readonly waitedMs: number }> {
    switch (choice.strategy) {
      case 'exact':
        return { found: await exact(database, ask), waitedMs: 0 }
      case 'hnsw':
        return { found: await hnsw(database, ask, choice.walk), waitedMs: 0 }
      case 'ivf': {
        // Alone, a question is answered sooner where nobody has to be woken for it.
        const scanPool = runningSearches > 1 ? index?.scanPool : undefined
        const nominated = await nominate(scanPool, lists, ask, choice.rows)
        if (nominated === undefined) return { found: [], waitedMs: 0 }
        return { found: await ivf(database, ask, nominated, unassigned), waitedMs: nominated.waitedMs }
      }
    }
  }
}

/** Undefined: there is no memory to scan codes in. */
async function nominate(
  scanPool: Pick<ScanPool, 'scan'> | undefined,
  lists: readonly InvertedLists[],
  { visible, embedding }: VectorQuery,
  rows: number,
): Promise<Awaited<ReturnType<typeof probeWithPool>> | undefined> {
  try {
    return await probeWithPool(scanPool, lists, visible, embedding, rows)
  } catch (error) {
    // What WebAssembly throws where its memory cannot grow; comparing all needs none of it.
    if (error instanceof RangeError) return undefined
    throw error
  }
}
