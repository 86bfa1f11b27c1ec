import { seededRandom } from '@remit/vector-index'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { createEngine } from '../../src/retrieval/chunk-index/opensearch/engine.ts'
import { newGeneration } from '../../src/retrieval/chunk-index/opensearch/generations.ts'
import { makeIndex } from '../../src/retrieval/chunk-index/opensearch/mapping.ts'
import { nominateNearest } from '../../src/retrieval/chunk-index/opensearch/nominate.ts'
import { createOpensearchIndex } from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import { putPassages } from '../../src/retrieval/chunk-index/opensearch/passages.ts'
import { indexOf, rangeOf } from '../../src/retrieval/chunk-index/opensearch/ranges.ts'
import { serveRaw } from '../support/hostile-server.ts'
import { native, needsOpensearch } from '../support/native.ts'
import { World } from './chunk-index.ts'
import {
  type Answer,
  Between,
  type Hit,
  newestGeneration,
  numberOf,
  publishNew,
} from './opensearch-between.ts'
import { type OpensearchSubject, openOpensearchSubject } from './opensearch-index.ts'

const url = native.opensearch ?? ''

const withHits = (answer: Answer, hits: readonly Hit[]): object => ({
  ...answer,
  hits: { ...answer.hits, hits },
})

const hit = (n: number, ordinal = 0): Hit => ({ _score: 99, fields: { n: [n], ordinal: [ordinal] } })

