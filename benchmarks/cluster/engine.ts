import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { AppError } from '../../src/kernel/errors.ts'
import { createEngine, type Engine } from '../../src/retrieval/chunk-index/opensearch/engine.ts'
import type { Generation } from '../../src/retrieval/chunk-index/opensearch/generations.ts'
import { readGenerations } from '../../src/retrieval/chunk-index/opensearch/generations.ts'
import { nominateNearest } from '../../src/retrieval/chunk-index/opensearch/nominate.ts'
import { openSearchEngine } from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import type { OpensearchNodes } from '../../test/support/opensearch-nodes.ts'
import type { EngineUnderTest } from '../search/bench.ts'
import { type Corpus, dimensions } from '../search/corpus.ts'
import { passageOf } from '../search/load.ts'
import type { Place } from '../search/servers.ts'
import { type Connection, connect } from '../search/ways/connection.ts'
import { nearest } from '../search/ways/raw.ts'
import { sentTo } from '../search/ways/vector.ts'
import { topK, type Way } from '../search/ways/way.ts'
import { type Bytes, bytesInWords, bytesOf } from './bytes.ts'
import { dropIndices, type Failed, failures, fill } from './failures.ts'

const warmTimes = 1_000

/** What was seen beside the cells. */
export interface Seen {
  /** Passages a second, each time that an empty engine was filled. */
  readonly fills: number[]
  /** Once all is there, each time. */
  readonly bytes: Bytes[]
  failed: Failed | undefined
}

/** As the service's own settings are without any: SEARCH_ENGINE_SHARDS and _REFRESH_MS. */
const plain = { dimensions, perWord: 0.02, shards: 3, refreshMs: 1_000 }

/** The ways that are asked beside ours: the nodes' own search without a filter, and Postgres' for as many. */
export const [bareName, rawName] = ['engine, unfiltered', 'raw99, same k']

interface EngineOnOptions {
  readonly nodes: OpensearchNodes
  readonly corpus: Corpus
  readonly seen: Seen
  readonly say: (text: string) => void
  /** Of SEARCH_ENGINE_RANGE. */
  readonly width: number
  /** The index is not dropped while clients ask. */
  readonly keeps: boolean
}

/** The chunk index on these nodes, as the service has it. */
export function engineOn({ nodes, corpus, seen, say, width, keeps }: EngineOnOptions): EngineUnderTest {
  const form = async () => ({ ...plain, width })
  return {
    processorTime: nodes.processorTime,
    async open(place, ef99) {
      const { database } = place
      const engine = createEngine({ urls: nodes.urls, fetch })
      await using stack = new AsyncDisposableStack()
      const opened = stack.use(await openSearchEngine({ database, engine, log: () => undefined, form }))
      stack.defer(() => dropIndices(place, engine))
      const filled = await fill(place, opened)
      say(`${filled.passages} passages on ${nodes.urls.length} nodes in ${filled.seconds.toFixed(0)} s`)
      seen.fills.push(filled.passages / filled.seconds)
      await nodes.whole()
      const bytes = await bytesOf(engine, database)
      seen.bytes.push(bytes)
      say(bytesInWords(bytes, filled.passages))
      const raw = stack.use(await connect(place, { 'hnsw.ef_search': Math.max(ef99, named) }))
      const ways = [unfiltered(place, engine, corpus), rawSameK(raw)]
      await warm(ways, place, corpus)
      const owned = stack.move()
      return {
        index: opened.index,
        ways,
        async after(cell, ours) {
          seen.failed = await failures({
            nodes,
            corpus,
            engine,
            place,
            opened,
            cell,
            way: ours.search,
            say,
            keeps,
          })
        },
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      }
    },
    async disturb(signal) {
      const last = nodes.urls.length - 1
      while (await slept(20_000, signal)) {
        await nodes.kill(last)
        await slept(5_000, signal)
        nodes.start(last)
        await nodes.whole()
      }
    },
  }
}

const slept = (ms: number, signal: AbortSignal): Promise<boolean> =>
  sleep(ms, true, { signal }).catch(() => false)

/** Until the nodes' code is compiled: before that it takes four times as long. */
async function warm(ways: readonly Way[], place: Place, { questions }: Corpus): Promise<void> {
  for (let turn = 0; turn < warmTimes; turn += 1) {
    const vector = questions[turn % questions.length]
    if (vector === undefined) return
    for (const way of ways)
      try {
        await way.ask({ person: 'user:nobody', vector, sent: sentTo(place, vector) })
      } catch (error) {
        // The first of a large index take longer than a question may.
        if (!(error instanceof AppError)) throw error
      }
  }
}

/** So many places as the engine may name for ten passages: twice as many, and the spare ones. */
const named = 110

/** The engine's own search without a filter: the same body, and as many places, all of which it may name. */
function unfiltered({ database }: Place, engine: Engine, corpus: Corpus): Way {
  const passages = new Map<number, number[]>()
  for (const [passage, document] of corpus.documentOf.entries()) {
    const known = passages.get(document + 1)
    if (known === undefined) passages.set(document + 1, [passage])
    else known.push(passage)
  }
  const numbers = Int32Array.from(passages.keys()).sort()
  const bare: Engine = {
    ...engine,
    ask: (request, read) => engine.ask({ ...request, body: withoutFilters(request.body) }, read),
  }
  let generation: Generation | undefined
  return {
    name: bareName,
    kind: 'raw',
    async ask({ vector }) {
      generation ??= (await readGenerations(database))[0]
      if (generation === undefined) throw new Error('There is no index.')
      const hits = await nominateNearest(bare, generation, { numbers, size: named }, vector)
      return {
        passages: hits.slice(0, topK).flatMap(({ number, ordinal }) => passages.get(number)?.[ordinal] ?? []),
        checks: 0,
      }
    },
  }
}

const knnBody = z.looseObject({
  query: z.object({ knn: z.object({ vector: z.looseObject({ filter: z.unknown() }) }) }),
})

/** Of each pair of lines of `_msearch` the second, which is JSON already. */
const withoutFilters = (body: unknown): readonly object[] =>
  z
    .array(z.union([z.looseObject({}), z.string()]))
    .parse(body)
    .map((line) => {
      if (typeof line !== 'string') return line
      const { query, ...shape } = knnBody.parse(JSON.parse(line))
      const { filter: _, ...vector } = query.knn.vector
      return { ...shape, query: { knn: { vector } } }
    })

/** The raw search for as many as the engine names, as exact as the engine is at least. */
function rawSameK(connection: Connection): Way {
  return {
    name: rawName,
    kind: 'raw',
    async ask(asked) {
      const rows = await nearest(connection, asked, named)
      return { passages: rows.slice(0, topK).map(({ chunk_id }) => passageOf(chunk_id)), checks: 0 }
    },
  }
}
