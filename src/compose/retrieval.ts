import { randomBytes } from 'node:crypto'
import { isAtTail } from '../authz/gate/precheck.ts'
import { untilAtTail } from '../authz/gate/tail.ts'
import type { App } from '../http/env.ts'
import type { SearchMetrics } from '../http/metrics.ts'
import type { RequireBearer } from '../http/middleware/bearer.ts'
import { retrievalRoutes } from '../http/routes/retrieval/retrieve.ts'
import { realTimer } from '../kernel/timer.ts'
import { createLocalSights } from '../retrieval/access-filter/sights.ts'
import { createSnapshots } from '../retrieval/access-filter/snapshots.ts'
import { createVisibility } from '../retrieval/access-filter/visibility.ts'
import { createIvfIndex, type IvfIndex } from '../retrieval/chunk-index/ivf/ivf-index.ts'
import type { SearchEngine } from '../retrieval/chunk-index/opensearch/opensearch-index.ts'
import type { ChunkIndex } from '../retrieval/chunk-index/port.ts'
import { createPostgresIndex } from '../retrieval/chunk-index/postgres/postgres-index.ts'
import { retireGenerations } from '../retrieval/chunk-index/postgres/retire-generations.ts'
import type { OnStrategy } from '../retrieval/chunk-index/postgres/strategy.ts'
import { createChunkVectors } from '../retrieval/chunk-index/postgres/vectors.ts'
import { createWordSampler } from '../retrieval/chunk-index/postgres/words.ts'
import { type CollectionLister, createCollectionLister } from '../retrieval/collections.ts'
import { type Corpus, createCorpus } from '../retrieval/corpus/corpus.ts'
import { createDocumentReader, type DocumentReader } from '../retrieval/document.ts'
import { createRemoteNominator } from '../retrieval/nominators/remote-nominator.ts'
import { createRemoteSights } from '../retrieval/nominators/remote-sights.ts'
import { createRankingStatistics, type RankingStatistics } from '../retrieval/ranking/renew.ts'
import { weighWords } from '../retrieval/ranking/weigh.ts'
import { createRetriever, type Retriever } from '../retrieval/retrieve.ts'
import { createKeyed } from '../retrieval/scope.ts'
import { createSearch } from '../retrieval/search.ts'
import { createShadow } from '../retrieval/shadow.ts'
import { createTurns, type TurnsStatus } from '../retrieval/turns.ts'
import { loadSecret } from '../store/secret.ts'
import type { Authz } from './authz.ts'
import type { ComposeContext } from './context.ts'
import type { Grants } from './grants.ts'

/** Of the wiring's context, what retrieval takes. */
export interface RetrievalDeps
  extends Pick<
    ComposeContext,
    'config' | 'infrastructure' | 'database' | 'fetch' | 'log' | 'now' | 'keysDir'
  > {
  readonly authz: Pick<Authz, 'index' | 'gate' | 'nominator' | 'nominators' | 'why'>
  readonly grants: Pick<Grants, 'approvals' | 'presenting'>
  readonly metrics: SearchMetrics
}

/** What answers: search, single documents, and which collections there are for somebody. */
export interface Retrieval extends AsyncDisposable {
  readonly retrieve: Retriever
  /** Whether anybody asked within the last second. */
  readonly isBeingAsked: () => boolean
  /** How many questions, documents and lists run and wait. */
  readonly turns: () => TurnsStatus
  readonly readDocument: DocumentReader
  readonly listCollections: CollectionLister
  /** How far behind OpenFGA's change log the replica is. */
  readonly indexLagMs: () => number
  /** To be told what was taken in. */
  readonly corpus: Corpus
  readonly ivf: IvfIndex
  /** What finds chunks, and is handed them. */
  readonly chunkIndex: ChunkIndex
  readonly ranking: RankingStatistics
  routes(face: { readonly requireBearer: RequireBearer }): readonly App[]
}

// Agents ask again before that.
const askedMs = 1_000

