import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { byWords } from '../../../src/retrieval/ranking/keyword.ts'
import { createRankingStatistics } from '../../../src/retrieval/ranking/renew.ts'
import { dampeningOf, mostOften, weightOf } from '../../../src/retrieval/ranking/weigh.ts'
import { createSearch, type Visible } from '../../../src/retrieval/search.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openWorld, type World } from '../../support/world.ts'

const words = ['amber', 'basalt', 'cedar', 'delta', 'ember', 'fjord', 'grove', 'heath', 'inlet', 'jetty']
/** Low words are common, high ones rare. */
const textOf = (index: number): string =>
  words
    .filter((_, at) => index % (at + 1) === 0)
    .map((word, at) => `${word} `.repeat(1 + ((index * 7 + at) % 4)))
    .join('and so it went on ')
const documents = 120
const all = Array.from({ length: documents }, (_, index) => `d/${index}`)
const questions: readonly string[] = [
  'amber jetty',
  'basalt heath inlet',
  'grove',
  'amber basalt cedar delta ember fjord',
  'went on',
]

describeDatabases('words rank', (database) => {
  let world: World
  let visible: Visible
  const anne = { viewers: ['user:anne'] }
  const ask = (question: string, limit = 20, rareFirst = true) =>
    byWords(world.database, visible, question, limit, { scope: 'deployment', rareFirst })

  beforeAll(async () => {
    world = await openWorld({ backend: { database, openfga: 'engine' } })
    await world.put(
      Object.fromEntries(all.map((id, index) => [id, { title: 'Log', text: textOf(index), access: anne }])),
    )
    await world.service.ranking.renew()
    visible = await createSearch(world.database).visible(
      all.filter((_, index) => index % 3 !== 1),
      {},
    )
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  test.each(questions)('as BM25 worked out anew from the stored words says: %s', async (question) => {
    const found = await ask(question, documents)
    const expected = await oracle(world, visible, question)
    expect(found.map(({ chunkId }) => chunkId)).toEqual(expected.map(({ chunkId }) => chunkId))
    for (const [at, { score }] of found.entries()) expect(score).toBeCloseTo(expected[at]?.score ?? 0, 9)
    expect(found.length).toBeGreaterThan(0)
  })

  test.each(questions)(
    'alike whether rare words are looked up first or all at once: %s',
    async (question) => {
      for (const limit of [1, 3, 10, 40])
        expect(await ask(question, limit)).toEqual(await ask(question, limit, false))
    },
  )

  test('of rare words first is found by those alone where the others cannot add enough', async () => {
    const queries: string[] = []
    const watched = {
      ...world.database,
      query: async <Row extends object>(text: string, values?: readonly never[]): Promise<Row[]> => {
        if (text.includes('ts_rank')) queries.push(String(values?.[0]))
        return world.database.query<Row>(text, values)
      },
    }
    await world.database.query(`update ranking_words set passages = 1000 where lexeme = 'amber'`)
    await byWords(watched, visible, 'amber jetty', 1, { scope: 'deployment' })
    await world.service.ranking.renew()
    expect(queries).toEqual(["'jetti'"])
  })

  test('by permissions before the limit: the first of those that are visible, whatever is hidden', async () => {
    const one = await createSearch(world.database).visible(['d/10'], {})
    const found = await byWords(world.database, one, 'amber', 1, { scope: 'deployment' })
    expect(found.map(({ documentId }) => documentId)).toEqual(['d/10'])
  })

  test('the same to the last byte whether a document that one may not read is there or not', async () => {
    const token = await world.token({ user: 'anne' })
    const bodies = async () => {
      const taken: unknown[] = []
      for (const mode of ['keyword', 'hybrid']) {
        for (const query of questions) {
          const response = await world.call('POST', '/retrieve', { token, body: { query, mode, top_k: 50 } })
          const { txn, freshness, ...rest } = JSON.parse(await response.text())
          expect([response.status, typeof txn, typeof freshness]).toEqual([200, 'string', 'object'])
          taken.push(rest)
        }
      }
      return JSON.stringify(taken)
    }
    const before = await bodies()
    await world.put({ 'd/hidden': { text: 'jetty '.repeat(40), access: { viewers: ['user:bob'] } } })
    expect(await bodies()).toBe(before)
    // Counted with it: one document is less than a step.
    await world.service.ranking.renew()
    expect(await bodies()).toBe(before)
  })

  test('by a snapshot: what is written after it moves no rank, what is counted does', async () => {
    const weights = () => world.database.query('select lexeme, passages from ranking_words order by lexeme')
    const before = { weights: await weights(), found: await ask('amber jetty') }
    await world.put(
      Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`jetty/${index}`, { text: 'A jetty.' }])),
    )
    expect({ weights: await weights(), found: await ask('amber jetty') }).toEqual(before)
    await world.service.ranking.renew()
    expect(await weights()).not.toEqual(before.weights)
  })

  test('by counts that are made anew only when a fifth came or went, or after a day', async () => {
    const snapshot = async () =>
      (await world.database.query<{ snapshot: number }>('select snapshot from ranking_snapshots')).map(
        (row) => row.snapshot,
      )
    await world.service.ranking.renew()
    const looking = async (now: number) => {
      const looks = createRankingStatistics({
        database: world.database,
        scope: 'deployment',
        now: () => now,
        log: () => undefined,
        everyMs: 3_600_000,
      })
      await looks.idle()
      await looks[Symbol.asyncDispose]()
      return snapshot()
    }
    const first = await snapshot()
    expect(first).toHaveLength(1)
    await world.put({ 'one/more': { text: 'One more.' } })
    expect(await looking(Date.now())).toEqual(first)
    const second = await looking(Date.now() + 86_500_000)
    expect(second).not.toEqual(first)
    await world.put(
      Object.fromEntries(Array.from({ length: 45 }, (_, index) => [`more/${index}`, { text: 'More.' }])),
    )
    expect(await looking(Date.now())).not.toEqual(second)
  })
})

