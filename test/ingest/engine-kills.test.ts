import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { AppError } from '../../src/kernel/errors.ts'
import { visibleOf } from '../../src/retrieval/access-filter/visible.ts'
import { readGenerations } from '../../src/retrieval/chunk-index/opensearch/generations.ts'
import { createOpensearchIndex } from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import { compareGeneration, removeEnded } from '../../src/retrieval/chunk-index/opensearch/reconcile.ts'
import type { FoundChunk } from '../../src/retrieval/chunk-index/port.ts'
import { createWordEmbedder } from '../support/embedder.ts'
import { needsOpensearch } from '../support/native.ts'
import { testEngine } from '../support/opensearch.ts'
import { type IngestWorld, loader, openIngestWorld } from './world.ts'

/** Places to die at, for each kind of death. By hand `ENGINE_KILLS=500`: all of them, several times. */
const kills = Number(process.env['ENGINE_KILLS'] ?? 4)

/**
 * Where the engine dies, whoever listens there kills it and starts it again (`engine-killed.ts`); else only
 * the way to it dies.
 */
const restart = process.env['ENGINE_RESTART']

type Death = 'process' | 'engine'

describe('with OpenSearch, what is brought in and withdrawn', needsOpensearch, () => {
  let world: IngestWorld
  /** Whether a request to the engine is lost now. */
  let isLost = async (): Promise<boolean> => false
  const between: typeof fetch = async (input, init) => {
    if (await isLost()) throw new TypeError('fetch failed')
    const response = await fetch(input, init)
    // It was done there, and is not heard here.
    if (await isLost()) throw new TypeError('terminated')
    return response
  }
  beforeAll(async () => {
    world = await openIngestWorld(undefined, { retryPauseSecondsMax: 0, opensearch: between })
  }, 60_000)
  afterAll(() => world?.[Symbol.asyncDispose]())

  /**
   * What another process has the engine find by vectors and by words, with a filter that forgets nothing: the
   * numbers of all that was put since. Undefined: it refuses.
   */
  async function found(since: number): Promise<readonly Record<string, string>[] | undefined> {
    const engine = testEngine()
    const index = createOpensearchIndex({ database: world.database, engine, exactMax: 0 })
    const numbers = await world.database.query<{ publication: number }>(
      'select publication from engine_publications where publication > $1 order by publication',
      [since],
    )
    const [live] = await world.database.query<{ chunks: number }>(
      'select coalesce(sum(chunks), 0)::int as chunks from index_publications where is_shown and publication > $1',
      [since],
    )
    const filter = {
      ...visibleOf(new Int32Array(), live?.chunks ?? 0, 1_000, () => 0),
      publications: () => Int32Array.from(numbers, ({ publication }) => publication),
    }
    const weights = { lexeme: 'word', weights: [1, 1], scoreMax: 2.2, frequency: 100 }
    const words = { lexemes: [weights], repetitionMax: 2.2, base: 0.3, perWord: 0.01, corpora: [] }
    try {
      const vector = await createWordEmbedder().embedQuery('words')
      return [
        await textsOf(await index.nearest(vector, filter, 50)),
        await textsOf(await index.words(words, filter, 50)),
      ]
    } catch (error) {
      if (error instanceof AppError && error.code === 'search_unavailable') return undefined
      throw error
    }
  }

  async function textsOf(found: readonly FoundChunk[]): Promise<Record<string, string>> {
    const rows = await world.database.query<{ id: string; text: string }>(
      `select d.id, t.text from documents d join chunks c using (doc_no) join chunk_texts t using (chunk_id)
       where c.chunk_id = any($1)`,
      [found.map(({ chunkId }) => chunkId)],
    )
    return Object.fromEntries(rows.map(({ id, text }) => [id, text]))
  }

  /** Brings in, changes and withdraws, and dies at the step of that number. Gives how many there were. */
  async function change(round: string, death: Death, fatal: number): Promise<number> {
    const [created, changed, gone] = [`${round}/created`, `${round}/changed`, `${round}/gone`]
    const [last] = await world.database.query<{ since: number }>(
      'select coalesce(max(publication), 0) as since from engine_publications',
    )
    const since = last?.since ?? 0
    const both = { viewers: ['user:anne', 'user:carol'] }
    await world.putDone({ id: changed, text: 'old words', access: both })
    await world.putDone({ id: gone, text: 'old words', access: both })

    let steps = 0
    let isDead = false
    let lost = 0
    const accepted = new Set<string>()
    const isFatal = (): boolean => {
      steps += 1
      return steps === fatal
    }
    const dies = (): boolean => {
      if (isDead || !isFatal()) return isDead
      isDead = true
      world.die()
      return true
    }
    if (death === 'process') {
      // What upkeep asks meanwhile is no step of these.
      world.isAway = (statement) => !/pgboss|leases set until|heard_at/.test(statement) && dies()
      world.onPart = () => {
        if (dies()) throw new Error('This process is dead.')
      }
      isLost = async () => dies()
    } else
      isLost = async () => {
        if (lost === 0 && !isFatal()) return false
        if (lost === 0 && restart !== undefined) await fetch(restart)
        // Both tries, and one of the next time.
        lost = (lost + 1) % 4
        return lost !== 0
      }

    /** Right, or refused: what is found was in force, and nothing of it was withdrawn. */
    async function look(): Promise<void> {
      for (const [id, text] of ((await found(since)) ?? []).flatMap(Object.entries<string>))
        expect(
          (id === changed &&
            (text === 'new words' || (text === 'old words' && !accepted.has(`${id} done`)))) ||
            (id === created && text === 'new words') ||
            (id === gone && !accepted.has(gone)),
          `${id}: ${text}`,
        ).toBe(true)
    }
    async function revive(): Promise<void> {
      if (!isDead) return
      await look()
      world.isAway = () => false
      world.onPart = () => undefined
      isDead = false
      await world.kill()
      await look()
    }
    /** Until it is accepted, then until it is done, whatever dies meanwhile. */
    async function bring(id: string, send: () => Promise<string>): Promise<void> {
      for (let job: string | undefined, tries = 1; ; tries += 1)
        try {
          job ??= await send()
          accepted.add(id)
          expect(await world.done(job)).toMatchObject({ failed: 0 })
          accepted.add(`${id} done`)
          return await look()
        } catch (error) {
          // Whoever withdraws once more hears that there is nothing.
          if (error instanceof AppError && error.code === 'not_found' && id === gone) return
          if (tries > 20) throw error
          await revive()
        }
    }

    await bring(created, () => world.put({ id: created, text: 'new words', access: both }))
    const fewer = { viewers: ['user:anne'] }
    await bring(changed, () => world.put({ id: changed, text: 'new words', access: fewer }))
    await bring(gone, () => world.ingest.withdraw(loader, gone))
    isLost = async () => false
    await revive()

    const expected = { [created]: 'new words', [changed]: 'new words' }
    await expect.poll(() => found(since), { timeout: 40_000, interval: 200 }).toEqual([expected, expected])
    expect([await world.sees('user:carol', changed), await world.sees('user:anne', gone)]).toEqual([
      undefined,
      undefined,
    ])
    return steps
  }

  test.each(['process', 'engine'] as const)(
    `is neither lost nor back, and nothing else is found, killed at each step: the %s (seed ${seed})`,
    async (death) => {
      const total = await change(`${death}-whole`, death, 0)
      expect(total).toBeGreaterThan(3)
      const every = Math.max(1, Math.ceil(total / kills))
      let count = 0
      for (let turn = 0; turn === 0 || count + total / every <= kills; turn += 1)
        for (let fatal = 1 + (seed % every); fatal <= total; fatal += every, count += 1)
          await change(`${death}-${turn}-${fatal}`, death, fatal)
      console.log(`${count} of ${total} steps killed: the ${death}`)
      await removeEnded({ database: world.database, engine: testEngine() }, 0)
      const shown = await world.database.query<{ publication: number }>(
        'select publication from index_publications where is_shown order by publication',
      )
      const index = createOpensearchIndex({ database: world.database, engine: testEngine() })
      expect(await index.listed(0, 10_000)).toEqual(shown.map(({ publication }) => publication))
      for (const generation of await readGenerations(world.database))
        expect(
          await compareGeneration({ database: world.database, engine: testEngine() }, generation),
        ).toEqual({ lacking: 0, back: 0, unknown: 0 })
    },
    // A node that is really killed takes its time to come back.
    Math.max(300_000, kills * (restart === undefined ? 10_000 : 90_000)),
  )
})
