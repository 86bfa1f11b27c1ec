import { seededRandom } from '@remit/vector-index'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { createEngine } from '../../src/retrieval/chunk-index/opensearch/engine.ts'
import { readGenerations } from '../../src/retrieval/chunk-index/opensearch/generations.ts'
import { countPassages, makeIndex } from '../../src/retrieval/chunk-index/opensearch/mapping.ts'
import {
  createOpensearchIndex,
  openSearchEngine,
} from '../../src/retrieval/chunk-index/opensearch/opensearch-index.ts'
import { putPassages } from '../../src/retrieval/chunk-index/opensearch/passages.ts'
import { indexOf } from '../../src/retrieval/chunk-index/opensearch/ranges.ts'
import { compareGeneration, removeEnded } from '../../src/retrieval/chunk-index/opensearch/reconcile.ts'
import { beginEngine } from '../../src/retrieval/chunk-index/opensearch/upkeep.ts'
import { NotFound } from '../../src/retrieval/chunk-index/port.ts'
import { createPostgresIndex } from '../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import { retireGenerations } from '../../src/retrieval/chunk-index/postgres/retire-generations.ts'
import { openTestDatabase } from '../support/database.ts'
import { serve } from '../support/hostile-server.ts'
import { native, needsOpensearch, needsPostgres } from '../support/native.ts'
import { openTestEngine } from '../support/opensearch.ts'
import { World } from './chunk-index.ts'
import { Between, newestGeneration, numberOf, publishNew } from './opensearch-between.ts'
import { type OpensearchSubject, openOpensearchSubject } from './opensearch-index.ts'