/** Opens the corpus, the searches and what answers questions. */
export async function openRetrieval(dependencies: RetrievalDeps): Promise<Retrieval> {
  const { config, database, log, now, grants, metrics } = dependencies
  const { embeddings } = dependencies.infrastructure
  const { index, gate, nominators, why: whyReader } = dependencies.authz
  const keyed = createKeyed(await loadSecret(dependencies.keysDir, 'digest.key'))
  await using stack = new AsyncDisposableStack()
  const sampler = createWordSampler(database)
  const scope = config.rankingStatistics
  const ranking = stack.use(createRankingStatistics({ database, sampler, scope, now, log }))
  const corpus = stack.use(createCorpus({ database, log, newForMs: config.openfgaCacheTtlMs }))
  const ivf = stack.use(
    createIvfIndex({
      database,
      log,
      threads: config.searchThreads,
      // Nobody looks there.
      ...(config.searchEngine && { passagesMin: Number.POSITIVE_INFINITY }),
    }),
  )
  const shadow = stack.use(
    createShadow({
      database,
      share: config.shadowSearchShare,
      random: Math.random,
      onShadow: metrics.onShadow,
    }),
  )
  const onStrategy: OnStrategy = (event) => {
    metrics.onStrategy(event)
    shadow.onStrategy(event)
  }
  const searchEngine = config.searchEngine && stack.use(await openEngine(dependencies, config.searchEngine))
  // What is shown from now on would be missing there.
  if (searchEngine === undefined) await retireGenerations(database)
  const chunkIndex = searchEngine?.index ?? createPostgresIndex({ database, ivf, onStrategy })
  const byPublications = searchEngine !== undefined
  const isCurrent = () => isAtTail(index.status(), now())
  const hasTail = () => isCurrent() || untilAtTail(index, isCurrent)
  const sights =
    nominators === undefined
      ? createLocalSights({ snapshots: createSnapshots({ index, corpus, byPublications }), hasTail })
      : createRemoteSights({ nominators, corpus, now, byPublications })
  const nominator = nominators === undefined ? dependencies.authz.nominator : createRemoteNominator(sights)
  let askedAt = Number.NEGATIVE_INFINITY
  const { inTurn, status: turns } = createTurns({ log })
  const answer = createRetriever({
    sql: database,
    ...grants,
    search: shadow.watch(createSearch({ sql: database, index: chunkIndex, corpus, statistics: scope })),
    corpus,
    visibility: createVisibility({ database, sights, corpus, nominator }),
    gate,
    embedder: embeddings.available ? embeddings.embedder : undefined,
    keyed,
    why: whyReader,
    keepsQueries: config.auditQueryText,
    log,
    now,
    newDecoy: () => randomBytes(16).toString('base64url'),
    timer: realTimer,
    onAnswer: metrics.onAnswer,
  })
  const retrieve: Retriever = (principal, question, deadline) => {
    askedAt = performance.now()
    return inTurn(principal, deadline, () => answer(principal, question, deadline))
  }
  const read = createDocumentReader({
    sql: database,
    gate,
    presenting: grants.presenting,
    why: whyReader,
  })
  const readDocument: DocumentReader = (principal, id, deadline, approval) =>
    inTurn(principal, deadline, () => read(principal, id, deadline, approval))
  const list = createCollectionLister({
    sql: database,
    sights,
    nominator,
    gate,
    approvals: grants.approvals,
  })
  const listCollections: CollectionLister = (principal, deadline) =>
    inTurn(principal, deadline, () => list(principal, deadline))
  const indexLagMs = () => index.status().lagMs
  const owned = stack.move()
  return {
    retrieve,
    isBeingAsked: () => performance.now() - askedAt < askedMs,
    turns,
    readDocument,
    listCollections,
    indexLagMs,
    corpus,
    ivf,
    chunkIndex,
    ranking,
    routes: ({ requireBearer }) => [
      retrievalRoutes({ retrieve, readDocument, listCollections, requireBearer, indexLagMs }),
    ],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** The search engine apart: nothing of it is loaded where it is not set. */
async function openEngine(
  { database, fetch, log }: Pick<RetrievalDeps, 'database' | 'fetch' | 'log'>,
  { urls, authorization, ...index }: NonNullable<RetrievalDeps['config']['searchEngine']>,
): Promise<SearchEngine> {
  const { createEngine } = await import('../retrieval/chunk-index/opensearch/engine.ts')
  const { openSearchEngine } = await import('../retrieval/chunk-index/opensearch/opensearch-index.ts')
  return openSearchEngine({
    database,
    engine: createEngine({ urls, authorization, fetch }),
    log,
    async form() {
      const { corpora, perWord } = await weighWords(database, 'any', 'deployment')
      return {
        dimensions: await createChunkVectors(database).dimensions(database),
        perWord: corpora[0]?.perWord ?? perWord,
        ...index,
      }
    },
  })
}
