import { afterAll, beforeAll, expect, test } from 'vitest'
import { visibleByQuery } from '../../src/retrieval/access-filter/visibility.ts'
import type { AccessFilter } from '../../src/retrieval/access-filter/visible.ts'
import { createPostgresIndex } from '../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import { createSearch } from '../../src/retrieval/search.ts'
import { describeBackends } from '../support/backends.ts'
import { createWordEmbedder } from '../support/embedder.ts'
import { openWorld, type World } from '../support/world.ts'

const words = ['amber', 'basalt', 'cedar', 'delta', 'ember', 'fjord', 'grove', 'heath', 'inlet', 'jetty']
const textOf = (index: number): string =>
  [words[index % 10], words[Math.floor(index / 10) % 10], words[(index * 7) % 10], `number ${index}`].join(
    ' ',
  )

describeBackends('search', (backend) => {
  let world: World
  let visible: AccessFilter
  let hidden: readonly string[]
  const embedder = createWordEmbedder()

  beforeAll(async () => {
    world = await openWorld({ backend })
    await world.put(
      Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`d/${index}`, { text: textOf(index) }])),
    )
    const readable = Array.from({ length: 200 }, (_, index) => `d/${index}`).filter(
      (_, index) => index % 3 === 0,
    )
    hidden = Array.from({ length: 200 }, (_, index) => `d/${index}`).filter((_, index) => index % 3 !== 0)
    visible = await visibleByQuery({ database: world.database }, readable, {})
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const searchOf = (onPlan?: (event: object) => void) =>
    createSearch({
      sql: world.database,
      index: createPostgresIndex({ database: world.database, onStrategy: onPlan }),
    })
  const ids = (found: readonly { readonly documentId: string }[]) => found.map(({ documentId }) => documentId)

  test('counts what is visible exactly', () => {
    expect(visible).toMatchObject({ chunks: 67 })
  })

  test('finds nothing outside of the given documents', async () => {
    const search = searchOf()
    for (const question of ['amber cedar', 'jetty basalt number 33', 'grove']) {
      const found = await search.vector(visible, await embedder.embedQuery(question), 10)
      expect(found).toHaveLength(10)
      expect(ids(found).filter((id) => hidden.includes(id))).toEqual([])
    }
  })

  test('tells which plan answered, and neither the question nor who asked', async () => {
    const events: object[] = []
    const search = searchOf((event) => events.push(event))
    await search.vector(visible, await embedder.embedQuery('amber'), 10)
    expect(events).toEqual([
      {
        strategy: 'exact',
        predictedMs: expect.any(Number),
        actualMs: expect.any(Number),
        visible: 67,
        corpus: visible.corpusChunks,
        returned: 10,
        fellBack: false,
      },
    ])
  })

  test('ranks words by how well they match, ties by chunk id, and is the same every time', async () => {
    const search = searchOf()
    const once = await search.keyword(visible, 'amber cedar', 20)
    expect(once.length).toBeGreaterThan(5)
    expect(await search.keyword(visible, 'amber cedar', 20)).toEqual(once)
    expect(ids(once).filter((id) => hidden.includes(id))).toEqual([])
  })

  test.each(["'", '& | ! ( ) :*', '\\', 'a:b <-> c', 'the of and', '💧', "'; drop table chunks; --"])(
    'takes %j as words and nothing else',
    async (query) => {
      const found = await searchOf().keyword(visible, query, 10)
      expect(Array.isArray(found)).toBe(true)
      expect(await world.database.query('select 1 from chunks limit 1')).toHaveLength(1)
    },
  )
})