describe('with statistics of each collection its own, words', () => {
  test('of one say nothing of those of another', async () => {
    await using world = await openWorld({ env: { RANKING_STATISTICS: 'collection' } })
    const { database } = world
    const few = all.slice(0, 30)
    await world.put(Object.fromEntries(few.map((id, index) => [id, { text: textOf(index) }])))
    await world.service.ranking.renew()
    const search = createSearch(database, { statistics: 'collection' })
    const ask = async (ids: readonly string[]) =>
      search.keyword(await search.visible(ids, {}), 'amber jetty', 30)
    const before = await ask(few)
    expect(before).toHaveLength(30)
    const others = Array.from({ length: 30 }, (_, index) => `f/${index}`)
    await world.put(
      Object.fromEntries(others.map((id) => [id, { collection: 'finance', text: 'The jetty.' }])),
    )
    await world.service.ranking.renew()
    expect(await ask(few)).toEqual(before)
    expect(await ask(others)).toHaveLength(30)
    const rows = await database.query(
      `select collection, passages from ranking_words where lexeme in ('jetti', 'amber') order by collection, lexeme`,
    )
    expect(rows).toEqual([
      { collection: 'finance', passages: 32 },
      { collection: 'handbook', passages: 32 },
    ])
  })
})

/** BM25 (Robertson and Zaragoza 2009) over the stored words, one by one, by the counts of the snapshot. */
async function oracle(world: World, visible: Visible, question: string) {
  const { database } = world
  const [corpus] = await database.query<{ passages: number; words_on_average: number }>(
    'select passages, words_on_average from ranking_corpora',
  )
  const counts = await database.query<{ lexeme: string; passages: number }>(
    'select lexeme, passages from ranking_words',
  )
  const known = { passages: corpus?.passages ?? 0, wordsOnAverage: corpus?.words_on_average ?? 0 }
  const { base, perWord } = dampeningOf(known)
  const asked = await database.query<{ lexeme: string }>(
    `select lexeme from unnest(to_tsvector('english', $1))`,
    [question],
  )
  const rows = await database.query<{ chunk_id: string; lexeme: string; times: number; words: number }>(
    `select p.chunk_id, w.lexeme, cardinality(w.positions) as times, sum(cardinality(w.positions)) over (partition by p.chunk_id)::int as words
     from chunk_words p, unnest(p.tsv) w where p.doc_no = any($1::int[])`,
    [visible.docNos],
  )
  const scores = new Map<string, number>()
  for (const { chunk_id, lexeme, times, words: length } of rows) {
    if (!asked.some((word) => word.lexeme === lexeme)) continue
    const weight = weightOf(known, counts.find((word) => word.lexeme === lexeme)?.passages ?? 0)
    const score = (weight * mostOften * times) / (times + base + perWord * length)
    scores.set(chunk_id, (scores.get(chunk_id) ?? 0) + score)
  }
  return [...scores]
    .map(([chunkId, score]) => ({ chunkId, score }))
    .sort((one, other) => other.score - one.score || (one.chunkId < other.chunkId ? -1 : 1))
}
