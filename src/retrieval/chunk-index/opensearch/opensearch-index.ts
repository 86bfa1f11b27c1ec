import { randomUUID } from 'node:crypto'
import { AppError } from '../../../kernel/errors.ts'
import type { Log } from '../../../kernel/log.ts'
import { OperatorError } from '../../../kernel/operator-error.ts'
import { startRecurring } from '../../../kernel/recurring.ts'
import { endExpired, takeLease } from '../../../store/lease.ts'
import type { Database } from '../../../store/sql.ts'
import type { AccessFilter } from '../../access-filter/visible.ts'
import type { ChunkIndex, FoundChunk, WordQuery } from '../port.ts'
import { exact } from '../postgres/exact.ts'
import { comparePlaces } from '../postgres/postgres-index.ts'
import { countNeeded, countRarest, rankPlaces, searchWords } from '../postgres/words.ts'
import { type Engine, EngineRefused } from './engine.ts'
import {
  type CurrentGeneration,
  createCurrentGeneration,
  type Generation,
  readGenerations,
} from './generations.ts'
import { assertEngine, engineBase } from './mapping.ts'
import { type Among, type Hit, nominateNearest, nominateWords } from './nominate.ts'
import { type Places, resolvePlaces } from './places.ts'
import { createEnginePublisher } from './publisher.ts'
import { lookAtRanges } from './ranges.ts'
import { catchUp } from './reconcile.ts'
import { beginEngine, keepEngine, type UpkeepDeps } from './upkeep.ts'

/** The database, which keeps everything, and the engine, which looks for it. */
export interface OpensearchIndexDeps {
  readonly database: Database
  readonly engine: Engine
  /**
   * Chunks that the database compares in place of an engine that refuses; of more it is `search_unavailable`.
   * Default 10,000: some 20 ms.
   */
  readonly exactMax?: number
  /** Told of each search that the engine refuses; must not throw. */
  readonly onRefused?: (error: EngineRefused) => void
}

// For hits that ended a moment ago, and for equal scores: the engine breaks ties as it likes.
const spare = 90
// Words whose order few hits do not prove are looked up once more, with so many.
const manyHits = 2_000

/**
 * The chunk index on OpenSearch. The engine names places in publications of the filter; Postgres says which
 * of them are in force, and scores them. So nothing that the engine says is believed but what it leaves out.
 *
 * Words come in the exact order of BM25, or from Postgres. Neighbours are approximate, and no fewer than
 * there are. Where the engine refuses, at two nodes, little is compared by Postgres, and more is
 * `search_unavailable`.
 */
export function createOpensearchIndex(deps: OpensearchIndexDeps): ChunkIndex {
  const { database, engine, exactMax = 10_000, onRefused } = deps
  const current = createCurrentGeneration(database)

  /**
   * In place of an engine that refuses. What it is to be `like` alone decides whether that is an error: how
   * much else there is shows in nothing but what is found.
   */
  async function fromDatabase(
    { filter, like }: { readonly filter: AccessFilter; readonly like: AccessFilter | undefined },
    find: () => Promise<readonly FoundChunk[]>,
  ): Promise<readonly FoundChunk[]> {
    if ((like ?? filter).chunks > exactMax)
      throw new AppError('search_unavailable', {
        internal: 'the search engine does not answer, or not whole',
      })
    return filter.chunks > exactMax ? [] : find()
  }

  return {
    ...createEnginePublisher({ database, engine, current }),

    async nearest(vector, filter, limit, { like, signal } = {}) {
      const numbers = filter.publications()
      const size = limit + spare
      const found = await unlessRefused(async () => {
        const { places } = await nominated(database, current, (generation) =>
          nominateNearest(engine, generation, { numbers, size, signal }, vector),
        )
        return comparePlaces(database, { embedding: vector, limit }, places)
      })
      if (found !== undefined && like !== undefined) return found
      if (found !== undefined && found.length >= Math.min(limit, filter.chunks)) return found
      return fromDatabase({ filter, like }, () =>
        exact(database, { visible: filter, embedding: vector, limit }),
      )
    },

    async words(query, filter, limit, { like, signal } = {}) {
      const { lexemes, corpora } = query
      if (corpora.some(({ collection }) => collection !== ''))
        throw new AppError('internal_error', {
          internal: 'words that are weighed by collection cannot be looked up in a search engine',
        })
      if (lexemes.length === 0) return []
      const numbers = filter.publications()
      const look = (needed: number, size: number) =>
        unlessRefused(() => lookUp(query, { needed, among: { numbers, size, signal }, limit }))
      const inDatabase = () => searchWords(database, query, filter, { limit, rareFirst: like === undefined })
      const few = limit + spare
      const all = lexemes.length
      const rarest = like === undefined ? countRarest(query, filter, limit) : all
      const looks = [
        { needed: rarest, size: few },
        { needed: all, size: few },
        { needed: all, size: manyHits + few },
      ]
      for (const { needed, size } of rarest < all ? looks : looks.slice(1)) {
        const looked = await look(needed, size)
        if (looked === undefined) return fromDatabase({ filter, like }, inDatabase)
        if (like !== undefined || looked.isProven) return looked.found
      }
      // Many are equal, or passages have become much longer or shorter since the index was made.
      return inDatabase()
    },
  }

  /** Undefined: the engine refused. */
  async function unlessRefused<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof EngineRefused)) throw error
      onRefused?.(error)
      return undefined
    }
  }

  /** The best among the hits, and whether nothing that was not hit can be better or equal. */
  async function lookUp(
    query: WordQuery,
    { needed, among, limit }: { needed: number; among: Among; limit: number },
  ): Promise<{ readonly found: readonly FoundChunk[]; readonly isProven: boolean }> {
    const { lexemes, repetitionMax, corpora } = query
    const weight = corpora.length === 0 ? 0 : 1
    const { generation, hits, places } = await nominated(database, current, (generation) =>
      nominateWords(engine, generation, among, { lexemes, needed, weight, repetitionMax }),
    )
    const found = await rankPlaces(database, query, places, limit)
    const worst = found.length < limit ? 0 : (found.at(-1)?.score ?? 0)
    const isNeeded = countNeeded(lexemes, worst) <= needed
    if (hits.length < among.size) return { found, isProven: isNeeded }
    const missedMax = Math.min(...hits.map(({ score }) => score)) * overstated(query, generation)
    return { found, isProven: isNeeded && worst > missedMax }
  }
}

