import { AsyncLocalStorage } from 'node:async_hooks'
import type { Database } from '../store/sql.ts'
import type { Candidate } from './candidate.ts'
import type { FoundChunk } from './chunk-index/port.ts'
import { exactWithin } from './chunk-index/postgres/exact.ts'
import type { OnStrategy, StrategyName, VectorQuery } from './chunk-index/postgres/strategy.ts'
import type { Search } from './search.ts'

/** How much of what is nearest a search found, for one that was done again exactly. */
export interface ShadowEvent {
  readonly strategy: StrategyName
  /** 0 to 1, of the best {@link recallAt}. */
  readonly recall: number
}

/** What is done again, how often, and who hears of it. */
export interface ShadowDeps {
  readonly database: Database
  /** Part of the searches by vectors that is done again, 0 to 1. */
  readonly share: number
  /** 0 to 1. */
  readonly random: () => number
  readonly onShadow: (event: ShadowEvent) => void
  /** Milliseconds before it begins: the answer has left by then. Defaults to 500. */
  readonly afterMs?: number
  /** Milliseconds after which it is given up. Defaults to 2,000. */
  readonly longestMs?: number
}

/**
 * Looks now and then whether the strategies find what is nearest, when the answer has left and never more
 * than one at a time.
 */
export interface Shadow extends AsyncDisposable {
  /** To be told of each search's strategy. */
  readonly onStrategy: OnStrategy
  watch(search: Search): Search
}

/** The recall is measured over so many nearest chunks. */
export const recallAt = 10

/**
 * Only searches whose strategy may miss something are done again, and none on PGlite, whose one session
 * everybody waits for. What was asked is kept until then and nowhere else.
 */
export function createShadow(dependencies: ShadowDeps): Shadow {
  const { database, share, random, onShadow, afterMs = 500, longestMs = 2_000 } = dependencies
  const isOff = share === 0 || database.kind === 'pglite'
  const planned = new AsyncLocalStorage<{ strategy?: StrategyName }>()
  let isBusy = false
  let running: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined

  async function repeat(
    ask: VectorQuery,
    found: readonly Candidate[],
    strategy: StrategyName,
  ): Promise<void> {
    const exactChunks = await exactWithin(database, { ...ask, limit: recallAt }, longestMs)
    if (exactChunks.length > 0) onShadow({ strategy, recall: recallOf(found, exactChunks) })
  }

  function later(ask: VectorQuery, found: readonly Candidate[], strategy: StrategyName): void {
    isBusy = true
    timer = setTimeout(() => {
      running = repeat(ask, found, strategy)
        // It took too long, or the database is busy: nothing is learned.
        .catch(() => undefined)
        .finally(() => {
          isBusy = false
        })
    }, afterMs).unref()
  }

  return {
    onStrategy({ strategy }) {
      const store = planned.getStore()
      if (store !== undefined) store.strategy = strategy
    },
    watch: (search) =>
      isOff
        ? search
        : {
            ...search,
            async vector(visible, embedding, limit, options) {
              if (options?.like !== undefined) return search.vector(visible, embedding, limit, options)
              const store: { strategy?: StrategyName } = {}
              const found = await planned.run(store, () => search.vector(visible, embedding, limit, options))
              const { strategy } = store
              if (strategy !== undefined && strategy !== 'exact' && !isBusy && random() < share)
                later({ visible, embedding, limit }, found, strategy)
              return found
            },
          },
    async [Symbol.asyncDispose]() {
      clearTimeout(timer)
      await running
    },
  }
}

/** By distance, not by name: of passages that are equally near it does not matter which were found. */
function recallOf(found: readonly Candidate[], exactChunks: readonly FoundChunk[]): number {
  const worst = exactChunks.at(-1)?.score ?? Number.NEGATIVE_INFINITY
  const asNear = found.filter(({ score }) => score >= worst - 1e-6).length
  return Math.min(1, asNear / exactChunks.length)
}
