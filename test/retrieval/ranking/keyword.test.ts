import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { visibleByQuery } from '../../../src/retrieval/access-filter/visibility.ts'
import type { AccessFilter } from '../../../src/retrieval/access-filter/visible.ts'
import { createPostgresIndex } from '../../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import { createWordSampler } from '../../../src/retrieval/chunk-index/postgres/words.ts'
import { createRankingStatistics, type RankingStatistics } from '../../../src/retrieval/ranking/renew.ts'
import {
  dampeningOf,
  mostOften,
  type Scope,
  weightOf,
  weighWords,
} from '../../../src/retrieval/ranking/weigh.ts'
import { createSearch } from '../../../src/retrieval/search.ts'
import type { Database, Sql } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { openWorld } from '../../support/world.ts'

const words = ['amber', 'basalt', 'cedar', 'delta', 'ember', 'fjord', 'grove', 'heath', 'inlet', 'jetty']
/** Low words are common, high ones rare. */
const textOf = (index: number): string =>
  words
    .filter((_, at) => index % (at + 1) === 0)
    .map((word, at) => `${word} `.repeat(1 + ((index * 7 + at) % 4)))
    .join('and so it went on ')
const all = Array.from({ length: 300 }, (_, index) => `d/${index}`)
const questions: readonly string[] = [
  'amber jetty',
  'basalt heath inlet',
  'grove',
  'amber basalt cedar delta ember fjord',
  'went on',
]

/** Documents of one passage each, as publishing leaves them. */
async function store(database: Database, texts: Readonly<Record<string, string>>, collection = 'one') {
  const values = [Object.keys(texts), Object.values(texts), collection]
  await database.query(
    `insert into collections (id, title) values ($1, $1) on conflict do nothing`,
    values.slice(2),
  )
  await database.query(
    `insert into documents (id, collection, live_revision, chunk_count)
     select id, $3, 1, 1 from unnest($1::text[], $2::text[]) as d (id, body)`,
    values,
  )
  const passages = `select 'c_' || md5(d.id) as chunk_id, d.doc_no, to_tsvector('english', t.body) as tsv
    from unnest($1::text[], $2::text[]) as t (id, body) join documents d using (id)`
  await database.query(
    `insert into chunks (chunk_id, doc_no, ordinal) select chunk_id, doc_no, 0 from (${passages}) p`,
    values.slice(0, 2),
  )
  await database.query(
    `insert into chunk_words (chunk_id, doc_no, ordinal, words, tsv)
     select chunk_id, doc_no, 0, (select coalesce(sum(cardinality(positions)), 0) from unnest(tsv)), tsv from (${passages}) p`,
    values.slice(0, 2),
  )
}

/** Best first. Without `rareFirst` as one that is searched like another: in one statement. */
const byWords = (
  database: Database,
  visible: AccessFilter,
  question: string,
  limit: number,
  { scope, rareFirst = true }: { readonly scope: Scope; readonly rareFirst?: boolean },
) =>
  createSearch({ sql: database, index: createPostgresIndex({ database }), statistics: scope }).keyword(
    visible,
    question,
    limit,
    rareFirst ? {} : { like: visible },
  )

const counting = (database: Database, scope: Scope, now = Date.now()): RankingStatistics =>
  createRankingStatistics({
    database,
    sampler: createWordSampler(database),
    scope,
    now: () => now,
    log: () => undefined,
    everyMs: 3_600_000,
  })
const many = (name: string, count: number, text: string) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`${name}/${index}`, text]))

