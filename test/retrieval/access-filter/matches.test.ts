import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { seededRandom } from '@remit/vector-index'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { createMatches, type Matches } from '../../../src/retrieval/access-filter/matches.ts'
import { createFiled, visibleByQuery } from '../../../src/retrieval/access-filter/visibility.ts'
import { type Content, contentIn, contentOf } from '../../../src/retrieval/access-filter/visible.ts'
import { type Corpus, createCorpus } from '../../../src/retrieval/corpus/corpus.ts'
import type { Filter } from '../../../src/retrieval/filter.ts'
import type { Database, SqlValue, Statement } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'

const never = 1_000_000_000
const documents = 64
const ids = Array.from({ length: documents + 40 }, (_, at) => `d${at}`)

describeDatabases('what matches a filter', (kind) => {
  let database: Database
  let watched: Database
  let corpus: Corpus
  const statements: string[] = []

  beforeAll(async () => {
    database = await openTestDatabase(kind)
    watched = {
      ...database,
      query: (text, values) => {
        statements.push('find')
        return database.query(text, values)
      },
      queryFixedPlan: (statement, values) => {
        statements.push(statement.name)
        return database.queryFixedPlan(statement, values)
      },
    }
    await database.query(`insert into collections (id, title) values ('c', 'C'), ('d', 'D')`)
    await database.query(`insert into fields (name, type) values ('year', 'number'), ('team', 'string')`)
    for (let at = 0; at < documents; at++) await insert(at)
  })
  afterAll(() => database?.close())
  beforeEach(async () => {
    corpus = createCorpus({ database, log: () => undefined, pollMs: never, staleAfterMs: never })
    await corpus.refresh()
    statements.length = 0
    return () => corpus[Symbol.asyncDispose]()
  })

  const insert = (at: number) =>
    database.query(
      `insert into documents (id, collection, live_revision, chunk_count, metadata) values ($1, $2, 1, $3, $4)`,
      [`d${at}`, at % 3 === 0 ? 'd' : 'c', 1 + (at % 4), { year: 2000 + (at % 8), team: `t${at % 5}` }],
    )
  /** As a publication does. */
  const publish = (id: string, metadata: object) =>
    database.query('update documents set live_revision = live_revision + 1, metadata = $2 where id = $1', [
      id,
      metadata,
    ])
  const table = () => {
    const known = corpus.current()
    if (known === undefined) throw new Error('The corpus was not read.')
    return known
  }
  const contentOfAll = (isSeen: (docNo: number) => boolean = () => true): Content => {
    const docNos = Int32Array.from(table().live()).filter(isSeen)
    return contentOf(
      docNos,
      docNos.reduce((sum, docNo) => sum + table().chunksOf(docNo), 0),
    )
  }
  const shown = (content: Content) => [
    [...content.docNos()],
    content.size,
    content.chunks,
    [...contentOf(content.docNos(), 0).bits()].join().replace(/(,0)*$/, ''),
  ]
  /** What is equal is seen in columns, what lies between is asked for. */
  const forms: [string, (team: string) => Filter][] = [
    ['in columns', (team) => ({ team })],
    ['asked for', (team) => ({ team: { gte: team, lte: team } })],
  ]
  const between = (year: number): Filter => ({ year: { gte: year, lt: year + 1 } })
  /** What is read of documents is read: from here on it is one statement where nothing changes. */
  const settled = (matches: Matches, filter: Filter) =>
    vi.waitUntil(
      async () => {
        statements.length = 0
        await matches.within(contentOfAll(), table(), filter)
        return statements.length === 1
      },
      { timeout: 10_000, interval: 5 },
    )
  const lookedUp = async (filter: Filter, collections?: readonly string[]) => {
    const found = await visibleByQuery({ database }, ids, { filter, ...(collections && { collections }) })
    return [[...found.docNos], found.docNos.length, found.chunks, expect.anything()]
  }

  test('is what the database says, whatever is published, withdrawn and added between two questions', async () => {
    const matches = createMatches({ database: watched, corpus })
    const filed = createFiled(corpus)
    const random = seededRandom(7)
    const pick = (count: number) => Math.floor(random() * count)
    const filters: Filter[] = [
      { year: 2003 },
      { year: { gte: 2002, lt: 2006 }, team: { in: ['t1', 't2', 'x'] } },
      { team: 't4' },
      {},
    ]
    let next = documents
    for (let round = 0; round < 40; round++) {
      for (let change = 0; change < pick(4); change++) {
        const id = `d${pick(next)}`
        if (pick(5) === 0) await insert(next++)
        else if (pick(4) === 0)
          await database.query(
            'update documents set live_revision = case when live_revision is null then 1 end where id = $1',
            [id],
          )
        else await publish(id, { year: 2000 + pick(8), team: pick(3) === 0 ? 'x' : `t${pick(5)}` })
      }
      await corpus.refresh()
      const filter = filters[pick(filters.length)] ?? {}
      const collections = [['c'], ['d'], ['c', 'd'], ['none', 'd'], []][pick(5)] ?? []
      const all = contentOfAll()
      expect(shown(await matches.within(all, table(), filter))).toEqual(await lookedUp(filter))
      const narrowed = filed.within(all, table(), collections)
      expect(shown(await matches.within(narrowed, table(), filter))).toEqual(
        await lookedUp(filter, collections),
      )
    }
  })

  test.each(forms)('follows metadata that is changed without a new revision, too, %s', async (_, form) => {
    const matches = createMatches({ database: watched, corpus })
    const ask = async () => [...(await matches.within(contentOfAll(), table(), form('new'))).docNos()]
    await settled(matches, form('new'))
    expect(await ask()).toEqual([])
    await database.query(`update documents set metadata = '{"team": "new"}' where id = 'd2'`)
    const [now] = await database.query<{ doc_no: number }>(`select doc_no from documents where id = 'd2'`)
    expect(await ask()).toEqual([now?.doc_no])
    await database.query(`update documents set metadata = '{}' where id = 'd2'`)
    expect(await ask()).toEqual([])
  })

  test('costs one statement once it was asked, and one more where something changed', async () => {
    const matches = createMatches({ database: watched, corpus })
    const ask = async (content = contentOfAll()) => {
      statements.length = 0
      await matches.within(content, table(), between(2004))
      return [...statements]
    }
    expect(await ask()).toEqual(['filter_look', 'find'])
    expect(await ask()).toEqual(['filter_look'])
    await publish('d1', { year: 2004 })
    expect(await ask()).toEqual(['filter_look', 'find'])
    // For whoever asks, and whatever they see.
    expect(await ask(contentOfAll(() => false))).toEqual(['filter_look'])
    expect(await ask(contentOfAll((docNo) => docNo === 1))).toEqual(['filter_look'])
  })

  test('is looked for only among what is seen, the first time that somebody asks who sees little', async () => {
    const matches = createMatches({ database: watched, corpus })
    const asked: unknown[] = []
    const spied = createMatches({
      corpus,
      database: {
        ...watched,
        query: (text, values) => {
          asked.push(values?.[0] instanceof Int32Array ? values[0].length : 'all')
          return watched.query(text, values)
        },
      },
    })
    const few = contentOfAll((docNo) => docNo <= 4)
    for (const content of [few, contentOfAll(() => false), few])
      expect(shown(await spied.within(content, table(), between(2001)))).toEqual(
        shown(await matches.within(content, table(), between(2001))),
      )
    expect(asked).toEqual([few.size, 'all'])
  })

  test('is read once for all who ask at once', async () => {
    const matches = createMatches({ database: watched, corpus })
    await Promise.all(Array.from({ length: 8 }, () => matches.within(contentOfAll(), table(), between(2001))))
    expect(statements.filter((one) => one === 'find')).toHaveLength(1)
  })

  test('is refused where a field was taken away or has another type since, whatever was asked before', async () => {
    const matches = createMatches({ database: watched, corpus })
    const filter = { team: 't1' }
    const count = async () => (await matches.within(contentOfAll(), table(), filter)).size
    const before = await count()
    expect(before).toBeGreaterThan(0)
    await database.query(`update fields set type = 'number' where name = 'team'`)
    for (const content of [contentOfAll(), contentOfAll(() => false)])
      await expect(matches.within(content, table(), filter)).rejects.toMatchObject({ field: 'filter.team' })
    await database.query(`delete from fields where name = 'team'`)
    await expect(matches.within(contentOfAll(), table(), filter)).rejects.toMatchObject({
      field: 'filter.team',
    })
    await database.query(`insert into fields (name, type) values ('team', 'string')`)
    expect(await count()).toBe(before)
  })

  test('is kept in so many bytes, those not asked for longest going first', async () => {
    const matches = createMatches({ database: watched, corpus, bytesMax: 200 })
    const ask = async (year: number) => {
      statements.length = 0
      await matches.within(contentOfAll(), table(), between(year))
      return statements.length
    }
    expect([await ask(2001), await ask(2002), await ask(2001), await ask(2003)]).toEqual([2, 2, 1, 2])
    expect([await ask(2001), await ask(2002)]).toEqual([1, 2])
  })

  test('holds nothing of the text of a filter, whether it was refused, asked once or kept', async () => {
    const matches = createMatches({ database, corpus })
    const ask = (filter: Filter, isSeen?: () => boolean) =>
      matches.within(contentOfAll(isSeen), table(), filter).then(
        () => undefined,
        () => undefined,
      )
    setFlagsFromString('--expose-gc')
    const heap = () => {
      runInNewContext('gc')()
      return process.memoryUsage().heapUsed
    }
    const before = heap()
    for (let at = 0; at < 6; at++) {
      const text = `${at}`.padEnd(2_000_000, 'x')
      await ask({ secret: text })
      await ask({ secret: text }, () => false)
      await ask({ team: `${text}y` }, () => false)
      await ask({ team: text })
    }
    expect(heap() - before).toBeLessThan(8_000_000)
  })

  test.each(forms)(
    'looks at as much, whether or not a document matches that is not seen, %s',
    async (_, form) => {
      const seen = contentOfAll((docNo) => docNo % 2 === 0).bits()
      await database.query(
        `insert into documents (id, collection, live_revision, chunk_count, metadata)
       select 'hidden' || at, 'c', 1, 1, '{"team":"hidden"}' from generate_series(1, 40) as at`,
      )
      // With room, as snapshots have it.
      const bits = Buffer.alloc(seen.length + 64)
      bits.set(seen)
      const { size, chunks } = table().countIn(bits)
      const cost = async (team: string, matches = createMatches({ database, corpus })) => {
        let read = 0
        const counted = new Proxy(bits, {
          get(target, key) {
            if (typeof key === 'string' && /^\d+$/.test(key)) read += 1
            return Reflect.get(target, key, target)
          },
        })
        const found = await matches.within(contentIn(counted, { size, chunks }), table(), form(team))
        return { read, length: found.bits().length, size: found.size }
      }
      // Before this process has read of it.
      const { length } = await cost('hidden')
      expect(await cost('of nobody')).toMatchObject({ length, size: 0 })
      await corpus.refresh()
      expect(await cost('of nobody')).toEqual(await cost('hidden'))
      // Nor where the bits were made before there was so much.
      const matches = createMatches({ database: watched, corpus })
      for (const team of ['hidden', 'of nobody']) await settled(matches, form(team))
      await database.query(`update documents set metadata = '{}' where id = 'hidden40'`)
      expect(await cost('of nobody', matches)).toEqual(await cost('hidden', matches))
      await database.query(`delete from documents where id like 'hidden%'`)
    },
  )

  test('is looked for again once the corpus was read anew, also by who asked before', async () => {
    let replaced: () => void = () => undefined
    let reads = 0
    let wait: Promise<void> | undefined
    const matches = createMatches({
      corpus: {
        onReplaced(listener) {
          replaced = listener
        },
      },
      database: {
        ...watched,
        query: async <Row extends object>(text: string, values?: readonly SqlValue[]) => {
          reads += 1
          const rows = await database.query<Row>(text, values)
          await wait
          return rows
        },
      },
    })
    const ask = () => matches.within(contentOfAll(), table(), between(2002))
    await ask()
    await ask()
    expect(reads).toBe(1)
    replaced()
    const { promise, resolve } = Promise.withResolvers<void>()
    wait = promise
    const underWay = ask()
    await vi.waitUntil(() => reads === 2, { timeout: 10_000 })
    replaced()
    resolve()
    await underWay
    await ask()
    expect(reads).toBe(3)
  })

  test.each(forms)(
    'is looked for again where another server took over, which gives numbers of lost transactions again, %s',
    async (_, form) => {
      let server = ''
      const matches = createMatches({
        corpus,
        database: {
          ...watched,
          queryFixedPlan: async <Row extends object>(statement: Statement, values: readonly SqlValue[]) => {
            const rows = await watched.queryFixedPlan<Row>(statement, values)
            return server === '' ? rows : rows.map((row) => ({ ...row, server }))
          },
        },
      })
      const count = async () => (await matches.within(contentOfAll(), table(), form('again'))).size
      await database.query(`update documents set metadata = '{}' where id = 'd7'`)
      await settled(matches, form('again'))
      expect(await count()).toBe(0)
      await publish('d7', { team: 'again' })
      await database.query(`update documents set changed_in = '3'::xid8 where id = 'd7'`)
      expect(await count()).toBe(0)
      server = 'another'
      expect(await count()).toBe(1)
    },
  )

  /** Looks at all documents, and among those seen, end when they are let go. */
  const heldLooks = () => {
    const looks = { all: [] as (() => void)[], among: [] as (() => void)[], holdsAmong: false }
    const matches = createMatches({
      corpus,
      database: {
        ...watched,
        query: async <Row extends object>(text: string, values?: readonly SqlValue[]) => {
          const isAmong = values?.[0] instanceof Int32Array
          const { promise, resolve } = Promise.withResolvers<void>()
          looks[isAmong ? 'among' : 'all'].push(resolve)
          if (!isAmong || looks.holdsAmong) await promise
          return watched.query<Row>(text, values)
        },
      },
    })
    return { matches, looks }
  }

  test('looks at everything once at a time, and nobody waits for the look of another filter', async () => {
    const { matches, looks } = heldLooks()
    const first = matches.within(contentOfAll(), table(), between(2001))
    await vi.waitUntil(() => looks.all.length === 1, { timeout: 10_000 })
    for (const isSeen of [() => true, () => false, (docNo: number) => docNo <= 3]) {
      const content = contentOfAll(isSeen)
      for (const year of [2006, 2006, 2007])
        expect((await matches.within(content, table(), between(year))).size).toBeLessThanOrEqual(content.size)
    }
    const joined = matches.within(contentOfAll(), table(), between(2001))
    const few = await matches.within(
      contentOfAll(() => false),
      table(),
      between(2001),
    )
    expect([few.size, looks.all.length]).toEqual([0, 1])
    looks.all[0]?.()
    expect(shown(await joined)).toEqual(shown(await first))
    expect(looks.all).toHaveLength(1)
  })

  test('begins no look for a request that is over, and lets nobody wait for those of another person', async () => {
    const { matches, looks } = heldLooks()
    const first = matches.within(contentOfAll(), table(), between(2001))
    await vi.waitUntil(() => looks.all.length === 1, { timeout: 10_000 })
    looks.holdsAmong = true
    const request = new AbortController()
    const anne = { person: 'user:anne', signal: request.signal }
    const asked = Array.from({ length: 8 }, (_, at) =>
      matches.within(contentOfAll(), table(), { year: { gte: 2000 + at / 10 } }, anne),
    )
    const outcomes = Promise.allSettled(asked)
    await vi.waitUntil(() => looks.among.length === 2, { timeout: 10_000 })
    looks.holdsAmong = false
    expect((await matches.within(contentOfAll(), table(), {}, { person: 'user:bob' })).size).toBe(
      contentOfAll().size,
    )
    request.abort()
    for (const letGo of [...looks.among, ...looks.all]) letGo()
    expect((await outcomes).map(({ status }) => status).sort()).toEqual([
      ...Array(2).fill('fulfilled'),
      ...Array(6).fill('rejected'),
    ])
    await first
    await expect(matches.within(contentOfAll(), table(), between(2002), anne)).rejects.toMatchObject({
      code: 'deadline_exceeded',
    })
    // Two of hers, one of his.
    expect([looks.among.length, looks.all.length]).toEqual([3, 1])
  })

  test('is kept where the request was over before its look had ended', async () => {
    const { matches, looks } = heldLooks()
    const request = new AbortController()
    const asked = matches.within(contentOfAll(), table(), between(2003), { signal: request.signal })
    const outcome = asked.catch((error: unknown) => error)
    await vi.waitUntil(() => looks.all.length === 1, { timeout: 10_000 })
    request.abort()
    expect(await outcome).toMatchObject({ name: 'AbortError' })
    looks.all[0]?.()
    await vi.waitUntil(
      async () => {
        statements.length = 0
        await matches.within(
          contentOfAll(() => false),
          table(),
          between(2003),
        )
        return statements.length === 1
      },
      { timeout: 10_000, interval: 5 },
    )
    expect(looks.all).toHaveLength(1)
  })

  if (kind === 'postgres')
    test.each(forms)(
      'has what a transaction wrote that was begun before others and committed after them, %s',
      async (_, form) => {
        const matches = createMatches({ database: watched, corpus })
        const count = async () => (await matches.within(contentOfAll(), table(), form('late'))).size
        await database.query(`update documents set metadata = '{}' where id in ('d2', 'd3')`)
        await settled(matches, form('late'))
        expect(await count()).toBe(0)
        let commit: () => void = () => undefined
        let written: () => void = () => undefined
        const isWritten = new Promise<void>((resolve) => {
          written = resolve
        })
        const first = database.transaction(async (sql) => {
          await sql.query(
            `update documents set live_revision = 9, metadata = '{"team":"late"}' where id = 'd2'`,
          )
          written()
          await new Promise<void>((resolve) => {
            commit = resolve
          })
        })
        await isWritten
        await publish('d3', { team: 'late' })
        expect(await count()).toBe(1)
        commit()
        await first
        expect(await count()).toBe(2)
      },
    )
})