describe('the engine', needsOpensearch, () => {
  let subject: OpensearchSubject
  let world: World
  const between = new Between()
  beforeAll(async () => {
    subject = await openOpensearchSubject({ fetch: between.fetch })
    world = new World(subject, seededRandom(seed))
  }, 60_000)
  afterAll(() => subject?.[Symbol.asyncDispose]())
  afterEach(() => between.reset())

  const publish = (documents: number) => publishNew(world, documents)

  describe('that lies gets nothing of it believed:', () => {
    let docNos: number[]
    let foreign: number
    beforeAll(async () => {
      docNos = await publish(6)
      foreign = await numberOf(subject, (await publish(1))[0] ?? 0)
    })

    const lies: readonly (readonly [string, (answer: Answer) => object])[] = [
      ['a number outside of the filter', (answer) => withHits(answer, [...answer.hits.hits, hit(foreign)])],
      ['a number that never was', (answer) => withHits(answer, [...answer.hits.hits, hit(2_000_000_000)])],
      [
        'a passage twice',
        (answer) =>
          withHits(
            answer,
            answer.hits.hits.flatMap((one) => [one, one]),
          ),
      ],
      ['a shard that failed', (answer) => ({ ...answer, _shards: { total: 2, successful: 1, failed: 1 } })],
      [
        'a shard that is missing',
        (answer) => ({ ...answer, _shards: { total: 2, successful: 1, failed: 0 } }),
      ],
      ['an end of its time', (answer) => ({ ...answer, timed_out: true })],
      ['an early end', (answer) => ({ ...answer, terminated_early: true })],
      ['hits without places', (answer) => withHits(answer, [{ ...hit(1), fields: { n: [], ordinal: [] } }])],
      ['something else', () => ({ took: 1 })],
    ]
    test.each(lies)('%s is a refusal, by vectors and by words', async (_, lie) => {
      const filter = world.filter(docNos)
      const question = world.question()
      const truth = await subject.index.nearest(question, filter, 5)
      between.lie = lie
      await expect(subject.index.nearest(question, filter, 5)).rejects.toMatchObject({
        code: 'search_unavailable',
      })
      await expect(subject.index.words(world.words(), filter, 5)).rejects.toMatchObject({
        code: 'search_unavailable',
      })
      between.reset()
      expect(await subject.index.nearest(question, filter, 5)).toEqual(truth)
    })

    test('fewer of the nearest than there are is a refusal', async () => {
      between.lie = (answer) => withHits(answer, answer.hits.hits.slice(0, 4))
      await expect(subject.index.nearest(world.question(), world.filter(docNos), 5)).rejects.toMatchObject({
        code: 'search_unavailable',
      })
    })

    test('scores and places that are not so change neither order nor scores', async () => {
      const filter = world.filter(docNos)
      const question = world.question()
      const truth = await subject.index.nearest(question, filter, 5)
      between.lie = (answer) =>
        withHits(answer, [
          ...answer.hits.hits.toReversed().map((one, nth) => ({ ...one, _score: nth })),
          { ...hit(answer.hits.hits[0]?.fields.n[0] ?? 0, 77) },
        ])
      expect(await subject.index.nearest(question, filter, 5)).toEqual(truth)
    })
  })

  test('what an engine refuses is compared by Postgres where it is little', async () => {
    await using few = await openOpensearchSubject({ fetch: between.fetch, exactMax: 1_000 })
    const little = new World(few, seededRandom(seed))
    const docNo = await little.newDocument()
    await little.publish(docNo, 4)
    const question = little.question()
    const filter = little.filter([docNo])
    const [nearest, words] = [
      await few.index.nearest(question, filter, 3),
      await few.index.words(little.words(), filter, 3),
    ]
    between.onRequest = () => {
      throw new TypeError('fetch failed')
    }
    expect(await few.index.nearest(question, filter, 3)).toEqual(nearest)
    expect(await few.index.words(little.words(), filter, 3)).toEqual(words)
    expect(nearest.length).toBe(3)
    between.reset()
  })

  test('is asked once more at another node where one does not answer', async () => {
    const filter = world.filter(await publish(2))
    let failures = 0
    between.onRequest = (path) => {
      if (path !== '/_msearch' || failures > 0) return
      failures += 1
      throw new TypeError('fetch failed')
    }
    expect(await subject.index.nearest(world.question(), filter, 3)).toHaveLength(3)
    expect(failures).toBe(1)
  })

  test('is asked at another node, in time, where one hears and says nothing', async () => {
    await using silent = await serveRaw(() => undefined)
    const filter = world.filter(await publish(1))
    let took = Number.POSITIVE_INFINITY
    // What the machine does beside only adds: the quickest of three.
    for (let tries = 0; tries < 3 && took >= 4_500; tries += 1) {
      const engine = createEngine({ urls: [silent.origin, url], fetch })
      const index = createOpensearchIndex({ database: subject.database, engine, exactMax: 0 })
      const connections = silent.connections()
      const began = performance.now()
      expect(await index.nearest(world.question(), filter, 2)).toHaveLength(2)
      took = performance.now() - began
      expect(silent.connections()).toBeGreaterThan(connections)
    }
    expect(took).toBeLessThan(4_500)
  })

  test('is not waited for once the signal of a search fires: no other node is asked, nor Postgres', async () => {
    const filter = world.filter(await publish(1))
    for (const find of ['nearest', 'words'] as const) {
      const ending = new AbortController()
      await using silent = await serveRaw(() => ending.abort())
      const refused: unknown[] = []
      const index = createOpensearchIndex({
        database: subject.database,
        engine: createEngine({ urls: [silent.origin, url], fetch: between.fetch }),
        onRefused: (error) => refused.push(error),
      })
      between.sent.length = 0
      const options = { signal: ending.signal }
      await expect(
        find === 'nearest'
          ? index.nearest(world.question(), filter, 2, options)
          : index.words(world.words(), filter, 2, options),
      ).rejects.toMatchObject({ code: 'deadline_exceeded' })
      expect([between.sent.length, refused]).toEqual([1, []])
    }
  })

  test('keeps what was hidden, and it is not found from the commit on', async () => {
    const [docNo = 0, other = 0] = await publish(2)
    const filter = world.filter([docNo, other])
    await subject.transaction(async (sql) => {
      await subject.index.hide(sql, [docNo])
      await subject.noteHidden(sql, docNo)
    })
    // The filter still names it, as that of a process that has not heard.
    const found = await subject.index.nearest(world.question(), filter, 2)
    expect(new Set(found.map((chunk) => chunk.docNo))).toEqual(new Set([other]))
    expect(await subject.index.listed(0, 1_000)).toContain(filter.publications()[0])
  })

  test('finds the best by words, in their order, without Postgres looking for them', async () => {
    const statements: string[] = []
    await using watched = await openOpensearchSubject({
      database: (real) => ({
        ...real,
        query: (text, values) => {
          statements.push(text)
          return real.query(text, values)
        },
      }),
    })
    const own = new World(watched, seededRandom(seed))
    const docNos = await publishNew(own, 60, 4)
    for (const limit of [1, 3, 10]) await own.compare(docNos, limit)
    expect(statements.filter((text) => text.includes('ts_rank') && text.includes('p.doc_no = any'))).toEqual(
      [],
    )
    expect(statements.filter((text) => text.includes('ts_rank')).length).toBeGreaterThan(0)
  })

  test('is looked behind where its first hits prove no order: many are equal', async () => {
    const docNo = await world.newDocument()
    const publication = world.nextPublication(docNo)
    const [chunk] = world.chunks(publication, 1)
    if (chunk === undefined) throw new Error('There is no chunk.')
    const lexemes = [{ lexeme: 'amber', count: 2, inTitle: 0 }]
    const same = Array.from({ length: 120 }, (_, ordinal) => ({
      ...chunk,
      lexemes,
      ordinal,
      chunkId: `c_same_${119 - ordinal + 100}`,
    }))
    await world.show(publication, await world.stage(publication, same))
    const words = await subject.index.words(world.words(['amber']), world.filter([docNo]), 3)
    expect(words.map(({ chunkId }) => chunkId)).toEqual(['c_same_100', 'c_same_101', 'c_same_102'])
  })

  test('is looked behind where its first hits prove no order: passages were longer once', async () => {
    await using old = await openOpensearchSubject({ perWord: () => 0.000_1 })
    const own = new World(old, seededRandom(seed))
    const docNo = await own.newDocument()
    const publication = own.nextPublication(docNo)
    const [chunk] = own.chunks(publication, 1)
    if (chunk === undefined) throw new Error('There is no chunk.')
    const long = [
      { lexeme: 'amber', count: 3, inTitle: 0 },
      { lexeme: 'zulu', count: 200, inTitle: 0 },
    ]
    const short = [{ lexeme: 'amber', count: 1, inTitle: 0 }]
    const chunks = Array.from({ length: 120 }, (_, ordinal) => ({
      ...chunk,
      lexemes: ordinal % 40 === 0 ? short : long,
      ordinal,
      chunkId: `c_mixed_${100 + ordinal}`,
    }))
    await own.show(publication, await own.stage(publication, chunks))
    const words = await old.index.words(own.words(['amber']), own.filter([docNo]), 3)
    expect(words.map(({ ordinal }) => ordinal)).toEqual([0, 40, 80])
  })

  test('is asked in each of its indices, whatever somebody may read, each with its slice alone', async () => {
    await using many = await openOpensearchSubject({ fetch: between.fetch, width: 2 })
    const own = new World(many, seededRandom(seed))
    const docNos = await publishNew(own, 7)
    const ranges = (await newestGeneration(many)).ranges.length
    expect(ranges).toBeGreaterThan(3)
    const asked: Readonly<Record<string, number>>[] = []
    for (const some of [docNos, docNos.slice(0, 1), []]) {
      between.sent.length = 0
      // The first one after a new index has come may not know of it.
      await many.index.nearest(own.question(), own.filter(some), 3)
      const [search = ''] = between.sent.filter((sent) => sent.startsWith('/_msearch'))
      const indices = [...search.matchAll(/"index":"([^"]+)"/g)].map(([, index = '']) => index)
      asked.push({ indices: new Set(indices).size, bodies: indices.length })
    }
    expect(asked).toEqual(Array.from({ length: 3 }, () => ({ indices: ranges, bodies: ranges })))
    await own.compare(docNos, 5)
  })

  test('is sent no word, no id and no title', async () => {
    between.sent.length = 0
    const docNos = await publish(3)
    await subject.index.words(world.words(), world.filter(docNos), 3)
    const sent = between.sent.join('\n')
    expect(sent).toContain('_bulk')
    expect(sent).toContain('_msearch')
    expect(sent.match(/amber|basalt|cedar|delta|ember|fjord|c_\d{9}_|"d\//g)).toBeNull()
  })
})

test.each([
  ['one index', 2_147_483_648],
  ['several indices', 100_000],
])(
  'a set of any shape lets through its numbers and no other, in %s',
  {
    ...needsOpensearch,
    timeout: 60_000,
  },
  async (_, width) => {
    const random = seededRandom(seed)
    const engine = createEngine({ urls: [url], fetch })
    const generation = newGeneration({ dimensions: 2, perWord: 0.01, shards: 1, refreshMs: 5, width })
    const near = [0, 1, 4_095, 4_096, 65_535, 65_536, 131_072, 2_147_483_646, 2_147_483_647]
    const held = [...new Set([...near, ...Array.from({ length: 300 }, () => Math.floor(random() * 400_000))])]
    const indices = [...new Set(held.map((number) => indexOf(generation, rangeOf(generation, number))))]
    for (const index of indices) await makeIndex(engine, index, generation)
    await putPassages(
      engine,
      generation,
      held.map((number) => ({ number, version: 1, ordinal: 0, vector: Float32Array.of(1, 0), lexemes: [] })),
    )
    // Strewn, dense without and with long runs, nothing, all of it, and the ends.
    const sets = [0.001, 0.02, 0.3, 0.97].map((share) =>
      Array.from({ length: 400_000 }, (_, number) => number).filter(() => random() < share),
    )
    sets.push(
      [],
      held.toSorted((a, b) => a - b),
      [0],
      [2_147_483_647],
      near,
    )
    for (const set of sets) {
      const numbers = Int32Array.from(set)
      const hits = await nominateNearest(engine, generation, { numbers, size: 500 }, Float32Array.of(1, 0))
      const expected = held.filter((number) => numbers.includes(number))
      expect(hits.map(({ number }) => number).sort((a, b) => a - b)).toEqual(expected.sort((a, b) => a - b))
    }
    for (const index of indices) await fetch(`${url}/${index}`, { method: 'DELETE' })
  },
)
