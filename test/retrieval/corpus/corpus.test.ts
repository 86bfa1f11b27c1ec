import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { type Corpus, type CorpusDeps, createCorpus } from '../../../src/retrieval/corpus/corpus.ts'
import type { Documents } from '../../../src/retrieval/corpus/documents.ts'
import type { Database, Sql } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { moving } from '../../support/moving.ts'

const never = 1_000_000_000
const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one[Symbol.asyncDispose]()
})

/** Looks only when it is told to. */
async function follow(database: Database, options: Partial<CorpusDeps> = {}): Promise<Corpus> {
  const corpus = createCorpus({ database, log: () => undefined, pollMs: never, ...options })
  opened.push(corpus)
  await corpus.refresh()
  return corpus
}

async function insert(sql: Sql, id: string, chunks: number, collection = 'c'): Promise<number> {
  const [row] = await sql.query<{ doc_no: number }>(
    `insert into documents (id, collection, live_revision, chunk_count) values ($1, $2, $3, $4) returning doc_no`,
    [id, collection, chunks === 0 ? null : 1, chunks],
  )
  return row?.doc_no ?? -1
}

const rowsOf = (documents: Documents | undefined) =>
  [...(documents?.live() ?? [])].map((docNo) => [
    documents?.idOf(docNo),
    docNo,
    documents?.collectionOf(docNo),
    documents?.chunksOf(docNo),
  ])

async function rowsIn(sql: Sql) {
  const rows = await sql.query<{ id: string; doc_no: number; collection: string; chunk_count: number }>(
    'select id, doc_no, collection, chunk_count from documents where live_revision is not null and chunk_count > 0 order by doc_no',
  )
  return rows.map(({ id, doc_no, collection, chunk_count }) => [id, doc_no, collection, chunk_count])
}

