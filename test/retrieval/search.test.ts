import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSearch, type Visible } from '../../src/retrieval/search.ts'
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
  let visible: Visible
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
    visible = await createSearch(world.database).visible(readable, {})
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const ids = (found: readonly { readonly documentId: string }[]) => found.map(({ documentId }) => documentId)

  test('counts what is visible exactly', () => {
    expect(visible).toMatchObject({ chunks: 67 })
  })

  test('finds by index what it finds by comparing everything, and nothing outside of the given documents', async () => {
    const exact = createSearch(world.database)
    const indexed = createSearch(world.database, { exactChunksMax: 0 })
    for (const question of ['amber cedar', 'jetty basalt number 33', 'grove']) {
      const embedding = await embedder.embedQuery(question)
      const best = await exact.vector(visible, embedding, 10)
      const found = await indexed.vector(visible, embedding, 10)
      expect(found).toHaveLength(10)
      expect(found.map(({ score }) => score.toFixed(3))).toEqual(best.map(({ score }) => score.toFixed(3)))
      expect(ids(found).filter((id) => hidden.includes(id))).toEqual([])
    }
  })

  test('falls back to comparing everything where the index gives up early', async () => {
    const indexed = createSearch(world.database, { exactChunksMax: 0 })
    const embedding = await embedder.embedQuery('amber')
    expect(await indexed.vector(visible, embedding, 67)).toHaveLength(67)
  })

  test('compares without the index below the limit, and with it above', async () => {
    const plans: string[] = []
    const watched = {
      ...world.database,
      query: async <Row extends object>(text: string, values?: readonly never[]): Promise<Row[]> => {
        plans.push(await explain(world, text, values ?? []))
        return world.database.query<Row>(text, values)
      },
    }
    await createSearch(watched).vector(visible, await embedder.embedQuery('amber'), 10)
    expect(plans.join('\n')).not.toContain('chunks_embedding')
    const hnsw = await world.database.transaction(async (sql) => {
      await sql.query(
        `select set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true)`,
      )
      const rows = await sql.query<{ 'QUERY PLAN': string }>(
        `explain select chunk_id from chunks where doc_no = any('{1,2,3}') order by embedding <#> '[${[...(await embedder.embedQuery('amber'))].join(',')}]' limit 10`,
      )
      return rows.map((row) => row['QUERY PLAN']).join('\n')
    })
    expect(hnsw).toContain('chunks_embedding')
  })

  test('ranks words by how well they match, ties by chunk id, and is the same every time', async () => {
    const search = createSearch(world.database)
    const once = await search.keyword(visible, 'amber cedar', 20)
    expect(once.length).toBeGreaterThan(5)
    expect(await search.keyword(visible, 'amber cedar', 20)).toEqual(once)
    expect(ids(once).filter((id) => hidden.includes(id))).toEqual([])
  })

  test.each(["'", '& | ! ( ) :*', '\\', 'a:b <-> c', 'the of and', '💧', "'; drop table chunks; --"])(
    'takes %j as words and nothing else',
    async (query) => {
      const found = await createSearch(world.database).keyword(visible, query, 10)
      expect(Array.isArray(found)).toBe(true)
      expect(await world.database.query('select 1 from chunks limit 1')).toHaveLength(1)
    },
  )
})

async function explain(world: World, text: string, values: readonly never[]): Promise<string> {
  const rows = await world.database.query<{ 'QUERY PLAN': string }>(`explain ${text}`, values)
  return rows.map((row) => row['QUERY PLAN']).join('\n')
}
