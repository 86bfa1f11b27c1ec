import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createFailures } from '../../src/ingest/failures.ts'
import { type FoundChunk, NotFound } from '../../src/retrieval/chunk-index/port.ts'
import type { Database } from '../../src/store/sql.ts'
import { openIngestWorld } from '../ingest/world.ts'
import { openWorld, type World } from '../support/world.ts'

/** What the index says in place of the truth; nothing: the truth. */
let lie: ((found: readonly FoundChunk[]) => readonly FoundChunk[]) | undefined

/** Every search of chunks answers as the lie has it. */
function lying(database: Database): Database {
  const told = async (text: string, rows: Promise<object[]>): Promise<object[]> =>
    lie !== undefined && /chunk_words|distance/.test(text) ? [...lie((await rows) as FoundChunk[])] : rows
  return {
    ...database,
    query: <Row extends object>(...sent: Parameters<Database['query']>) =>
      told(sent[0], database.query(...sent)) as Promise<Row[]>,
    queryFixedPlan: <Row extends object>(...sent: Parameters<Database['queryFixedPlan']>) =>
      told(sent[0].text, database.queryFixedPlan(...sent)) as Promise<Row[]>,
  }
}

describe('an index that lies', () => {
  let world: World
  let token: string
  let foreign: FoundChunk
  const chunkOf = async (id: string): Promise<FoundChunk> => {
    const [row] = await world.database.query<FoundChunk>(
      `select c.chunk_id as "chunkId", c.doc_no as "docNo", c.ordinal, 1::float8 as score
       from chunks c join documents d using (doc_no) where d.id = $1`,
      [id],
    )
    if (row === undefined) throw new Error(`Nothing of ${id} is live.`)
    return row
  }

  beforeAll(async () => {
    world = await openWorld({ database: lying })
    await world.put({
      open: { text: 'The merger is planned.', access: { viewers: ['user:anne'] } },
      secret: { text: 'The merger costs 5,000.', access: { viewers: ['user:bob'] } },
    })
    token = await world.token({ user: 'anne' })
    foreign = await chunkOf('secret')
  }, 120_000)
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(() => {
    lie = undefined
  })

  const modes = ['keyword', 'vector', 'hybrid']

  test.each(modes)(
    'by naming a document outside of the filter gets no answer made of it: %s',
    async (mode) => {
      lie = (found) => [...found, foreign]
      const answer = await world.call('POST', '/retrieve', { token, body: { query: 'merger', mode } })
      expect(answer.status).toBe(503)
      expect(await answer.json()).toMatchObject({ code: 'search_unavailable' })
      lie = undefined
      const { results } = await world.retrieve(token, { query: 'merger', mode })
      expect(results.map(({ document_id }) => document_id)).toEqual(['open'])
    },
  )

  test.each(modes)(
    'by giving a hidden chunk another document’s number has none of its text read: %s',
    async (mode) => {
      const { docNo } = await chunkOf('open')
      lie = (found) => [...found, { ...foreign, docNo }]
      const { results } = await world.retrieve(token, { query: 'merger', mode })
      expect(results.map(({ document_id }) => document_id)).toEqual(['open'])
      expect(JSON.stringify(results)).not.toContain('5,000')
    },
  )
})

test('a document that the index lost before it was shown is staged anew and published', async () => {
  let stagedCount = 0
  const lost: number[] = []
  await using world = await openIngestWorld(undefined, {
    retryPauseSecondsMax: 1,
    index: (index) => ({
      ...index,
      async stage(publications) {
        stagedCount += 1
        await index.stage(publications)
        const [publication] = publications
        if (stagedCount > 1 || publication === undefined) return
        lost.push(publication.number)
        await world.database.transaction((sql) => index.forget(sql, publication))
      },
    }),
  })
  const job = await world.put({ id: 'lost', text: 'found again', access: { viewers: ['user:anne'] } })
  expect(await world.done(job)).toMatchObject({ state: 'done', done: 1 })
  expect([lost.length, stagedCount]).toEqual([1, 2])
  expect(await world.sees('user:anne', 'lost')).toBe('found again')
}, 60_000)

test('a document is never given up because the index does not find it, however often', () => {
  const failures = createFailures()
  failures.failed('task', new NotFound(1))
  failures.published()
  const isHopeless = Array.from({ length: 20 }, () => failures.failed('task', new NotFound(1)))
  expect(isHopeless).not.toContain(true)
})

test('a document that the index would not find yet is not published, and is once it would', async () => {
  const shown: boolean[] = []
  let isFound = false
  await using world = await openIngestWorld(undefined, {
    retryPauseSecondsMax: 1,
    index: (index) => ({
      ...index,
      async show(sql, publications) {
        shown.push(isFound)
        if (!isFound) throw new NotFound(publications[0]?.number ?? 0)
        return index.show(sql, publications)
      },
    }),
  })
  const access = { viewers: ['user:anne'] }
  const job = await world.put({ id: 'late', text: 'found late', access })
  await expect.poll(() => shown.length, { timeout: 20_000 }).toBeGreaterThan(0)
  expect(await world.sees('user:anne', 'late')).toBeUndefined()
  isFound = true
  expect(await world.done(job)).toMatchObject({ state: 'done' })
  expect(await world.sees('user:anne', 'late')).toBe('found late')
}, 60_000)
