import { seededRandom, trainModel } from '@remit/vector-index'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import { serviceObject } from '../../../src/delegation/registry/services.ts'
import { readSample, saveModel, takeTrainingLease } from '../../../src/retrieval/chunk-index/ivf/storage.ts'
import { needsEmbeddedIndex } from '../../support/native.ts'
import { openWorld, type World } from '../../support/world.ts'

let world: World

beforeAll(async () => {
  world = await openWorld()
  await world.put(
    Object.fromEntries(
      Array.from({ length: 20 }, (_, at) => [`d/${at}`, { text: `amber cedar number ${at}` }]),
    ),
  )
  // As a large corpus has: a small one would never get any.
  const lease = await takeTrainingLease(world.database, 60)
  if (lease === undefined) throw new Error('Somebody trains the index.')
  await saveModel(lease, trainModel(await readSample(world.database, 100), 4, seededRandom(1)), 20)
  await lease.end()
})
afterAll(() => world?.[Symbol.asyncDispose]())

const lying = (id: string) =>
  world.database.query<{ lie: number; chunk_count: number }>(
    `select length(m.partitions) / 2 as lie, d.chunk_count from documents d join document_codes m using (doc_no) where d.id = $1`,
    [id],
  )

test(
  'a document lies in partitions from the moment it is live, with all its passages, until it is withdrawn',
  needsEmbeddedIndex,
  async () => {
    let last = ''
    await vi.waitFor(
      async () => {
        last = `new/${Date.now()}`
        await world.put({ [last]: { text: 'amber jetty' } })
        expect(await lying(last)).toEqual([{ lie: 1, chunk_count: 1 }])
      },
      { timeout: 20_000, interval: 500 },
    )
    await world.service.ingest.withdraw({ ...operator('test'), subject: serviceObject('loader') }, last)
    expect(await lying(last)).toEqual([{ lie: 0, chunk_count: 0 }])
  },
)