const url = native.opensearch ?? ''

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
  const rows = async <Row extends object>(text: string, values: readonly number[] = []): Promise<Row[]> =>
    subject.database.query<Row>(text, values)
  const generation = () => newestGeneration(subject)
  const indexName = async () => indexOf(await generation(), 0)

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
    const index = await indexName()
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
    expect(await indexName()).not.toBe(index)
  })

  test('that is of another history is never searched, and is dropped', async () => {
    const [docNo = 0] = await publish(1)
    const index = await indexName()
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
    const index = await indexName()
    const told = () => subject.logged.filter((one) => one === event).length
    const { name } = await generation()
    const [before, full] = [told(), await countPassages(subject.engine, name)]
    await empty(index, world.filter(docNos).publications())
    expect(await countPassages(subject.engine, name)).toBeLessThanOrEqual(full - 6)
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
    const index = await indexName()
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
    expect(await indexName()).toBe(index)
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
    const number = await numberOf(subject, ended)
    const old = await indexName()
    await retireGenerations(subject.database)
    await world.hide(ended)
    between.onRequest = (path) => {
      if (path === `/${old}`) throw new TypeError('fetch failed')
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
    expect((await fetch(`${url}/${old}`)).status).toBe(404)
  })

  test('leaves no index behind where it was made and cannot be used', async () => {
    await subject.keep()
    const kept = `/${await indexName()}`
    const made = new Set<string>()
    between.onRequest = (path) => {
      if (made.has(path)) throw new TypeError('fetch failed')
      if (path.startsWith('/remit-') && !/[*/]/.test(path.slice(1)) && path !== kept) made.add(path)
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

  test('makes no index for what is removed from one that a new generation does not have yet', async () => {
    await using other = await openOpensearchSubject({ width: 3 })
    const own = new World(other, seededRandom(seed))
    const docNos = await publishNew(own, 4)
    await retireGenerations(other.database)
    const [first = 0] = docNos
    await other.transaction(async (sql) => {
      await other.noteHidden(sql, first)
      await other.index.hide(sql, [first])
    })
    // With the newest one alone, as where a process ends before it has filled it.
    await beginEngine(other.upkeep)
    expect((await newestGeneration(other)).ranges).toEqual([1])
    expect(await removeEnded(other, 0)).toBe(1)
    await other.keep()
    const { name, ranges } = await newestGeneration(other)
    expect(ranges).toEqual([0, 1])
    const listed = (await (await fetch(`${url}/${name}*`)).json()) as object
    expect(Object.keys(listed).sort()).toEqual([`${name}-0`, `${name}-1`])
    await own.compare(docNos.slice(1), 10)
  })

  test('drops an index in which nothing is any more, and no other', async () => {
    await using other = await openOpensearchSubject({ width: 3 })
    const own = new World(other, seededRandom(seed))
    const docNos = await publishNew(own, 7)
    const seen = other.another()
    const nearest = () => seen.nearest(own.question(), own.filter(docNos), 20)
    await nearest()
    const { name, ranges } = await newestGeneration(other)
    expect(ranges).toEqual([0, 1, 2])
    // 3 to 5 are those of the second.
    for (const docNo of docNos) if ([3, 4, 5].includes(await numberOf(other, docNo))) await own.hide(docNo)
    await other.database.query(`update search_generations set compared_at = now() - interval '1 hour'`)
    await other.keep()
    expect((await newestGeneration(other)).ranges).toEqual([0, 2])
    expect(other.logged).toContain('search_engine_emptied')
    expect((await fetch(`${url}/${name}-1`)).status).toBe(404)
    // One that remembers it asks for it, and once more without.
    expect(new Set((await nearest()).map(({ docNo }) => docNo)).size).toBe(4)
    await own.compare(docNos, 20)
  })

  test('is waited for where it makes no index, and no document is given up', async () => {
    await using other = await openOpensearchSubject({ fetch: between.fetch, width: 1 })
    const own = new World(other, seededRandom(seed))
    between.respond = (path, method) =>
      method === 'PUT' && path.startsWith('/remit-')
        ? Response.json({ error: { type: 'validation_exception' }, status: 400 }, { status: 400 })
        : undefined
    const docNo = await own.newDocument()
    const publication = own.nextPublication(docNo)
    await expect(own.stage(publication)).rejects.toMatchObject({ code: 'storage_unavailable' })
    between.reset()
    await own.show(publication, await own.stage(publication))
    await own.compare([docNo], 5)
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
    const [lostNumber, endedNumber] = [await numberOf(subject, lost), await numberOf(subject, ended)]
    const versionOf = async (number: number): Promise<number> =>
      (
        await rows<{ version: number }>('select version from engine_publications where publication = $1', [
          number,
        ])
      )[0]?.version ?? 0
    // Under its own version: as if it had never been there.
    const as = `routing=${lostNumber}&version=${await versionOf(lostNumber)}&version_type=external_gte`
    await fetch(`${url}/${indexOf(current, 0)}/_doc/${lostNumber}-1?refresh=true&${as}`, { method: 'DELETE' })
    await world.hide(ended)
    const [late] = await rows<{ version: number }>(`select nextval('engine_versions') as version`)
    const passage = { ordinal: 0, vector: undefined, lexemes: [], version: late?.version ?? 0 }
    await putPassages(subject.engine, current, [
      { ...passage, number: endedNumber },
      { ...passage, number: 999_999 },
    ])
    expect(await compareGeneration(subject, current)).toEqual({ lacking: 1, back: 1, unknown: 1 })
    await subject.keep()
    await world.compare([lost], 5)
    const listed = await subject.index.listed(0, 10_000)
    expect(listed).toContain(999_999)
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
    const index = await indexName()
    await fetch(`${url}/${index}/${change.path}`, {
      method: change.method,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(change.body),
    })
    const form = async () => ({ dimensions: 384, perWord: 0.02, shards: 1, refreshMs: 5, width: 1_000_000 })
    await expect(openSearchEngine({ ...subject, log: () => undefined, form })).rejects.toThrow(
      'is not as Remit made it',
    )
    await subject.keep()
    expect(await indexName()).not.toBe(index)
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