/**
 * How much higher than the engine's own a score of a passage may be: the engine dampens length as when its
 * index was made. And a little: it counts in float32.
 */
function overstated({ base, perWord, corpora }: WordQuery, generation: Generation): number {
  const nowPerWord = corpora[0]?.perWord ?? perWord
  return Math.max(1, engineBase / base, generation.perWord / nowPerWord) * 1.000_01
}

interface Nominated {
  readonly generation: Generation
  readonly hits: readonly Hit[]
  readonly places: Places
}

/** Asks the generation that is searched; once more where another one has taken its place meanwhile. */
async function nominated(
  database: Database,
  current: CurrentGeneration,
  ask: (generation: Generation) => Promise<readonly Hit[]>,
): Promise<Nominated> {
  for (let attempt = 1; attempt <= 2; attempt += 1) {
    const generation = await current.read()
    if (generation === undefined) break
    try {
      const hits = await ask(generation)
      const places = await resolvePlaces(database, generation, hits)
      if (places !== undefined) {
        // The next search asks them, too. What lies in one and is seen is asked for already.
        if (places.ranges > generation.ranges.length) current.forget()
        return { generation, hits, places }
      }
    } catch (error) {
      // Its index may have been dropped since another one took its place.
      if (!(error instanceof EngineRefused && error.status === 404)) throw error
    }
    current.forget()
  }
  throw new EngineRefused('no index is whole')
}

/** The search engine in use. */
export interface SearchEngine extends AsyncDisposable {
  readonly index: ChunkIndex
  /**
   * Does now what there is to be done to the engine, or waits for the turn that is under way. Never rejects.
   */
  readonly keep: () => Promise<void>
}

/** One line a minute: an outage refuses every search. */
function tellSometimes(log: Log): (error: EngineRefused) => void {
  let toldAt = Number.NEGATIVE_INFINITY
  return ({ message }) => {
    if (performance.now() - toldAt < 60_000) return
    toldAt = performance.now()
    log('search_engine_refuses', { reason: message })
  }
}

const turnMs = 2_000
const leaseSeconds = 60
const upkeep = ['search-engine']

/**
 * Opens the chunk index on OpenSearch, and keeps the engine as the database says, one process at a time.
 * Throws `OperatorError` where the engine is none that was tried, logs requests, or has changed an index of
 * ours. Until the first index is whole, little is searched in Postgres and more is `search_unavailable`.
 */
export async function openSearchEngine(deps: UpkeepDeps): Promise<SearchEngine> {
  const { database, engine, log } = deps
  await assertEngine(engine).catch((error: unknown) => {
    throw error instanceof EngineRefused ? new OperatorError(error.message, error) : error
  })
  for (const generation of await readGenerations(database))
    if ((await lookAtRanges({ database, engine }, generation)) === 'changed')
      throw new OperatorError(
        `An index ${generation.name}-… of the search engine is not as Remit made it. Drop it: Remit makes another.`,
      )
  await catchUp(database)
  const closing = new AbortController()
  const alone = async (work: () => Promise<void>): Promise<void> => {
    const lost = () => new Error('Another process keeps the search engine.')
    // Of a process that died in its turn. PGlite has no other one.
    await endExpired(database, upkeep, { isAlone: database.kind === 'pglite' })
    const lease = await takeLease({ database, seconds: leaseSeconds, lost }, upkeep, randomUUID())
    if (lease === undefined) return
    try {
      await work()
    } finally {
      await lease.end()
    }
  }
  await alone(() => beginEngine(deps))
  await using stack = new AsyncDisposableStack()
  const turns = stack.use(
    startRecurring(log, 'search_engine', turnMs, () => alone(() => keepEngine(deps, closing.signal))),
  )
  // The first to happen: a filling that is under way ends at its next page.
  stack.defer(() => closing.abort())
  const owned = stack.move()
  return {
    index: createOpensearchIndex({ database, engine, onRefused: tellSometimes(log) }),
    keep: () => turns.poll(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
