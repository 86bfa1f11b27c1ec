import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { AppError } from '../../src/kernel/errors.ts'
import type { Engine } from '../../src/retrieval/chunk-index/opensearch/engine.ts'
import { readGenerations } from '../../src/retrieval/chunk-index/opensearch/generations.ts'
import type { SearchEngine } from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import { dropIndex, indexOf } from '../../src/retrieval/chunk-index/opensearch/ranges.ts'
import { countRows } from '../../src/store/sql.ts'
import type { OpensearchNodes } from '../../test/support/opensearch-nodes.ts'
import type { Cell, Known } from '../search/cells.ts'
import { type Corpus, dot, vectorAt } from '../search/corpus.ts'
import type { Place } from '../search/servers.ts'
import { sentTo } from '../search/ways/vector.ts'
import { topK, type Way } from '../search/ways/way.ts'

/** What clients got while something failed. */
export interface Asked {
  readonly answers: number
  /** Errors that say to ask later. */
  readonly refused: number
  /** With a passage that the person may not read. */
  readonly stray: number
  /** With fewer passages than there are. */
  readonly short: number
  /** Of the ten best, on average and in the worst answer. */
  readonly recall: number
  readonly recallLeast: number
  readonly slowestMs: number
}

export interface Failed {
  /** A node was killed. Seconds until every shard was found again, and until every copy was there again. */
  readonly killed: Asked & { readonly shardsSeconds: number; readonly copiesSeconds: number }
  /** Its index was dropped. Seconds until it was whole again, by itself. */
  readonly emptied: (Asked & { readonly seconds: number; readonly perSecond: number }) | undefined
}

interface FailuresOptions {
  readonly nodes: OpensearchNodes
  readonly corpus: Corpus
  readonly engine: Engine
  readonly place: Place
  readonly opened: SearchEngine
  readonly cell: Cell
  readonly way: Way
  readonly say: (text: string) => void
  /** The index is not dropped. */
  readonly keeps: boolean
}

const clients = 4

/** A node dies, then the whole index, each while clients ask. */
export async function failures(options: FailuresOptions): Promise<Failed> {
  const { nodes, engine, place, opened, say } = options
  const last = nodes.urls.length - 1
  const killed = await asking(options, async () => {
    await sleep(3_000)
    await nodes.kill(last)
    const at = performance.now()
    const since = () => (performance.now() - at) / 1_000
    await until(() => isWithout(nodes))
    const shardsSeconds = since()
    await sleep(5_000)
    nodes.start(last)
    await nodes.whole()
    return { shardsSeconds, copiesSeconds: since() }
  })
  say(`a node killed: ${JSON.stringify(killed)}`)
  if (options.keeps) return { killed, emptied: undefined }
  const emptied = await asking(options, async () => {
    await sleep(2_000)
    await dropIndices(place, engine)
    const began = performance.now()
    await until(async () => (await readGenerations(place.database)).length === 0)
    const filled = await fill(place, opened)
    const seconds = (performance.now() - began) / 1_000
    await sleep(2_000)
    return { seconds, perSecond: filled.passages / filled.seconds }
  })
  say(`emptied: ${JSON.stringify(emptied)}`)
  return { killed, emptied }
}

/** As somebody would who does not know of Remit. */
export async function dropIndices({ database }: Pick<Place, 'database'>, engine: Engine): Promise<void> {
  for (const generation of await readGenerations(database))
    for (const range of generation.ranges) await dropIndex(engine, indexOf(generation, range))
}

/** Until the index is in use: it holds then all that the database has. */
export async function fill(
  { database }: Pick<Place, 'database'>,
  opened: SearchEngine,
): Promise<{ readonly passages: number; readonly seconds: number }> {
  const began = performance.now()
  while ((await countRows(database, 'select from search_generations where is_current')) === 0)
    await opened.keep()
  const seconds = (performance.now() - began) / 1_000
  return { passages: await countRows(database, 'select from chunks'), seconds }
}

const health = z.object({ status: z.string(), number_of_nodes: z.int() })

/** The other nodes know that one is gone, and each shard is at one of them. */
const isWithout = async ({ urls }: OpensearchNodes): Promise<boolean> => {
  const answer = await fetch(`${urls[0]}/_cluster/health`).then((response) => response.json())
  const { status, number_of_nodes: count } = health.parse(answer)
  return count < urls.length && status !== 'red'
}

async function until(is: () => Promise<boolean>): Promise<void> {
  while (!(await is())) await sleep(50)
}

/** Clients ask without a pause until the work is done. */
async function asking<T extends object>(
  { cell, corpus, place, way }: FailuresOptions,
  work: () => Promise<T>,
): Promise<Asked & T> {
  const judged: { readonly stray: boolean; readonly short: boolean; readonly recall: number }[] = []
  let [isOver, refused, slowestMs] = [false, 0, 0]
  const client = async (first: number): Promise<void> => {
    for (let turn = first; !isOver; turn += 1) {
      const known = cell.questions[turn % cell.questions.length]
      if (known === undefined) return
      const began = performance.now()
      try {
        const { passages } = await way.ask({ ...known, sent: sentTo(place, known.vector) })
        judged.push(judge(corpus, known, passages))
      } catch (error) {
        if (!(error instanceof AppError && error.code === 'search_unavailable')) throw error
        refused += 1
      }
      slowestMs = Math.max(slowestMs, performance.now() - began)
    }
  }
  const working = work().finally(() => {
    isOver = true
  })
  const [done] = await Promise.all([working, ...Array.from({ length: clients }, (_, at) => client(at * 7))])
  const recalls = judged.map(({ recall }) => recall)
  return {
    answers: judged.length,
    refused,
    stray: judged.filter(({ stray }) => stray).length,
    short: judged.filter(({ short }) => short).length,
    recall: recalls.reduce((sum, one) => sum + one, 0) / recalls.length,
    recallLeast: Math.min(...recalls),
    slowestMs,
    ...done,
  }
}

function judge(corpus: Corpus, known: Known, passages: readonly number[]) {
  const wanted = Math.min(topK, known.passages)
  const best = passages.slice(0, topK)
  const near = best.filter((passage) => dot(known.vector, vectorAt(corpus, passage)) >= known.least - 1e-5)
  return {
    stray: passages.some((passage) => known.visible[corpus.documentOf[passage] ?? 0] !== 1),
    short: best.length < wanted,
    recall: wanted === 0 ? 1 : near.length / wanted,
  }
}
