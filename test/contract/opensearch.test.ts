import { seededRandom } from '@remit/vector-index'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { createEngine } from '../../src/retrieval/chunk-index/opensearch/engine.ts'
import { newGeneration, readGenerations } from '../../src/retrieval/chunk-index/opensearch/generations.ts'
import { countPassages, makeIndex } from '../../src/retrieval/chunk-index/opensearch/mapping.ts'
import { nominateNearest } from '../../src/retrieval/chunk-index/opensearch/nominate.ts'
import {
  createOpensearchIndex,
  openSearchEngine,
} from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import { putPassages } from '../../src/retrieval/chunk-index/opensearch/passages.ts'
import { compareGeneration } from '../../src/retrieval/chunk-index/opensearch/reconcile.ts'
import { NotFound } from '../../src/retrieval/chunk-index/port.ts'
import { createPostgresIndex } from '../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import { retireGenerations } from '../../src/retrieval/chunk-index/postgres/retire-generations.ts'
import { openTestDatabase } from '../support/database.ts'
import { serve, serveRaw } from '../support/hostile-server.ts'
import { native, needsOpensearch, needsPostgres } from '../support/native.ts'
import { openTestEngine } from '../support/opensearch.ts'
import { World } from './chunk-index.ts'
import { type OpensearchSubject, openOpensearchSubject } from './opensearch-index.ts'

const url = native.opensearch ?? ''

interface Hit {
  readonly _score: number
  readonly fields: { readonly n: number[]; readonly ordinal: number[] }
}

interface Answer {
  readonly [member: string]: unknown
  readonly hits: { readonly hits: readonly Hit[] }
}

/** What stands between the service and the engine, and changes what it says. */
class Between {
  /** What the engine says to a search in place of the truth. */
  lie: ((answer: Answer) => object) | undefined
  /** Called before each request goes out; a throw there is the network's. */
  onRequest: (path: string) => void | Promise<void> = () => undefined
  /** What was sent. */
  readonly sent: string[] = []

  readonly fetch: typeof fetch = async (input, init) => {
    const path = new URL(String(input)).pathname
    this.sent.push(`${path} ${String(init?.body ?? '')}`)
    await this.onRequest(path)
    const response = await fetch(input, init)
    if (this.lie === undefined || !path.endsWith('/_search')) return response
    return Response.json(this.lie((await response.json()) as Answer))
  }

