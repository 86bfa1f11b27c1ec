import { codeLength, modelToBytes, scanLists } from '@remit/vector-index'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { AccessFilter } from '../../../src/retrieval/access-filter/visible.ts'
import { createIvfIndex, type IvfIndex } from '../../../src/retrieval/chunk-index/ivf/ivf-index.ts'
import {
  readModel,
  readUnassigned,
  saveAssigned,
  takeTrainingLease,
} from '../../../src/retrieval/chunk-index/ivf/storage.ts'
import { createTrainer } from '../../../src/retrieval/chunk-index/ivf/trainer.ts'
import type { Costs } from '../../../src/retrieval/chunk-index/postgres/costs.ts'
import { createNearest, ivfStatement } from '../../../src/retrieval/chunk-index/postgres/postgres-index.ts'
import type { StrategyEvent } from '../../../src/retrieval/chunk-index/postgres/strategy.ts'
import { vectorParameter } from '../../../src/store/binary.ts'
import type { Database } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { moving } from '../../support/moving.ts'
import { type Corpus, storeCorpus } from '../chunk-index/corpus.ts'

const documents = 240
const chunksEach = 5
const topics = 20
const wanted = 10

describeDatabases('ivf', (kind) => {
  let database: Database
  let corpus: Corpus
  let index: IvfIndex
  const events: StrategyEvent[] = []
  const open = (passagesMin = 1_000) =>
    createIvfIndex({
      database,
      log: () => undefined,
      pollMs: 3_600_000,
      everyMs: 3_600_000,
      passagesMin,
      seed: () => 1,
      threads: 1,
    })

  beforeAll(async () => {
    database = await openTestDatabase(kind)
    corpus = await storeCorpus(database, { documents, chunksEach, topics })
    index = open()
    await index.renew()
  })
  afterAll(async () => {
    await index?.[Symbol.asyncDispose]()
    await database?.close()
  })

  const dear: Costs = { of: (plan) => (plan === 'ivf' ? 0.1 : 50), learn: () => undefined }
  const search = (visible: AccessFilter, question: Float32Array, limit = wanted, of = index) =>
    createNearest({ database, ivf: of, costs: dear, onStrategy: (event) => events.push(event) })({
      visible,
      embedding: question,
      limit,
    })
  const generations = () =>
    database.query<{ generation: number; lie: number }>(
      `select m.generation, (select count(*) from document_codes d where d.generation = m.generation and d.partitions <> '') as lie
       from ivf_models m order by 1`,
    )

  test('hold every passage of a corpus that is large enough', async () => {
    expect(index.lists()).toHaveLength(1)
    expect(index.lists()[0]?.size).toBe(documents * chunksEach)
  })

  test('are looked at in a thread as they are here', async () => {
    const visible = corpus.visible(() => true)
    // As if there were enough of them.
    const look = { embedding: corpus.ask(3), chunks: 1_000_000, bits: visible.bits(), rows: 20 }
    const [set] = index.lists()
    const best = await vi.waitFor(
      async () => {
        const looked = await index.scanPool.scan(index.lists(), look)
        if (looked === undefined) throw new Error('Nobody looked.')
        return looked.best
      },
      { timeout: 20_000, interval: 20 },
    )
    expect(set && best).toEqual(set && [scanLists(set.scanner, set.size, look)])
    expect(best[0]?.slots).toHaveLength(20)
  })

  test('are not made for a small one', async () => {
    await using small = open(1_000_000)
    const before = await generations()
    await small.renew()
    expect(await generations()).toEqual(before)
  })

  const shares: [string, (docNo: number, topic: number) => boolean][] = [
    ['everything', () => true],
    ['half, whatever it is about', (docNo) => docNo % 40 >= 20],
    ['a tenth, whatever it is about', (docNo) => (docNo * 7) % 10 === 0],
    ['the topic of the question', (_, topic) => topic === 3],
    ['everything but the topic of the question', (_, topic) => topic !== 3],
    ['one document', (docNo) => docNo === 17],
  ]
  test.each(shares)('find what comparing here finds, and only of what is visible: %s', async (_, passes) => {
    const visible = corpus.visible(passes)
    let found = 0
    let best = 0
    for (let round = 0; round < 10; round += 1) {
      const question = corpus.ask(3)
      const expected = corpus.best(visible, question, wanted)
      const ids = (await search(visible, question)).map(({ chunkId }) => chunkId as string)
      expect(ids).toHaveLength(Math.min(wanted, visible.chunks))
      best += expected.length
      found += expected.filter((id) => ids.includes(id)).length
      expect(events.at(-1)).toMatchObject({ strategy: 'ivf', fellBack: false })
    }
    expect(found / best).toBeGreaterThanOrEqual(0.99)
  })

  test('give as many as are wanted', async () => {
    const visible = corpus.visible((docNo) => docNo % 2 === 0)
    for (const limit of [1, 100]) expect(await search(visible, corpus.ask(2), limit)).toHaveLength(limit)
  })

  test('read each passage by document and place, in a loop, and neither the HNSW index nor the whole table', async () => {
    const values = [vectorParameter(database.vectorType, corpus.ask(1)), ...numbers(3), wanted]
    const rows = await database.queryFixedPlan<{ 'QUERY PLAN': string }>(
      { name: 'explain_ivf', text: `explain (costs off) ${ivfStatement.text}` },
      values,
    )
    const shape = rows.map((row) => row['QUERY PLAN']).join('\n')
    expect(shape).toMatch(
      /Index Scan using chunks_place[^]*Index Cond: \(\(doc_no = nominated.doc_no\) AND \(ordinal = nominated.ordinal\)\)/,
    )
    expect(shape).not.toMatch(/chunks_embedding|Seq Scan|Hash|Merge|Bitmap|Memoize|Gather/)
  })

  test('are joined by what was published a moment ago, which lies in none yet', async () => {
    const visible = corpus.visible((docNo) => docNo <= 100)
    const [newest] = index.lists()
    newest?.remove(17)
    const question = corpus.chunks.find(({ docNo }) => docNo === 17)?.vector ?? new Float32Array()
    const [first] = await search(visible, question)
    expect(first?.docNo).toBe(17)
    expect(events.at(-1)).toMatchObject({ strategy: 'ivf', fellBack: false })
    await using again = open()
    await again.refresh()
    expect(again.lists()[0]?.size).toBe(documents * chunksEach)
  })

  test('that are behind are followed by comparing all', async () => {
    const visible = corpus.visible((docNo) => docNo === 30)
    await database.query('update chunks set ordinal = ordinal + 100 where doc_no = 30')
    expect(await search(visible, corpus.ask(3))).toHaveLength(chunksEach)
    expect(events.at(-1)).toMatchObject({ strategy: 'exact', fellBack: true })
    await database.query('update chunks set ordinal = ordinal - 100 where doc_no = 30')
  })

  test('are followed by comparing all, too, where there is no memory to look into them', async () => {
    const [set] = index.lists()
    if (set === undefined) throw new Error('There is no index.')
    const begin = vi.spyOn(set.scanner, 'begin').mockImplementation(() => {
      throw new RangeError('WebAssembly.Memory.grow(): Maximum memory size exceeded')
    })
    const visible = corpus.visible((docNo) => docNo % 2 === 0)
    const question = corpus.ask(3)
    const found = await search(visible, question, wanted)
    expect(begin).toHaveBeenCalled()
    begin.mockRestore()
    expect(found.map(({ chunkId }) => chunkId)).toEqual(corpus.best(visible, question, wanted))
    expect(events.at(-1)).toMatchObject({ strategy: 'exact', fellBack: true })
  })

  test('that are too few are trained anew, by one process at a time, and by the next one where that died', async () => {
    const [old] = await generations()
    const model = await readModel(database, old?.generation ?? 0)
    if (model === undefined) throw new Error('There is no model.')
    // What a tenth as many passages would have.
    const { dimensions, groups, numbers } = model.centroids
    const centroids = {
      dimensions,
      groups: groups.slice(0, dimensions),
      starts: Int32Array.of(0, 40),
      numbers: numbers.slice(0, 40 * dimensions),
    }
    await database.query('update ivf_models set model = $1', [modelToBytes({ ...model, centroids })])
    const somebody = await takeTrainingLease(database, 60)
    somebody?.stop()
    expect(somebody).toBeDefined()
    await using other = open()
    const before = await generations()
    await other.renew()
    expect(await generations()).toEqual(before)
    await database.query(`update leases set until = now() - interval '1 second'`)
    await other.renew()
    const after = await generations()
    expect(after).toEqual([{ generation: (before[0]?.generation ?? 0) + 1, lie: documents }])
    await index.refresh()
    expect(index.lists().map(({ generation }) => generation)).toEqual(
      after.map(({ generation }) => generation),
    )
  })

  const breakModel = () =>
    database.query(`update ivf_models set model = substring(model from 1 for length(model) - 4)`)
  test.each([
    ['what it trained', breakModel],
    [
      'what it moved',
      () => database.query(`update document_codes set partitions = '', generation = 0 where doc_no = 7`),
    ],
  ])(
    'keep nothing of %s of a process that stood still while another one took over',
    async (_, lack) => {
      const [before] = await generations()
      await lack()
      const { database: slow, stopped, goOn } = stopping(database)
      const logged: unknown[] = []
      await using first = createTrainer({
        database: slow,
        log: (_event, fields) => void logged.push(fields?.['reason']),
        everyMs: 3_600_000,
      })
      await stopped
      await database.query(`update leases set until = now() - interval '1 second'`)
      await breakModel()
      await using second = open()
      await second.renew()
      const after = [{ generation: (before?.generation ?? 0) + 1, lie: documents }]
      expect(await generations()).toEqual(after)
      goOn()
      await first.renew()
      expect(logged).toEqual(['Another process trains the index by now.'])
      expect(await generations()).toEqual(after)
      await index.refresh()
    },
    120_000,
  )

  test('keep nothing of a document that was replaced while its passages were looked at', async () => {
    const newest = index.lists().at(-1)?.generation ?? 0
    await database.query(`update document_codes set partitions = '' where doc_no in (50, 51)`)
    const unplaced = await readUnassigned(database, newest, 0, 1_000)
    expect(unplaced.map(({ docNo }) => docNo)).toEqual([50, 51])
    await database.query('update documents set live_revision = 2 where doc_no = 50')
    const assignments = {
      partitions: new Uint16Array(chunksEach),
      codes: new Uint8Array(chunksEach * codeLength),
    }
    const lease = await takeTrainingLease(database, 60)
    if (lease === undefined) throw new Error('Somebody trains the index.')
    await saveAssigned(
      lease,
      newest,
      unplaced.map((document) => ({ ...document, assignments })),
    )
    const left = await readUnassigned(database, newest, 0, 1_000)
    expect(left.map(({ docNo, revision }) => [docNo, revision])).toEqual([[50, 2]])
    await lease.end()
    await index.renew()
    expect(await readUnassigned(database, newest, 0, 1_000)).toEqual([])
  })

  test('that fit and lack nothing are looked at without reading them again', async () => {
    let read = 0
    const query: Database['query'] = (text, values) => {
      if (text.startsWith('select model')) read += 1
      return database.query(text, values)
    }
    const watched = { ...database, query }
    await using upkeep = createTrainer({ database: watched, log: () => undefined, everyMs: 3_600_000 })
    await upkeep.renew()
    expect(read).toBe(1)
    await upkeep.renew()
    expect(read).toBe(1)
    await database.query(`update document_codes set partitions = '', generation = 0 where doc_no = 7`)
    await upkeep.renew()
    expect(read).toBe(2)
    expect(await readUnassigned(database, index.lists().at(-1)?.generation ?? 0, 0, 1_000)).toEqual([])
  })

  test('are read anew when another server took over that lacks what was seen', async () => {
    const { database: moved, moveTo } = moving(database)
    const logged: string[] = []
    await using following = createIvfIndex({
      database: moved,
      log: (event) => void logged.push(event),
      pollMs: 3_600_000,
      everyMs: 3_600_000,
    })
    await following.refresh()
    const [before] = following.lists()
    const all = documents * chunksEach
    // As by a transaction whose number another had that was seen.
    const [kept] = await database.query<{ partitions: Buffer }>(
      'select partitions from document_codes where doc_no = 7',
    )
    await database.query(`update document_codes set partitions = '' where doc_no = 7`)
    await following.refresh()
    expect(following.lists()).toEqual([before])
    expect(before?.size).toBe(all)
    moveTo('another')
    await following.refresh()
    expect(following.lists().map(({ generation, size }) => [generation, size])).toEqual([
      [before?.generation, all - chunksEach],
    ])
    // As long as it was read, the former ones were looked at.
    expect(before?.size).toBe(all)
    await following.refresh()
    expect(logged).toEqual(['ivf_server_changed'])
    await database.query('update document_codes set partitions = $1 where doc_no = 7', [
      Buffer.from(kept?.partitions ?? []),
    ])
  })

  test('of a model that cannot be read are trained anew', async () => {
    const before = index.lists().at(-1)?.generation ?? 0
    await database.query(`update ivf_models set model = substring(model from 1 for length(model) - 4)`)
    await using other = open()
    await other.renew()
    expect(await generations()).toEqual([{ generation: before + 1, lie: documents }])
    expect(other.lists().map(({ generation }) => generation)).toEqual([before + 1])
    await index.refresh()
  })

  test('whose codes tell too little of what they stand for are not asked', async () => {
    const [newest] = await generations()
    const model = await readModel(database, newest?.generation ?? 0)
    if (model === undefined) throw new Error('There is no model.')
    const write = (error: number) =>
      database.query('update ivf_models set model = $1', [modelToBytes({ ...model, error })])
    await write(1)
    await using other = open(1_000_000)
    await other.refresh()
    expect(other.lists()).toEqual([])
    await search(
      corpus.visible(() => true),
      corpus.ask(3),
      wanted,
      other,
    )
    expect(events.at(-1)?.strategy).not.toBe('ivf')
    await write(model.error)
  })

  test('of two models answer together while passages move, and the older one goes with the last of them', async () => {
    const [before] = await generations()
    // As a crash in the middle leaves it: a newer model, and half of the passages in it.
    await database.query(`insert into ivf_models (passages, model) select passages, model from ivf_models`)
    await database.query(
      `update document_codes set generation = generation + 1, changed_in = pg_current_xact_id() where doc_no <= 120`,
    )
    await index.refresh()
    expect(index.lists()).toHaveLength(2)
    const visible = corpus.visible(() => true)
    const question = corpus.ask(3)
    const ids = (await search(visible, question)).map(({ chunkId }) => chunkId as string)
    expect(corpus.best(visible, question, wanted).filter((id) => !ids.includes(id))).toEqual([])
    await index.renew()
    expect(await generations()).toEqual([{ generation: (before?.generation ?? 0) + 1, lie: documents }])
    expect(index.lists()).toHaveLength(1)
  })
})

/** Stands still before the first thing that it writes of the index. */
function stopping(database: Database) {
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>()
  const { promise: goingOn, resolve: goOn } = Promise.withResolvers<void>()
  const pause = (): Promise<void> => {
    stop()
    return goingOn
  }
  const query: Database['query'] = async (text, values) => {
    if (/^(insert into|delete from) ivf_models/.test(text)) await pause()
    return database.query(text, values)
  }
  const transaction: Database['transaction'] = async (work) => {
    await pause()
    return database.transaction(work)
  }
  return { database: { ...database, query, transaction }, stopped, goOn }
}

const numbers = (count: number): Int32Array[] => Array.from({ length: count }, () => Int32Array.of(1, 2, 3))
