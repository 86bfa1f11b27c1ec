import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ChunkId } from '../../src/kernel/ids.ts'
import { visibleOf } from '../../src/retrieval/access-filter/visible.ts'
import type { Candidate } from '../../src/retrieval/candidate.ts'
import type { StrategyName } from '../../src/retrieval/chunk-index/postgres/strategy.ts'
import type { Search } from '../../src/retrieval/search.ts'
import { createShadow, type ShadowDeps, type ShadowEvent } from '../../src/retrieval/shadow.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'
import { needsPostgres } from '../support/native.ts'

const passages = 30
/** Nearer to the question the lower its number. */
// Whole numbers of 1/64, which a halfvec holds as they are.
const near = (at: number): number => 1 - at / 64
const embedding = Float32Array.from({ length: 384 }, (_, at) => (at === 0 ? 1 : 0))
const found = (numbers: readonly number[]): Candidate[] =>
  numbers.map((at) => ({
    chunkId: `c${at}` as ChunkId,
    documentId: 'd',
    publication: 1,
    isNew: false,
    ordinal: at,
    score: near(at),
  }))
const best = Array.from({ length: 12 }, (_, at) => at)

describe('a search that is done again exactly', needsPostgres, () => {
  let database: Database
  let docNo: number
  beforeAll(async () => {
    database = await openTestDatabase('postgres')
    await database.query(`insert into collections (id, title) values ('c', 'c')`)
    const [row] = await database.query<{ doc_no: number }>(
      `insert into documents (id, collection, live_revision, chunk_count) values ('d', 'c', 1, $1) returning doc_no`,
      [passages],
    )
    docNo = row?.doc_no ?? 0
    for (let at = 0; at < passages; at += 1) {
      await database.query(
        'insert into chunks (chunk_id, doc_no, ordinal, embedding) values ($1, $2, $3, $4)',
        [`c${at}`, docNo, at, `[${[near(at), ...Array.from({ length: 383 }, () => 0)].join(',')}]`],
      )
    }
  })
  afterAll(() => database?.close())

  function watching(more: Partial<ShadowDeps> = {}, plan: StrategyName = 'hnsw', candidates = found(best)) {
    const told: ShadowEvent[] = []
    const deps = {
      database,
      share: 1,
      random: () => 0,
      onShadow: (event: ShadowEvent) => void told.push(event),
    }
    const shadow = createShadow({ ...deps, afterMs: 20, ...more })
    const search: Search = {
      keyword: async () => [],
      foundAnyway: () => [],
      async vector() {
        const cost = { predictedMs: 1, actualMs: 1, visible: passages, corpus: passages, fellBack: false }
        shadow.onStrategy({ ...cost, strategy: plan, returned: candidates.length })
        return candidates
      },
    }
    const watched = shadow.watch(search)
    const visible = visibleOf(Int32Array.of(docNo), passages, passages, () => 1)
    return { told, shadow, ask: () => watched.vector(visible, embedding, 100) }
  }

  test('tells how many of the ten best it had found, once the answer is there', async () => {
    for (const [numbers, recall] of [
      [best, 1],
      [best.filter((at) => at !== 3 && at !== 4), 0.8],
      [[20, 21], 0],
    ] as const) {
      const { told, shadow, ask } = watching({}, 'hnsw', found(numbers))
      expect(await ask()).toHaveLength(numbers.length)
      expect(told).toEqual([])
      await expect.poll(() => told).toEqual([{ strategy: 'hnsw', recall }])
      await shadow[Symbol.asyncDispose]()
    }
  })

  test('is one at a time: what comes meanwhile is not begun', async () => {
    const { told, shadow, ask } = watching()
    await Promise.all([ask(), ask(), ask()])
    await expect.poll(() => told).toHaveLength(1)
    await delay(60)
    expect(told).toHaveLength(1)
    // The one before it is told of a moment before it is over.
    await expect.poll(async () => (await ask(), told.length)).toBeGreaterThan(1)
    await shadow[Symbol.asyncDispose]()
  })

  test('is only the share that was set, and none where the plan was exact, or the database has one session', async () => {
    for (const [more, plan] of [
      [{ share: 0.001, random: () => 0.001 }, 'hnsw'],
      [{ share: 0 }, 'hnsw'],
      [{}, 'exact'],
      [{ database: { ...database, kind: 'pglite' } as Database }, 'hnsw'],
    ] as const) {
      const { told, shadow, ask } = watching(more, plan)
      await ask()
      await delay(60)
      await shadow[Symbol.asyncDispose]()
      expect(told).toEqual([])
    }
  })

  test('is given up when it takes too long, and the next one is begun', async () => {
    let slow = true
    const begun = Promise.withResolvers<void>()
    const slowed: Database = {
      ...database,
      transaction: (work, options) =>
        database.transaction(
          (sql) =>
            work({
              async query(text, values) {
                const rows = await sql.query<never>(text, values)
                if (slow && text.startsWith('set local')) {
                  begun.resolve()
                  await sql.query('select pg_sleep(60)')
                }
                return rows
              },
            }),
          options,
        ),
    }
    const { told, shadow, ask } = watching({ database: slowed, longestMs: 500 })
    await ask()
    await begun.promise
    expect(told).toEqual([])
    slow = false
    // Not begun while the first one goes on, which would do so for a minute.
    await expect.poll(async () => (await ask(), told.length)).toBeGreaterThan(0)
    await shadow[Symbol.asyncDispose]()
  })
})
