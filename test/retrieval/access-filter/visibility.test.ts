import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import { createNominator } from '../../../src/authz/nominate.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { createLocalSights } from '../../../src/retrieval/access-filter/sights.ts'
import { createSnapshots } from '../../../src/retrieval/access-filter/snapshots.ts'
import {
  createVisibility,
  type Narrowing,
  type Visibility,
  visibleByQuery,
} from '../../../src/retrieval/access-filter/visibility.ts'
import { type Corpus, createCorpus } from '../../../src/retrieval/corpus/corpus.ts'
import type { Database } from '../../../src/store/sql.ts'
import { openWorld, type World } from '../../support/world.ts'

const person = (name: string): Principal => ({
  subject: `user:${name}`,
  actors: [],
  client: 'test',
  kind: 'person',
  scopes: new Set(),
  authorizationDetails: [],
  txn: 't',
  expiresAt: Number.POSITIVE_INFINITY,
})

describe('what a question may touch', () => {
  let world: World
  let corpus: Corpus
  let visibility: Visibility
  let isRead = true
  const statements: string[] = []

  beforeAll(async () => {
    world = await openWorld({ embedder: null })
    await world.service.ingest.saveFields(operator('test'), { year: 'number' })
    const shared = (id: number) => ({
      collection: id % 3 === 0 ? 'finance' : 'handbook',
      text: id % 4 === 0 ? `# One\n\nText ${id}.\n\n# Two\n\nMore of ${id}.` : `Text ${id}.`,
      metadata: { year: 2000 + id },
      access: { viewers: ['group:all#member', ...(id < 3 ? ['user:carol'] : [])] },
    })
    await world.put(Object.fromEntries(Array.from({ length: 12 }, (_, id) => [`d${id}`, shared(id)])))
    await world.put({ untagged: { text: 'Of nobody.', metadata: { year: 2001 } } })
    await world.write('user:anne member group:all')
    const { database, service } = world
    const watched: Database = {
      ...database,
      query: (text, values) => {
        statements.push(text.replaceAll(/\s+/g, ' '))
        return database.query(text, values)
      },
      queryFixedPlan: (statement, values) => {
        statements.push(statement.name)
        return database.queryFixedPlan(statement, values)
      },
    }
    corpus = createCorpus({
      database,
      log: () => undefined,
      pollMs: 1_000_000_000,
      staleAfterMs: 1_000_000_000,
    })
    await corpus.refresh()
    const nominator = createNominator({ ...service, now: Date.now, serverDeadlineMs: 2_500 })
    const held = { ...corpus, current: () => (isRead ? corpus.current() : undefined) }
    const snapshots = createSnapshots({ index: service.index, corpus: held })
    await corpus.refresh()
    visibility = createVisibility({
      database: watched,
      sights: createLocalSights({ snapshots, hasTail: () => true }),
      corpus: held,
      nominator,
    })
  })
  afterAll(async () => {
    await corpus?.[Symbol.asyncDispose]()
    await world?.[Symbol.asyncDispose]()
  })

  const narrowings: [string, Narrowing][] = [
    ['nothing but the person', {}],
    ['a collection', { collections: ['finance'] }],
    ['both collections and one that is not there', { collections: ['finance', 'handbook', 'none'] }],
    ['no collection', { collections: [] }],
    ['a filter', { filter: { year: { gte: 2002, lt: 2009 } } }],
    ['a filter that nothing matches', { filter: { year: 1 } }],
    ['a collection and a filter', { collections: ['handbook'], filter: { year: { gte: 2001, lt: 2006 } } }],
  ]

  test.each(narrowings)(
    'is the same from memory as from the database, narrowed by %s',
    async (_, narrowing) => {
      for (const name of ['anne', 'carol', 'nobody']) {
        await vi.waitUntil(() => world.service.index.status().state === 'following', { timeout: 10_000 })
        const { visible, complete } = await visibility.of(person(name), narrowing)
        const ids =
          world.service.index.nominate({ user: `user:${name}`, relation: 'can_read', contextual: [] }) ?? []
        const lookedUp = await visibleByQuery(world, ids, narrowing)
        expect([[...visible.docNos], visible.chunks]).toEqual([[...lookedUp.docNos], lookedUp.chunks])
        expect(visible.docNos.every(visible.has)).toBe(true)
        expect(visible.corpusChunks).toBe(corpus.current()?.chunks)
        expect(complete).toBe(true)
      }
    },
  )

  test('counts what there is', async () => {
    const { visible } = await visibility.of(person('anne'), {})
    expect(visible.docNos).toHaveLength(12)
    const [row] = await world.database.query<{ chunks: number }>(
      `select count(*)::int as chunks from chunks where doc_no = any($1::int[])`,
      [visible.docNos],
    )
    expect(visible.chunks).toBe(row?.chunks)
  })

  test.each(narrowings)(
    'asks the database as much for nobody as for anybody, narrowed by %s',
    async (_, narrowing) => {
      const asked = async (name: string) => {
        statements.length = 0
        await visibility.of(person(name), narrowing)
        return [...statements]
      }
      // That it was asked before tells of a filter, not of who may read what it finds.
      await asked('anne')
      const none = await asked('nobody')
      expect(none).toHaveLength(narrowing.filter === undefined ? 0 : 1)
      expect(await asked('carol')).toEqual(none)
      expect(await asked('anne')).toEqual(none)
    },
  )

  test.each(['anne', 'nobody'])('refuses a field that is not declared, also where %s asks', async (name) => {
    for (const read of [true, false]) {
      isRead = read
      await expect(visibility.of(person(name), { filter: { secret: 1 } })).rejects.toMatchObject({
        code: 'invalid_request',
        field: 'filter.secret',
      })
    }
    isRead = true
  })

  test('is looked up in the database while the corpus is not read, or not heard of', async () => {
    const before = await visibility.of(person('carol'), {})
    isRead = false
    statements.length = 0
    const { visible, complete } = await visibility.of(person('carol'), {})
    isRead = true
    expect(statements).toHaveLength(1)
    expect([...visible.docNos]).toEqual([...before.visible.docNos])
    expect([visible.chunks, visible.corpusChunks, complete]).toEqual([
      before.visible.chunks,
      before.visible.corpusChunks,
      true,
    ])
  })

  test('holds at the next look what another process published or withdrew, which told this one nothing', async () => {
    const count = async () => (await visibility.of(person('carol'), {})).visible.docNos.length
    const before = await count()
    await world.put({ late: { access: { viewers: ['user:carol'] } } })
    expect(await count()).toBe(before)
    await corpus.refresh()
    expect(await count()).toBe(before + 1)
    const service = { subject: 'service:loader', actors: [], client: 'test', txn: 't' } as const
    await world.service.ingest.withdraw(service, 'late')
    await corpus.refresh()
    expect(await count()).toBe(before)
  })

  test('changes with a group, a folder and a share, and no row of the corpus is touched by them', async () => {
    const rows = () =>
      world.database.query(
        `select 'd' as of, doc_no::text as id, xmin::text, ctid::text from documents
         union all select 'c', chunk_id, xmin::text, ctid::text from chunks order by 1, 2`,
      )
    const count = async (name: string) => (await visibility.of(person(name), {})).visible.docNos.length
    const before = await rows()
    expect(await count('bob')).toBe(0)
    await world.write('user:bob member group:all')
    expect(await count('bob')).toBe(12)
    await world.write('user:dan viewer document:d1')
    expect(await count('dan')).toBe(1)
    await world.write(
      'collection:handbook filed_in folder:f',
      'folder:f parent document:d2',
      'user:dan viewer folder:f',
    )
    expect(await count('dan')).toBe(2)
    await world.remove('user:dan viewer document:d1')
    expect(await count('dan')).toBe(1)
    expect(await rows()).toEqual(before)
    expect(before.length).toBeGreaterThan(24)
  })
})