describeDatabases('words rank', (kind) => {
  let database: Database
  let statistics: RankingStatistics
  let visible: AccessFilter
  const ask = (question: string, limit = 20, rareFirst = true) =>
    byWords(database, visible, question, limit, { scope: 'deployment', rareFirst })

  beforeAll(async () => {
    database = await openTestDatabase(kind)
    await store(database, Object.fromEntries(all.map((id, index) => [id, textOf(index)])))
    statistics = counting(database, 'deployment')
    await statistics.renew()
    const readable = all.filter((_, index) => index % 3 !== 1)
    visible = await visibleByQuery({ database }, readable, {})
  })
  afterAll(async () => {
    await statistics?.[Symbol.asyncDispose]()
    await database?.close()
  })

  test.each(questions)('as BM25 worked out anew from the stored words says: %s', async (question) => {
    const found = await ask(question, all.length)
    const expected = await oracle(database, visible, question)
    expect(found.map(({ chunkId }) => chunkId)).toEqual(expected.map(({ chunkId }) => chunkId))
    for (const [at, { score }] of found.entries()) expect(score).toBeCloseTo(expected[at]?.score ?? 0, 9)
    expect(found.length).toBeGreaterThan(0)
  })

  test.each(questions)(
    'alike whether rare words are looked up first or all at once: %s',
    async (question) => {
      for (const limit of [1, 2, 3, 5, 9, 40])
        expect(await ask(question, limit)).toEqual(await ask(question, limit, false))
    },
  )

  test('by the newer of two counts, whichever process stood still between counting and storing', async () => {
    const [counted, stored] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const transaction: Database['transaction'] = async (work) => {
      counted.resolve()
      await stored.promise
      return database.transaction(work)
    }
    await using first = createRankingStatistics({
      database: { ...database, transaction },
      sampler: createWordSampler(database),
      scope: 'deployment',
      now: () => 0,
      log: () => undefined,
      everyMs: 3_600_000,
    })
    const standing = first.renew()
    await counted.promise
    await store(database, many('newer', 40, 'quokka'))
    await statistics.renew()
    const common = () => database.query(`select passages from ranking_words where lexeme = 'quokka'`)
    const newer = await common()
    expect(newer).toHaveLength(1)
    stored.resolve()
    await standing
    expect(await common()).toEqual(newer)
    for (const table of ['chunk_words', 'chunks', 'documents'])
      await database.query(
        `delete from ${table} where doc_no in (select doc_no from documents where id like 'newer/%')`,
      )
    await statistics.renew()
  })

  test('of rare words first is found by those alone where the others cannot add enough', async () => {
    const looked: string[] = []
    const watched = {
      ...database,
      query: async <Row extends object>(text: string, values?: readonly never[]): Promise<Row[]> => {
        if (text.includes('ts_rank')) looked.push(String(values?.[0]))
        return database.query<Row>(text, values)
      },
    }
    await database.query(`update ranking_words set passages = 1000 where lexeme = 'amber'`)
    await byWords(watched, visible, 'amber jetty', 1, { scope: 'deployment' })
    await statistics.renew()
    expect(looked).toEqual(["'jetti'"])
  })

  test('of rare words first is looked for among all where the others add more', async () => {
    await store(database, {
      weak: `jetty ${'filling '.repeat(200)}`,
      strong: 'amber basalt cedar delta ember fjord',
    })
    const open = await visibleByQuery(
      { database },
      ['weak', 'strong', ...all.filter((_, index) => index % 10 !== 0)],
      {},
    )
    const question = 'jetty amber basalt cedar delta ember fjord'
    const ways = [true, false].map((rareFirst) =>
      byWords(database, open, question, 1, { scope: 'deployment', rareFirst }),
    )
    const [found, expected] = await Promise.all(ways)
    expect(found).toEqual(expected)
    const rare = await byWords(database, open, 'jetty', 1, { scope: 'deployment' })
    expect(rare.map(({ documentId }) => documentId)).toEqual(['weak'])
    expect(found).not.toMatchObject(rare.map(({ documentId }) => ({ documentId })))
  })

  test('by permissions before the limit: the first of those that are visible, whatever is hidden', async () => {
    const one = await visibleByQuery({ database }, ['d/10'], {})
    const found = await byWords(database, one, 'amber', 1, { scope: 'deployment' })
    expect(found.map(({ documentId }) => documentId)).toEqual(['d/10'])
  })

  test('by a snapshot: what is written after it moves no rank, what is counted does', async () => {
    const weights = () => database.query('select lexeme, passages from ranking_words order by lexeme')
    const before = { weights: await weights(), found: await ask('amber jetty') }
    await store(database, many('jetty', 40, 'A jetty.'))
    expect({ weights: await weights(), found: await ask('amber jetty') }).toEqual(before)
    await statistics.renew()
    expect(await weights()).not.toEqual(before.weights)
    expect(await ask('amber jetty')).not.toEqual(before.found)
  })

  test('by counts that are made anew only when a fifth came or went, or after a day', async () => {
    const looking = async (now: number) => {
      const looks = counting(database, 'deployment', now)
      await looks.poll()
      await looks[Symbol.asyncDispose]()
      return database.query('select snapshot from ranking_snapshots')
    }
    await statistics.renew()
    const first = await database.query('select snapshot from ranking_snapshots')
    expect(first).toHaveLength(1)
    await store(database, many('more', 60, 'One more.'))
    expect(await looking(Date.now())).toEqual(first)
    const second = await looking(Date.now() + 86_500_000)
    expect(second).not.toEqual(first)
    await store(database, many('most', 90, 'One more.'))
    expect(await looking(Date.now())).not.toEqual(second)
  })

  test('by counts of a sample that never make one sampled passage, hidden or not, a word that counts', async () => {
    await using sampling = createRankingStatistics({
      database,
      sampler: createWordSampler(database),
      scope: 'deployment',
      now: Date.now,
      log: () => undefined,
      everyMs: 3_600_000,
      sampleMax: 20,
    })
    const counted = async () => {
      await sampling.renew()
      return database.query<{ lexeme: string; passages: number }>(
        'select lexeme, passages from ranking_words order by lexeme',
      )
    }
    const before = await counted()
    // A passage of the sample stands for ten and more.
    const [corpus] = await database.query<{ passages: number }>('select passages from ranking_corpora')
    expect(corpus?.passages).toBeGreaterThan(20 * 10)
    expect(before.length).toBeGreaterThan(0)
    // The first by their digests are in every sample.
    const hide = (passages: number) =>
      database.query(
        `update chunk_words set tsv = tsv || to_tsvector('english', 'zeppelin')
         where chunk_id in (select chunk_id from chunk_words order by chunk_id limit $1)`,
        [passages],
      )
    await hide(1)
    expect(await counted()).toEqual(before)
    await hide(9)
    expect(await counted()).toEqual(before)
    await hide(10)
    expect((await counted()).map(({ lexeme }) => lexeme)).toContain('zeppelin')
    await database.query(`update chunk_words set tsv = ts_delete(tsv, 'zeppelin')`)
    await statistics.renew()
  })

  test('by counts of each collection its own, where that is set: one says nothing of the words of another', async () => {
    await using each = counting(database, 'collection')
    await each.renew()
    const search = createSearch({
      sql: database,
      index: createPostgresIndex({ database }),
      statistics: 'collection',
    })
    const found = async (ids: readonly string[]) =>
      search.keyword(await visibleByQuery({ database }, ids, {}), 'amber jetty', 300)
    const before = await found(all)
    expect(before).toHaveLength(300)
    await store(database, many('f', 50, 'The jetty.'), 'two')
    await each.renew()
    expect(await found(all)).toEqual(before)
    expect(await found(['f/1', 'f/2'])).toHaveLength(2)
    const rows = await database.query(
      `select collection, passages from ranking_words where lexeme = 'jetti' order by collection`,
    )
    expect(rows).toEqual([
      { collection: 'one', passages: 64 },
      { collection: 'two', passages: 45 },
    ])
  })
})

