import { seededRandom } from '@remit/vector-index'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import { describeDatabases } from '../support/backends.ts'
import { needsOpensearch } from '../support/native.ts'
import { createAsyncSubject, type Lie } from './async-index.ts'
import { Broken, promises, World } from './chunk-index.ts'
import { type OpensearchSubject, openOpensearchSubject } from './opensearch-index.ts'
import { openPostgresSubject, type PostgresSubject } from './postgres-index.ts'

const strategies = ['exact', 'hnsw', 'ivf'] as const

describeDatabases('the chunk index', (kind) => {
  describe.each(strategies)('by %s', (strategy) => {
    let subject: PostgresSubject
    let world: World
    beforeAll(async () => {
      subject = await openPostgresSubject(kind, strategy)
      world = new World(subject, seededRandom(seed))
    })
    afterAll(() => subject?.[Symbol.asyncDispose]())

    test.each(promises)(
      `keeps its promise, seed ${seed}: %s`,
      async (_, trial) => {
        await expect(trial(world)).resolves.toBeUndefined()
      },
      120_000,
    )

    test('is searched by that strategy', () => {
      expect(subject.used).toContain(strategy)
    })
  })
})

describe('the chunk index on OpenSearch', needsOpensearch, () => {
  // Then its own scores say little of the order, and it has to be proven, or come from Postgres.
  describe.each([
    { title: 'in one index, as long as its passages were', perWord: 0.02 },
    { title: 'in many indices, whose passages have become shorter', perWord: 0.008, width: 40 },
  ])('$title', ({ perWord, width }) => {
    let world: World
    let subject: OpensearchSubject
    beforeAll(async () => {
      subject = await openOpensearchSubject({ perWord: () => perWord, ...(width && { width }) })
      world = new World(subject, seededRandom(seed))
    }, 60_000)
    afterAll(() => subject?.[Symbol.asyncDispose]())

    test.each(promises)(
      `keeps its promise, seed ${seed}: %s`,
      async (_, trial) => {
        await expect(trial(world)).resolves.toBeUndefined()
      },
      120_000,
    )
  })
})

describe('an engine apart from the database, which finds late and forgets later', () => {
  test.each(promises)(`keeps the promises of a chunk index, seed ${seed}: %s`, async (_, trial) => {
    await expect(trial(new World(createAsyncSubject(), seededRandom(seed)))).resolves.toBeUndefined()
  })
})

describe('the contract of a chunk index catches an engine that', () => {
  test.each<Lie>([
    'forgets a hide',
    'returns a foreign chunk',
    'loses one of ten',
    'shows what it would not find',
    'weighs words itself',
    'ignores a rollback',
  ])('%s', async (lie) => {
    const broken: string[] = []
    for (const [title, trial] of promises) {
      await trial(new World(createAsyncSubject(lie), seededRandom(seed))).catch((error: unknown) => {
        if (!(error instanceof Broken)) throw error
        broken.push(title)
      })
    }
    expect(broken).not.toEqual([])
  })
})
