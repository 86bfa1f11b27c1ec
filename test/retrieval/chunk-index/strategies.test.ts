import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Costs } from '../../../src/retrieval/chunk-index/postgres/costs.ts'
import { exact, exactStatement } from '../../../src/retrieval/chunk-index/postgres/exact.ts'
import { hnsw, hnswStatement } from '../../../src/retrieval/chunk-index/postgres/hnsw.ts'
import { createNearest } from '../../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import type {
  StrategyEvent,
  StrategyName,
  VectorQuery,
} from '../../../src/retrieval/chunk-index/postgres/strategy.ts'
import { vectorParameter } from '../../../src/store/binary.ts'
import type { Database, SqlValue, Statement } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { type Corpus, storeCorpus } from './corpus.ts'

const documents = 240
const topics = 20
const wanted = 10
interface Watched {
  readonly events?: StrategyEvent[]
  readonly through?: Database
}
const walk = { ef: 300, rows: 40, tuples: 20_000 }

describeDatabases('search plans', (kind) => {
  let database: Database
  let corpus: Corpus

  beforeAll(async () => {
    database = await openTestDatabase(kind)
    corpus = await storeCorpus(database, { documents, chunksEach: 5, topics })
    await database.query('analyze chunks')
  })
  afterAll(() => database?.close())

  const ids = (found: readonly { readonly chunkId: string }[]) => found.map(({ chunkId }) => chunkId)
  const explain = async ({ name, text }: Statement, values: readonly SqlValue[]) => {
    const rows = await database.queryFixedPlan<{ 'QUERY PLAN': string }>(
      { name: `explain_${name}`, text: `explain (costs off) ${text}` },
      values,
    )
    return rows.map((row) => row['QUERY PLAN']).join('\n')
  }
  const vector = () => vectorParameter(database.vectorType, corpus.ask(3))

  test('that compare all read documents by their number, and neither the HNSW index nor the whole table', async () => {
    const shape = await explain(exactStatement, [vector(), Int32Array.of(1, 2, 3), wanted])
    expect(shape).toContain('Index Scan using chunks_place')
    expect(shape).not.toMatch(/chunks_embedding|Seq Scan|Hash|Merge|Bitmap|Memoize|Gather/)
  })

  test('that walk the graph read the HNSW index in its order, and ask for each document’s bit', async () => {
    const shape = await explain(hnswStatement, [vector(), new Uint8Array(60), 40, '300', '20000'])
    expect(shape).toMatch(/Index Scan using chunks_embedding[^]*Order By[^]*Filter:[^\n]*get_bit/)
    expect(shape).not.toMatch(/chunks_place|Seq Scan|Sort|Hash|Merge|Bitmap|Memoize|Gather/)
  })

  const shares: [string, (docNo: number, topic: number) => boolean][] = [
    ['everything', () => true],
    ['half, whatever it is about', (docNo) => docNo % 40 >= 20],
    ['a tenth, whatever it is about', (docNo) => (docNo * 7) % 10 === 0],
    ['the topic of the question', (_, topic) => topic === 3],
    ['everything but the topic of the question', (_, topic) => topic !== 3],
    ['one document', (docNo) => docNo === 17],
  ]

  test.each(shares)('find what comparing here finds: %s', async (_, passes) => {
    const visible = corpus.visible(passes)
    for (let round = 0; round < 5; round += 1) {
      const ask = { visible, embedding: corpus.ask(3), limit: wanted }
      const best = corpus.best(visible, ask.embedding, wanted)
      expect(recall(ids(await exact(database, ask)), best)).toBe(1)
      // One document is too little for a walk: it is never picked there.
      if (visible.docNos.length > 1)
        expect(recall(ids(await hnsw(database, ask, walk)), best)).toBeGreaterThanOrEqual(0.9)
    }
  })

  test.each(shares)('give as many as are wanted, and only of what is visible: %s', async (_, passes) => {
    const visible = corpus.visible(passes)
    for (const limit of [1, wanted, 100]) {
      const ask = { visible, embedding: corpus.ask(3), limit }
      for (const found of [await nearestBy('exact', ask), await nearestBy('hnsw', ask)]) {
        expect(found).toHaveLength(Math.min(limit, visible.chunks))
        expect(new Set(ids(found)).size).toBe(found.length)
        expect(found.filter(({ docNo }) => !visible.has(docNo))).toEqual([])
      }
    }
  })

  test('that walk the graph and give up early are followed by one that compares all, on record', async () => {
    const events: StrategyEvent[] = []
    const through: Database = {
      ...database,
      // At once, whatever it was given.
      queryFixedPlan: (statement, values) =>
        database.queryFixedPlan(
          statement,
          statement === hnswStatement ? [...values.slice(0, 3), '10', '1'] : values,
        ),
    }
    const ask = { visible: corpus.visible((docNo) => docNo === 17), embedding: corpus.ask(3), limit: wanted }
    const found = await nearestBy('hnsw', ask, { events, through })
    expect(ids(found)).toEqual(corpus.best(ask.visible, ask.embedding, wanted))
    expect(found).toHaveLength(5)
    expect(events).toMatchObject([{ strategy: 'exact', fellBack: true, returned: 5, visible: 5 }])
  })

  test('run over nothing too, and find nothing', async () => {
    const events: StrategyEvent[] = []
    const statements: string[] = []
    const watched: Database = {
      ...database,
      queryFixedPlan: (statement, values) => {
        statements.push(statement.name)
        return database.queryFixedPlan(statement, values)
      },
    }
    const nearest = createNearest({ database: watched, onStrategy: (event) => events.push(event) })
    const ask = { visible: corpus.visible(() => false), embedding: corpus.ask(1), limit: wanted }
    expect(await nearest(ask)).toEqual([])
    expect(statements).toEqual(['search_exact'])
    expect(events).toMatchObject([{ strategy: 'exact', returned: 0, visible: 0 }])
  })

  test('know nothing of a document that is newer than the bits', async () => {
    const old = corpus.visible((docNo) => docNo <= documents / 2)
    expect(old.bits().length).toBeLessThan(documents / 8)
    const found = await hnsw(database, { visible: old, embedding: corpus.ask(3), limit: wanted }, walk)
    expect(found).toHaveLength(wanted)
  })

  test('leave the settings of other statements alone', async () => {
    await nearestBy('hnsw', { visible: corpus.visible(() => true), embedding: corpus.ask(1), limit: wanted })
    const [row] = await database.query(
      `select current_setting('enable_seqscan') as seqscan, current_setting('hnsw.ef_search', true) as ef`,
    )
    expect(row).toEqual({ seqscan: 'on', ef: expect.not.stringMatching('300') })
  })

  /** By this plan, as if all others were dear. */
  function nearestBy(
    plan: StrategyName,
    ask: VectorQuery,
    { events = [], through = database }: Watched = {},
  ) {
    const costs: Costs = {
      of: (other, { places = 0 }) => (other === plan ? 0.1 + places / 1e6 : 50),
      learn: () => undefined,
    }
    // A walk is picked only where most is visible: as if nothing else were stored.
    const corpusChunks = plan === 'hnsw' ? ask.visible.chunks : ask.visible.corpusChunks
    const nearest = createNearest({ database: through, costs, onStrategy: (event) => events.push(event) })
    return nearest({ ...ask, visible: { ...ask.visible, corpusChunks } })
  }
})

const recall = (found: readonly string[], best: readonly string[]): number =>
  best.filter((id) => found.includes(id)).length / best.length
