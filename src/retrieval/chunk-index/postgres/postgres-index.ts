import { type InvertedLists, type Nominated, probeWithPool, type ScanPool } from '@remit/vector-index'
import { vectorParameter } from '../../../store/binary.ts'
import type { Database, Statement } from '../../../store/sql.ts'
import type { AccessFilter } from '../../access-filter/visible.ts'
import type { IvfIndex } from '../ivf/ivf-index.ts'
import type { ChunkIndex, FoundChunk } from '../port.ts'
import { chooseStrategy, type Strategy } from './choose-strategy.ts'
import { type Costs, createCosts } from './costs.ts'
import { exact } from './exact.ts'
import { hnsw } from './hnsw.ts'
import { createPublisher } from './publisher.ts'
import { foundColumns, type OnStrategy, type VectorQuery } from './strategy.ts'
import { searchWords } from './words.ts'

/** The database alone suffices; without an IVF index searches are exact or by HNSW. */
export interface PostgresIndexDeps {
  readonly database: Database
  /** The IVF. Left out: never searched by. */
  readonly ivf?: Pick<IvfIndex, 'lists' | 'scanPool' | 'assign'> | undefined
  /** Told of each search by vectors: its strategy, and what it took. */
  readonly onStrategy?: OnStrategy | undefined
  /** What the strategies take. Defaults to what was measured elsewhere, then to what they take here. */
  readonly costs?: Costs
}

/**
 * The chunk index in Postgres with pgvector: exact, HNSW or IVF, as `chooseStrategy` says for each question.
 */
export function createPostgresIndex({ database, ivf, onStrategy, costs }: PostgresIndexDeps): ChunkIndex {
  const nearest = createNearest({ database, ivf, onStrategy, ...(costs && { costs }) })
  return {
    ...createPublisher({ database, assign: ivf?.assign ?? (async () => undefined) }),

    // Over nothing, too: how long it takes must not tell that there is nothing.
    nearest: (vector, filter, limit, { like } = {}) =>
      nearest({ visible: filter, embedding: vector, limit, ...(like && { like }) }),

    // Looked up twice only where nobody compares how many statements it took.
    words: (query, filter, limit, { like } = {}) =>
      searchWords(database, query, filter, { limit, rareFirst: like === undefined }),
  }
}

/** Times are in milliseconds. Costs default to a model that learns from this process alone. */
interface NearestDeps {
  readonly database: Database
  /** Undefined: there are never any. */
  readonly ivf?: { lists(): readonly InvertedLists[]; readonly scanPool?: Pick<ScanPool, 'scan'> } | undefined
  readonly onStrategy?: OnStrategy | undefined
  readonly costs?: Costs
  /** Milliseconds of a clock that never goes back. */
  readonly ticks?: () => number
}

/** Nearest by inner product of unit vectors, best first; never fewer than there are, up to the limit. */
type NearestSearch = (ask: VectorQuery) => Promise<FoundChunk[]>

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
    // pgvector gives up without a word, and the IVF index may be behind: what is missing is found by
    // comparing all.
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
        const found = await comparePlaces(database, ask, nominated, unassigned)
        return { found, waitedMs: nominated.waitedMs }
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

/** What lies in no partition yet is compared whole, as by the exact search. */
export const ivfStatement: Statement = {
  name: 'search_ivf',
  text: `select ${foundColumns}
  from (
    select c.chunk_id, c.doc_no, c.ordinal, (c.embedding <#> $1) + 0 as distance
    from unnest($2::int[], $3::int[]) as nominated (doc_no, ordinal)
    join chunks c on c.doc_no = nominated.doc_no and c.ordinal = nominated.ordinal
    where c.embedding is not null
    union all
    select c.chunk_id, c.doc_no, c.ordinal, (c.embedding <#> $1) + 0
    from unnest($4::int[]) as unassigned (doc_no) join chunks c on c.doc_no = unassigned.doc_no
    where c.embedding is not null
  ) compared
  order by distance, chunk_id
  limit $5`,
}

/**
 * Compares the chunks that stand in those places, and all of the documents that lie in no partition. May
 * return fewer than there are.
 */
export const comparePlaces = (
  database: Database,
  { embedding, limit }: Pick<VectorQuery, 'embedding' | 'limit'>,
  places: Pick<Nominated, 'docs' | 'ordinals'>,
  unassigned: Int32Array = noChunks,
): Promise<FoundChunk[]> =>
  database.queryFixedPlan<FoundChunk>(ivfStatement, [
    vectorParameter(database.vectorType, embedding),
    places.docs,
    places.ordinals,
    unassigned,
    limit,
  ])

/** Visible documents that lie in no partition: those that were published a moment ago. */
function unassignedOf(lists: readonly InvertedLists[], visible: AccessFilter): Int32Array {
  const bits = visible.bits()
  const assigned = lists.map((list) => list.bits())
  const unassigned: number[] = []
  const [firstAssigned = noDocuments, ...otherAssigned] = assigned
  for (let byte = 0; byte < bits.length; byte += 1) {
    let remaining = (bits[byte] as number) & ~(firstAssigned[byte] ?? 0)
    // Hardly ever any is left: asked about all of a corpus, this is most of what it takes.
    if (remaining === 0) continue
    for (const assignedBits of otherAssigned) remaining &= ~(assignedBits[byte] ?? 0)
    for (let bit = 0; remaining !== 0; bit += 1, remaining >>= 1)
      if ((remaining & 1) === 1) unassigned.push(8 * byte + bit)
  }
  return Int32Array.from(unassigned)
}

const noDocuments = new Uint8Array()
const noChunks = new Int32Array()