describeDatabases('the corpus in memory', (kind) => {
  let database: Database
  beforeAll(async () => {
    database = await openTestDatabase(kind)
    await database.query(`insert into collections (id, title) values ('c', 'C'), ('d', 'D')`)
  })
  beforeEach(() => database.query('delete from documents'))
  afterAll(() => database?.close())

  test('counts what came into force as new for as long where the clock is set forward or the machine sleeps', async () => {
    let time = 0
    const corpus = await follow(database, { elapsed: () => time, newForMs: 60_000 })
    const docNo = await insert(database, 'first', 3)
    await corpus.refresh()
    time = 3_600_000
    expect(corpus.lastKnown()?.foundAs(docNo)?.isNew).toBe(true)
  })

  test('knows the publication in force of each document, one that takes another’s place included', async () => {
    const docNo = await insert(database, 'first', 3)
    await database.query('update documents set publication = 7 where doc_no = $1', [docNo])
    const corpus = await follow(database)
    expect(corpus.current()?.publicationOf(docNo)).toBe(7)
    await database.query('update documents set live_revision = 2, publication = 9 where doc_no = $1', [docNo])
    await corpus.refresh()
    expect(corpus.current()?.publicationOf(docNo)).toBe(9)
    await database.query(
      'update documents set live_revision = null, publication = null, chunk_count = 0 where doc_no = $1',
      [docNo],
    )
    await corpus.refresh()
    expect(corpus.current()?.publicationOf(docNo)).toBe(0)
    expect(corpus.current()?.publicationOf(docNo + 1)).toBe(0)
  })

  test('is not worked with after a sleep, until it was looked at again', async () => {
    const corpus = await follow(database, { staleAfterMs: 60_000 })
    expect(corpus.current()).toBeDefined()
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 })
    try {
      expect(corpus.current()).toBeUndefined()
      await corpus.refresh()
      expect(corpus.current()).toBeDefined()
    } finally {
      vi.useRealTimers()
    }
  })

  test('holds what is live, with its exact counts, and tells what came and went', async () => {
    const first = await insert(database, 'first', 3)
    await insert(database, 'hidden', 0)
    const corpus = await follow(database)
    const told: number[] = []
    corpus.onChange((docNos) => void told.push(...docNos))
    const second = await insert(database, 'second', 4, 'd')
    expect(rowsOf(corpus.current())).toEqual([['first', first, 'c', 3]])
    await corpus.changed([second])
    expect(rowsOf(corpus.current())).toEqual(await rowsIn(database))
    expect(corpus.current()).toMatchObject({ size: 2, chunks: 7, end: second + 1 })
    await database.query('update documents set live_revision = null, chunk_count = 0 where doc_no = $1', [
      first,
    ])
    await corpus.refresh()
    expect(rowsOf(corpus.current())).toEqual(await rowsIn(database))
    expect(corpus.current()).toMatchObject({ size: 1, chunks: 4 })
    expect(corpus.current()?.numberOf('first')).toBeUndefined()
    expect(told).toEqual([second, first])
    // Nothing new: nothing is told.
    await corpus.refresh()
    expect(told).toHaveLength(2)
  })

  test('finds at its next look what a process published that was killed before it said so', async () => {
    const corpus = await follow(database, { pollMs: 20 })
    const docNo = await insert(database, 'late', 1)
    await vi.waitFor(() => expect(corpus.current()?.numberOf('late')).toBe(docNo), { timeout: 10_000 })
  })

  test('reads a copy of another database once, whose transactions had higher numbers, and what is new each time', async () => {
    await insert(database, 'copied', 2)
    await database.query(`update documents set changed_in = '900000000000'::xid8`)
    const read: number[] = []
    const watched: Database = {
      ...database,
      query: async <Row extends object>(text: string, values?: readonly never[]) => {
        const rows = await database.query<Row>(text, values)
        if (text.includes('changed_in'))
          read.push(rows.filter((row) => 'id' in row && row.id !== null).length)
        return rows
      },
    }
    const corpus = await follow(watched)
    expect(rowsOf(corpus.current())).toEqual(await rowsIn(database))
    await corpus.refresh()
    await insert(database, 'new', 1)
    await corpus.refresh()
    await corpus.refresh()
    // However often it looked.
    expect(read.reduce((sum, rows) => sum + rows, 0)).toBe(1)
    await database.query(`update documents set chunk_count = 5 where id = 'copied'`)
    await corpus.refresh()
    expect(rowsOf(corpus.current())).toEqual(await rowsIn(database))
  })

  test('is made anew when the database went back in time', async () => {
    const kept = await insert(database, 'kept', 2)
    const lost = await insert(database, 'lost', 3)
    let shift = '1000000:1000000:'
    const before: Database = {
      ...database,
      query: async <Row extends object>(text: string, values?: readonly never[]) => {
        const rows = await database.query<Row>(text, values)
        return shift === ''
          ? rows
          : rows.map((row) => ('snapshot' in row ? { ...row, snapshot: shift } : row))
      },
    }
    const corpus = await follow(before)
    const told: number[] = []
    let replaced = 0
    corpus.onChange((docNos) => void told.push(...docNos))
    corpus.onReplaced(() => {
      replaced += 1
    })
    await corpus.refresh()
    expect(replaced).toBe(0)
    // The older copy never had it, and has given its number to another since.
    await database.query('delete from documents where doc_no = $1', [lost])
    await insert(database, 'another', 1)
    shift = ''
    await corpus.refresh()
    expect(rowsOf(corpus.current())).toEqual(await rowsIn(database))
    expect(corpus.current()?.numberOf('lost')).toBeUndefined()
    expect(told).toContain(lost)
    expect(told).not.toContain(kept)
    expect(replaced).toBe(1)
  })

  test.each([
    ['between two looks', never],
    ['while all is read again', -1],
  ])('is made anew when another server took over that lacks what was seen, %s', async (_, reloadMs) => {
    const lost = await insert(database, 'lost', 3)
    const { database: moved, moveTo } = moving(database)
    const logged: string[] = []
    const corpus = await follow(moved, { reloadMs, log: (event) => void logged.push(event) })
    let replaced = 0
    corpus.onReplaced(() => {
      replaced += 1
    })
    await database.query('delete from documents where doc_no = $1', [lost])
    // Its transactions have higher numbers already.
    await insert(database, 'another', 1)
    moveTo('another')
    await corpus.refresh()
    expect(rowsOf(corpus.current())).toEqual(await rowsIn(database))
    await corpus.refresh()
    expect([replaced, logged]).toEqual([1, ['corpus_server_changed']])
  })

  test('is not believed once it was not heard of, and is again when it is', async () => {
    await insert(database, 'one', 2)
    let isDown = false
    let time = 0
    const failing: Database = {
      ...database,
      query: async (text, values) => {
        if (isDown) throw new Error('down')
        return database.query(text, values)
      },
    }
    const corpus = await follow(failing, { elapsed: () => time })
    isDown = true
    await expect(corpus.refresh()).rejects.toThrow('down')
    // What this process did is committed, whether or not it can be read.
    await corpus.changed([1])
    time = 2_000
    expect(corpus.current()).toBeDefined()
    time = 2_001
    expect(corpus.current()).toBeUndefined()
    expect(corpus.lastKnown()).toMatchObject({ chunks: 2 })
    isDown = false
    await corpus.refresh()
    expect(corpus.current()).toMatchObject({ chunks: 2 })
  })

  // PGlite has one session.
  if (kind === 'postgres')
    test('misses no change that was begun before a look and committed after it', async () => {
      const early = await insert(database, 'early', 1)
      const corpus = await follow(database)
      const { promise: isOpen, resolve: opens } = Promise.withResolvers<void>()
      const { promise: mayCommit, resolve: commits } = Promise.withResolvers<void>()
      const slow = database.transaction(async (sql) => {
        await sql.query('update documents set chunk_count = 9 where doc_no = $1', [early])
        opens()
        await mayCommit
      })
      await isOpen
      await insert(database, 'later', 1)
      for (const _ of [1, 2, 3]) await corpus.refresh()
      expect(corpus.current()?.chunksOf(early)).toBe(1)
      expect(corpus.current()?.numberOf('later')).toBeDefined()
      commits()
      await slow
      await corpus.refresh()
      expect(corpus.current()?.chunksOf(early)).toBe(9)
    })
})