describe('a question of more words than count', () => {
  const others = Array.from({ length: 64 }, (_, index) => `w${1_000 + index}`).join(' ')

  test('finds its first ones however often they stand in a collection that one may not read', async () => {
    const own = await openTestDatabase()
    await store(own, { 'o/1': 'The jetty.' }, 'mine')
    await using each = counting(own, 'collection')
    const search = createSearch({
      sql: own,
      index: createPostgresIndex({ database: own }),
      statistics: 'collection',
    })
    const found = async () => {
      await each.renew()
      return search.keyword(await visibleByQuery({ database: own }, ['o/1'], {}), `jetty ${others}`, 10)
    }
    expect(await found()).toHaveLength(1)
    await store(own, many('h', 2_000, 'The jetty.'), 'hidden')
    expect(await found()).toHaveLength(1)
    await own.close()
  })

  test('has no more rows read for it than 64 for each collection', async () => {
    const own = await openTestDatabase()
    await own.query(`insert into ranking_snapshots (per, passages) values ('collection', 9)`)
    await own.query(
      `insert into ranking_corpora (snapshot, collection, passages, words_on_average)
       select (select max(snapshot) from ranking_snapshots), 'c' || n, 1, 90 from generate_series(1, 50) n`,
    )
    let rowCount = 0
    const counted: Sql = {
      async query(text, values) {
        const rows = await own.query(text, values)
        rowCount += rows.length
        return rows as never
      },
    }
    const words = Array.from({ length: 2_000 }, (_, index) => String(index)).join(' ')
    expect((await weighWords(counted, words, 'collection')).lexemes).toHaveLength(64)
    expect(rowCount).toBe(64 * 50)
    await own.close()
  })
})

describe('an answer', () => {
  test('is the same to the last byte whether a document that one may not read is there or not', async () => {
    await using world = await openWorld()
    const readable = { viewers: ['user:anne'] }
    await world.put(
      Object.fromEntries(
        all.slice(0, 24).map((id, index) => [id, { text: textOf(index), access: readable }]),
      ),
    )
    await world.service.ranking.renew()
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
})

/** BM25 (Robertson and Zaragoza 2009) over the stored words, one by one, by the counts of the snapshot. */
async function oracle(database: Database, visible: AccessFilter, question: string) {
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