  reset(): void {
    this.lie = undefined
    this.onRequest = () => undefined
  }
}

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

  const publish = async (count: number): Promise<number[]> => {
    const docNos: number[] = []
    for (let nth = 0; nth < count; nth += 1) docNos.push(await world.newDocument())
    const publications = docNos.map((docNo) => world.nextPublication(docNo))
    const chunks = publications.map((publication) => world.chunks(publication, 2))
    await world.stageAll(publications, chunks)
    await world.showAll(publications, chunks)
    return docNos
  }
  const rows = async <Row extends object>(text: string, values: readonly number[] = []): Promise<Row[]> =>
    subject.database.query<Row>(text, values)
  const numberOf = async (docNo: number): Promise<number> =>
    (await rows<{ publication: number }>('select publication from documents where doc_no = $1', [docNo]))[0]
      ?.publication ?? 0
  const generation = async () => {
    const [newest] = (await readGenerations(subject.database)).toReversed()
    if (newest === undefined) throw new Error('There is no index.')
    return newest
  }

  describe('that lies gets nothing of it believed:', () => {
    let docNos: number[]
    let foreign: number
    beforeAll(async () => {
      docNos = await publish(6)
      foreign = await numberOf((await publish(1))[0] ?? 0)
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
      if (!path.endsWith('/_search') || failures > 0) return
      failures += 1
      throw new TypeError('fetch failed')
    }
    expect(await subject.index.nearest(world.question(), filter, 3)).toHaveLength(3)
    expect(failures).toBe(1)
  })

  test('is asked at another node, in time, where one hears and says nothing', async () => {
    await using silent = await serveRaw(() => undefined)
    const filter = world.filter(await publish(1))
    const engine = createEngine({ urls: [silent.origin, url], fetch })
    const index = createOpensearchIndex({ database: subject.database, engine, exactMax: 0 })
    const began = performance.now()
    expect(await index.nearest(world.question(), filter, 2)).toHaveLength(2)
    expect(silent.connections()).toBeGreaterThan(0)
    expect(performance.now() - began).toBeLessThan(4_500)
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
    const docNos: number[] = []
    for (let count = 0; count < 60; count += 1) docNos.push(await own.newDocument())
    const publications = docNos.map((docNo) => own.nextPublication(docNo))
    const chunks = publications.map((publication) => own.chunks(publication, 4))
    await own.stageAll(publications, chunks)
    await own.showAll(publications, chunks)
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

  test('is sent no word, no id and no title', async () => {
    between.sent.length = 0
    const docNos = await publish(3)
    await subject.index.words(world.words(), world.filter(docNos), 3)
    const sent = between.sent.join('\n')
    expect(sent).toContain('_bulk')
    expect(sent).toContain('_search')
    expect(sent.match(/amber|basalt|cedar|delta|ember|fjord|c_\d|"d\//g)).toBeNull()
  })

  test('shows nothing that it did not take', async () => {
    const docNo = await world.newDocument()
    const publication = world.nextPublication(docNo)
    between.onRequest = (path) => {
      if (path.endsWith('/_bulk')) throw new TypeError('fetch failed')
    }
    await expect(world.stage(publication)).rejects.toThrow('The search engine refuses')
    await expect(subject.transaction((sql) => subject.index.show(sql, [publication]))).rejects.toBeInstanceOf(
      NotFound,
    )
    between.reset()
    await world.stage(publication)
    // Other content under the same number: what was found is not that.
    between.onRequest = (path) => {
      if (path.endsWith('/_bulk')) throw new TypeError('fetch failed')
    }
    await expect(world.stage(publication)).rejects.toThrow('The search engine refuses')
    await expect(subject.transaction((sql) => subject.index.show(sql, [publication]))).rejects.toBeInstanceOf(
      NotFound,
    )
    between.reset()
    await world.show(publication, await world.stage(publication))
    await world.compare([docNo], 10)
  })

  test('takes nothing in, and so has nothing hidden for it, while there is no index', async () => {
    const [docNo = 0] = await publish(1)
    await retireGenerations(subject.database)
    await expect(world.stage(world.nextPublication(docNo))).rejects.toMatchObject({
      code: 'storage_unavailable',
    })
    await subject.keep()
    await world.compare([docNo], 5)
  })

  test('keeps a process that does not know of it from showing what it does not find', async () => {
    const unaware = createPostgresIndex({ database: subject.database })
    const docNo = await world.newDocument()
    const publication = world.nextPublication(docNo)
    // Before anything is hidden for it.
    await expect(
      unaware.stage([{ ...publication, chunks: world.chunks(publication) }]),
    ).rejects.toMatchObject({ code: 'storage_unavailable' })
    between.onRequest = () => {
      throw new TypeError('fetch failed')
    }
    await expect(world.stage(publication)).rejects.toThrow('The search engine refuses')
    between.reset()
    await expect(subject.transaction((sql) => unaware.show(sql, [publication]))).rejects.toThrow(
      'does not find publication',
    )
    await world.compare([docNo], 5)
  })

  test('keeps the newest content where a put comes late', async () => {
    const docNo = await world.newDocument()
    const publication = world.nextPublication(docNo)
    const { promise: isReleased, resolve: release } = Promise.withResolvers<void>()
    const { promise: isHeld, resolve: held } = Promise.withResolvers<void>()
    let puts = 0
    between.onRequest = async (path) => {
      if (!path.endsWith('/_bulk')) return
      puts += 1
      if (puts > 1) return
      held()
      await isReleased
    }
    const late = world.stage(publication, world.chunks(publication, 3)).then(
      () => 'taken',
      () => 'refused',
    )
    await isHeld
    const chunks = await subjectStage(publication)
    await world.show(publication, chunks)
    release()
    expect(await late).toBe('refused')
    await world.compare([docNo], 10)

    async function subjectStage(one: typeof publication) {
      const content = world.chunks(one, 3)
      await subject.another().stage([{ ...one, chunks: content }])
      return content
    }
  })

  test('is put together anew by itself where its index is gone, and answers nothing until then', async () => {
    const docNos = await publish(3)
    const { index } = await generation()
    await fetch(`${url}/${index}`, { method: 'DELETE' })
    const filter = world.filter(docNos)
    await expect(subject.index.nearest(world.question(), filter, 3)).rejects.toMatchObject({
      code: 'search_unavailable',
    })
    const docNo = await world.newDocument()
    const publication = world.nextPublication(docNo)
    await expect(world.stage(publication)).rejects.toThrow('The search engine refuses')
    expect((await fetch(`${url}/${index}`)).status).toBe(404)
    await subject.keep()
    await world.show(publication, await world.stage(publication))
    await world.compare([...docNos, docNo], 5)
    expect((await generation()).index).not.toBe(index)
  })

  test('that is of another history is never searched, and is dropped', async () => {
    const [docNo = 0] = await publish(1)
    const { index } = await generation()
    await world.compare([docNo], 2)
    await retireGenerations(subject.database)
    await expect(subject.index.nearest(world.question(), world.filter([docNo]), 1)).rejects.toMatchObject({
      code: 'search_unavailable',
    })
    await subject.keep()
    expect((await fetch(`${url}/${index}`)).status).toBe(404)
    await world.compare([docNo], 2)
  })

  test.each([
    [
      'whose passages somebody deleted',
      'search_engine_compared',
      async (index: string, numbers: Int32Array) => {
        for (const number of numbers)
          for (const ordinal of [0, 1])
            await fetch(`${url}/${index}/_doc/${number}-${ordinal}?routing=${number}&refresh=true`, {
              method: 'DELETE',
            })
      },
    ],
    [
      'whose index somebody made anew under its name',
      'search_engine_lost',
      async (index: string) => {
        await fetch(`${url}/${index}`, { method: 'DELETE' })
        await makeIndex(subject.engine, index, { dimensions: 384, perWord: 0.02, shards: 2, refreshMs: 5 })
      },
    ],
  ])('%s is whole again after a turn', async (_, event, empty) => {
    const docNos = await publish(3)
    const { index } = await generation()
    const told = () => subject.logged.filter((one) => one === event).length
    const [before, full] = [told(), await countPassages(subject.engine, index)]
    await empty(index, world.filter(docNos).publications())
    expect(await countPassages(subject.engine, index)).toBeLessThanOrEqual(full - 6)
    await subject.keep()
    await world.compare(docNos, 5)
    expect(told()).toBe(before + 1)
  })

  test('is compared once an hour, whoever did it last, and loses nothing that is published meanwhile', async () => {
    const told = (event: string) => subject.logged.filter((one) => one === event).length
    const compared = () => told('search_engine_compared')
    await subject.keep()
    const before = compared()
    await subject.keep()
    expect(compared()).toBe(before)
    const filled = told('search_engine_filled')
    await rows(`update search_generations set compared_at = now() - interval '1 hour'`)
    let docNos: number[] = []
    await subject.keep({
      ...subject.engine,
      async ask(request, read) {
        const answer = await subject.engine.ask(request, read)
        if (docNos.length === 0 && JSON.stringify(request.body ?? '').includes('composite'))
          docNos = await publish(2)
        return answer
      },
    })
    expect([compared(), told('search_engine_filled')]).toEqual([before + 1, filled])
    const lacking = `select from index_publications i where i.is_shown and not exists (
      select from engine_found f where f.publication = i.publication)`
    expect([docNos.length, await rows(lacking)]).toEqual([2, []])
    expect(await rows('select from search_generations where is_current')).toHaveLength(1)
    await subject.keep()
    expect(compared()).toBe(before + 1)
  })

  test.each([
    [
      'of another cluster',
      200,
      { cluster_uuid: 'another-cluster', version: { distribution: 'opensearch', number: '3.6.0' } },
    ],
    ['that is none', 404, { error: 'no such page' }],
  ])('is kept though a node %s says that its index is not there', async (_, status, said) => {
    const docNos = await publish(1)
    const { index } = await generation()
    await using stray = await serve(({ url: path }, response) => {
      const isIndex = path !== '/'
      response
        .writeHead(isIndex ? 404 : status, { 'content-type': 'application/json' })
        .end(
          JSON.stringify(isIndex && status === 200 ? { error: { type: 'index_not_found_exception' } } : said),
        )
    })
    const both = createEngine({ urls: [stray.origin, url], fetch })
    // The real one does not answer.
    const last = createEngine({ urls: ['http://127.0.0.1:1', stray.origin], fetch })
    for (const engine of [both, last, both]) await subject.keep(engine)
    expect((await generation()).index).toBe(index)
    expect(
      await createOpensearchIndex({ ...subject, engine: both, exactMax: 0 }).nearest(
        world.question(),
        world.filter(docNos),
        2,
      ),
    ).toHaveLength(2)
  })

  test('is kept further where one thing fails: an old index that cannot be dropped holds up nothing', async () => {
    const [docNo = 0, ended = 0] = await publish(2)
    const number = await numberOf(ended)
    const old = await generation()
    await retireGenerations(subject.database)
    await world.hide(ended)
    between.onRequest = (path) => {
      if (path === `/${old.index}`) throw new TypeError('fetch failed')
    }
    await subject.keep()
    await world.compare([docNo], 2)
    expect(
      await rows('select from engine_publications where publication = $1 and removed_at is not null', [
        number,
      ]),
    ).toHaveLength(1)
    between.reset()
    await subject.keep()
    expect((await fetch(`${url}/${old.index}`)).status).toBe(404)
  })

  test('leaves no index behind where it was made and cannot be used', async () => {
    await subject.keep()
    const kept = `/${(await generation()).index}`
    const made = new Set<string>()
    between.onRequest = (path) => {
      if (made.has(path)) throw new TypeError('fetch failed')
      if (path.startsWith('/remit-') && !path.includes('/', 1) && path !== kept) made.add(path)
    }
    await retireGenerations(subject.database)
    await subject.keep()
    between.reset()
    expect(made.size).toBe(1)
    for (const path of made) expect((await fetch(`${url}${path}`)).status).toBe(200)
    await subject.keep()
    expect(await rows('select from search_generations where retired_at is not null')).toEqual([])
    for (const path of made) expect((await fetch(`${url}${path}`)).status).toBe(404)
  })

  test('is made anew where passages have become longer than they were, and searched meanwhile', async () => {
    let perWord = 0.02
    await using other = await openOpensearchSubject({ perWord: () => perWord })
    const own = new World(other, seededRandom(seed))
    const docNo = await own.newDocument()
    await own.publish(docNo, 2)
    const [before] = await readGenerations(other.database)
    perWord = 0.01
    await other.database.query(`update search_generations set compared_at = now() - interval '1 hour'`)
    await other.keep()
    const after = await readGenerations(other.database)
    expect(after.map((one) => one.perWord)).toEqual([0.01])
    expect(after[0]?.id).not.toBe(before?.id)
    await own.compare([docNo], 2)
  })

  test('is compared: what it lost comes back, what came back goes, what nobody knows stays and is counted', async () => {
    const [lost = 0, ended = 0] = await publish(2)
    const current = await generation()
    const [lostNumber, endedNumber] = [await numberOf(lost), await numberOf(ended)]
    const versionOf = async (number: number): Promise<number> =>
      (
        await rows<{ version: number }>('select version from engine_publications where publication = $1', [
          number,
        ])
      )[0]?.version ?? 0
    // Under its own version: as if it had never been there.
    const as = `routing=${lostNumber}&version=${await versionOf(lostNumber)}&version_type=external_gte`
    await fetch(`${url}/${current.index}/_doc/${lostNumber}-1?refresh=true&${as}`, { method: 'DELETE' })
    await world.hide(ended)
    const [late] = await rows<{ version: number }>(`select nextval('engine_versions') as version`)
    const passage = { ordinal: 0, vector: undefined, lexemes: [], version: late?.version ?? 0 }
    await putPassages(subject.engine, current, [
      { ...passage, number: endedNumber },
      { ...passage, number: 2_000_000_001 },
    ])
    expect(await compareGeneration(subject, current)).toEqual({ lacking: 1, back: 1, unknown: 1 })
    await subject.keep()
    await world.compare([lost], 5)
    const listed = await subject.index.listed(0, 10_000)
    expect(listed).toContain(2_000_000_001)
    expect(listed).not.toContain(endedNumber)
  })

  test.each([
    [
      'a field more',
      { method: 'PUT', path: '_mapping', body: { properties: { title: { type: 'keyword' } } } },
    ],
    [
      'a log of what it is asked',
      { method: 'PUT', path: '_settings', body: { 'index.search.slowlog.threshold.query.info': '0ms' } },
    ],
    [
      'puts that a power cut may take back',
      { method: 'PUT', path: '_settings', body: { 'index.translog.durability': 'async' } },
    ],
  ])('with %s in its index is refused at the start, and replaced while it serves', async (_, change) => {
    const { index } = await generation()
    await fetch(`${url}/${index}/${change.path}`, {
      method: change.method,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(change.body),
    })
    const form = async () => ({ dimensions: 384, perWord: 0.02, shards: 1, refreshMs: 5 })
    await expect(openSearchEngine({ ...subject, log: () => undefined, form })).rejects.toThrow(
      'is not as Remit made it',
    )
    await subject.keep()
    expect((await generation()).index).not.toBe(index)
  })
})

test('an index is brought into use only after what a process that does not know of it is showing', {
  ...needsPostgres,
}, async () => {
  await using database = await openTestDatabase('postgres')
  await database.query(`insert into collections (id, title) values ('c', 'c')`)
  await database.query(`insert into documents (id, collection) values ('d', 'c')`)
  await database.query(
    'insert into index_publications (publication, doc_no, chunks) select 1, doc_no, 1 from documents',
  )
  const bringIntoUse = () =>
    database.transaction((sql) => sql.query('lock table search_generations in exclusive mode nowait'))
  await bringIntoUse()
  const { promise: isShown, resolve: shown } = Promise.withResolvers<void>()
  const { promise: isOver, resolve: end } = Promise.withResolvers<void>()
  const showing = database.transaction(async (sql) => {
    await sql.query('update index_publications set is_shown = true')
    shown()
    await isOver
  })
  await isShown
  await expect(bringIntoUse()).rejects.toMatchObject({ code: '55P03' })
  end()
  await showing
  await bringIntoUse()
})

describe.each([
  { kind: 'pglite', until: '1 hour', options: needsOpensearch },
  { kind: 'postgres', until: '-1 second', options: native.opensearch ? needsPostgres : needsOpensearch },
] as const)('on $kind', ({ kind, until, options }) => {
  test('an engine is kept again after a process died in the middle of keeping it', options, async () => {
    await using database = await openTestDatabase(kind)
    await database.query(
      `insert into leases (object, holder, until) values ('search-engine', 'dead', now() + $1::interval)`,
      [until],
    )
    await using opened = await openTestEngine(database)
    expect(await opened.index.listed(0, 1)).toEqual([])
    expect(await database.query('select from leases')).toEqual([])
  })
})

test('a set of any shape lets through its numbers and no other', {
  ...needsOpensearch,
  timeout: 60_000,
}, async () => {
  const random = seededRandom(seed)
  const engine = createEngine({ urls: [url], fetch })
  const form = { dimensions: 2, perWord: 0.01, shards: 1, refreshMs: 5 }
  const generation = newGeneration(form)
  await makeIndex(engine, generation.index, form)
  const near = [0, 1, 4_095, 4_096, 65_535, 65_536, 131_072, 2_147_483_646, 2_147_483_647]
  const held = [...new Set([...near, ...Array.from({ length: 300 }, () => Math.floor(random() * 400_000))])]
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
  await fetch(`${url}/${generation.index}`, { method: 'DELETE' })
})
