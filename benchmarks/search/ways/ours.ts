import { randomBytes } from 'node:crypto'
import type { Fga } from '../../../src/authz/fga.ts'
import { createLimiter } from '../../../src/authz/gate/limiter.ts'
import { createAskNamed } from '../../../src/authz/gate/named.ts'
import { createVerdictCache } from '../../../src/authz/gate/verdict-cache.ts'
import { createGate } from '../../../src/authz/gate.ts'
import { createPermissionIndex, type FollowingIndex } from '../../../src/authz/index/create.ts'
import { createStorage } from '../../../src/authz/index/storage.ts'
import type { ModelVersion } from '../../../src/authz/model/pin.ts'
import { createNominator } from '../../../src/authz/nominate.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { realTimer } from '../../../src/kernel/timer.ts'
import { createLocalSights } from '../../../src/retrieval/access-filter/sights.ts'
import { createSnapshots } from '../../../src/retrieval/access-filter/snapshots.ts'
import { createVisibility } from '../../../src/retrieval/access-filter/visibility.ts'
import { clearBest } from '../../../src/retrieval/best.ts'
import { createIvfIndex } from '../../../src/retrieval/chunk-index/ivf/ivf-index.ts'
import type { ChunkSearch } from '../../../src/retrieval/chunk-index/port.ts'
import { createPostgresIndex } from '../../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import { createCorpus } from '../../../src/retrieval/corpus/corpus.ts'
import { depthOfOne } from '../../../src/retrieval/retrieve.ts'
import { createSearch } from '../../../src/retrieval/search.ts'
import { passageOf } from '../load.ts'
import type { Place } from '../servers.ts'
import { type Asked, topK, type Way } from './way.ts'

export interface Ours extends AsyncDisposable {
  readonly index: FollowingIndex
  /** Who may read what, and the search: neither decides. */
  readonly search: Way
  /** The same and OpenFGA's own yes for each document, past its caches and ours. */
  readonly fresh: Way
  /** Asked a moment ago: the yeses are held, and may be said again. */
  readonly hot: Way
  /** What `fast` gives whoever asks, held or not. */
  readonly fast: Way
}

interface OpenOursOptions {
  readonly fga: Fga
  readonly model: ModelVersion
  /** What finds passages. Default: Postgres. */
  readonly chunks?: ChunkSearch | undefined
}

/** The service's own parts, put together as src/compose/compose.ts does. */
export async function openOurs({ database }: Place, { fga, model, chunks }: OpenOursOptions): Promise<Ours> {
  const now = Date.now
  const verdictCache = createVerdictCache({ now, ttlMs: 5_000 })
  const index = createPermissionIndex({
    fga,
    storage: createStorage(database, fga.storeId),
    now,
    log: () => undefined,
    pollMs: 100,
  })
  index.useModel(model.id, model.json)
  await index.catchUp()
  let sent = 0
  const counted: Fga = {
    ...fga,
    get modelId() {
      return fga.modelId
    },
    batchCheck(checks, options) {
      sent += checks.length
      return fga.batchCheck(checks, options)
    },
  }
  const parts = { fga: counted, index, verdictCache, limiter: createLimiter(200), now }
  const askNamed = createAskNamed({ ...parts, randomBytes })
  const gate = createGate({ ...parts, askNamed, cacheTtlMs: 10_000 })
  const nominator = createNominator({ fga, index, now, serverDeadlineMs: 2_500 })
  const corpus = createCorpus({ database, log: () => undefined })
  const snapshots = createSnapshots({ index, corpus })
  const ivf = createIvfIndex({ database, log: () => undefined })
  await Promise.all([corpus.refresh(), ivf.refresh()])
  const sights = createLocalSights({ snapshots, hasTail: () => true })
  const visibility = createVisibility({ database, sights, corpus, nominator })
  const search = createSearch({
    sql: database,
    index: chunks ?? createPostgresIndex({ database, ivf }),
    corpus,
  })

  /** Whoever asked before is known: what seeing for the first time costs is told by bench:acls. */
  async function sees({ person, filter }: Pick<Asked, 'person' | 'filter'>) {
    const principal = principalOf(person)
    const sight = await visibility.of(principal, {
      ...(filter !== undefined && { filter: { [filter[0]]: filter[1] } }),
    })
    return { principal, sight }
  }

  async function answer(asked: Asked, consistency: 'fast' | 'strict') {
    const [lap, steps] = stopwatch()
    const { principal, sight } = await sees(asked)
    lap('visible')
    const before = sent
    const clearing = gate.open(principal, { consistency })
    const { cleared } = await clearBest({
      topK,
      sight,
      branches: {
        depth: depthOfOne(topK),
        async run(visible, depth) {
          const found = await search.vector(visible, asked.vector, depth)
          lap('search')
          return [found]
        },
        foundAnyway: (visible) => search.foundAnyway(visible, depthOfOne(topK)),
      },
      clearing,
      deadline: { at: Number.POSITIVE_INFINITY, now, signal: new AbortController().signal },
      telling: undefined,
      newDecoy: () => '',
      timer: realTimer,
    })
    lap('gate')
    return {
      passages: cleared.map(({ chunkId }) => passageOf(chunkId)),
      checks: clearing.counts.checks,
      // Right where one answer is made at a time, as in the grid.
      parts: sent - before,
      steps,
    }
  }

  const fast: Way = { name: 'ours, fast', kind: 'release', ask: (asked) => answer(asked, 'fast') }
  return {
    index,
    search: {
      name: 'ours, search',
      kind: 'nominate',
      prepare: sees,
      async ask(asked) {
        const [lap, steps] = stopwatch()
        const { visible } = (await sees(asked)).sight
        lap('visible')
        const found = await search.vector(visible, asked.vector, depthOfOne(topK))
        lap('search')
        return { passages: found.map(({ chunkId }) => passageOf(chunkId)), checks: 0, steps }
      },
    },
    fresh: { name: 'ours, fresh', kind: 'release', prepare: sees, ask: (asked) => answer(asked, 'strict') },
    hot: { ...fast, name: 'ours, hot', prepare: fast.ask },
    fast,
    async [Symbol.asyncDispose]() {
      await index[Symbol.asyncDispose]()
      await corpus[Symbol.asyncDispose]()
      await ivf[Symbol.asyncDispose]()
    },
  }
}

function stopwatch() {
  const steps: Record<string, number> = {}
  let last = performance.now()
  const lap = (name: string): void => {
    const now = performance.now()
    steps[name] = (steps[name] ?? 0) + now - last
    last = now
  }
  return [lap, steps] as const
}

const principalOf = (person: `user:${string}`): Principal => ({
  kind: 'person',
  subject: person,
  actors: [],
  client: 'bench',
  scopes: new Set(['docs.search']),
  authorizationDetails: [],
  txn: 't_bench',
  expiresAt: Number.MAX_SAFE_INTEGER,
})
