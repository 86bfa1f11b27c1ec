import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seed } from '../../packages/engine/test/support/seed.ts'
import type { Embedder } from '../../src/embed/embedder.ts'
import { createLocalEmbedder } from '../../src/embed/local.ts'
import { builds } from '../../src/embed/weights.ts'
import { loadSample } from '../../src/sample/load.ts'
import { seedSample } from '../../src/sample/seed.ts'
import { withSampleVectors } from '../../src/sample/vectors.ts'
import { openPglite } from '../../src/store/pglite.ts'
import { freshSettings, listens, startService } from '../e2e/process.ts'
import { createWordEmbedder } from '../support/embedder.ts'
import { localModel } from '../support/model.ts'
import { needs } from '../support/native.ts'
import { openWorld } from '../support/world.ts'

/** Of how many passages one is made anew, drawn by the seed: `npm run full` makes all. */
const sampled = Number(process.env['SAMPLE_VECTORS_STEP'] ?? 4)
const dir = new URL('../../sample', import.meta.url).pathname

/** Notes the texts of each call, and passes it on. */
function noting(embedder: Embedder) {
  const calls: (readonly string[])[] = []
  const embedPassages: Embedder['embedPassages'] = (texts, options) => {
    calls.push(texts)
    return embedder.embedPassages(texts, options)
  }
  return { calls, embedder: { ...embedder, embedPassages } }
}

describe.skipIf(!localModel.available)('a demo that was taken in whole', () => {
  let model: Embedder
  let passages: readonly string[]
  let readByModel: readonly unknown[]
  beforeAll(async () => {
    if (!localModel.available) return
    model = await createLocalEmbedder(localModel)
    const read = noting(model)
    const asked = noting(await withSampleVectors(read.embedder, dir))
    await using world = await openWorld({
      embedder: { ...asked.embedder, [Symbol.asyncDispose]: async () => undefined },
    })
    const { database, service } = world
    await seedSample(await loadSample(dir, new Date()), { ...service, database, issuer: service.ownIssuer })
    passages = asked.calls.flat()
    readByModel = read.calls
  }, 180_000)
  afterAll(() => model?.[Symbol.asyncDispose]())

  test('the model read none of its passages', () => {
    expect(passages.length).toBeGreaterThan(150)
    expect(readByModel).toEqual([])
  })

  test.each(Object.values(builds))('its passages have vectors of $model', async (build) => {
    const read = noting({ ...model, model: build.model })
    const vectors = await (await withSampleVectors(read.embedder, dir)).embedPassages(passages)
    expect(vectors).toHaveLength(passages.length)
    expect(read.calls).toEqual([])
  })

  // The same model's numbers differ a little from one kind of processor to another.
  test(`they are what the model makes of the same texts, to 2 % (FUZZ_SEED=${seed})`, {
    timeout: 120_000,
  }, async () => {
    const first = seed % sampled
    const texts = passages.filter((_, at) => at % sampled === first)
    expect(texts.length).toBeGreaterThan(passages.length / sampled - 1)
    const kept = await (await withSampleVectors(model, dir)).embedPassages(texts)
    const made = await model.embedPassages(texts)
    const cosines = kept.map((vector, at) =>
      vector.reduce((sum, value, index) => sum + value * (made[at]?.[index] ?? 0), 0),
    )
    expect(Math.min(...cosines)).toBeGreaterThan(0.98)
  })
})

test('npm start stores them: no passage has a number that the model’s own vectors would have', {
  ...needs(localModel.available, 'the embedding model'),
  timeout: 240_000,
}, async () => {
  await using settings = await freshSettings(localModel.available ? localModel.folder : undefined)
  await using service = startService(settings.env)
  await listens(service)
  service.kill('SIGTERM')
  await service.exit
  await using database = await openPglite({ dataDir: join(settings.home, 'db'), socketDir: settings.home })
  const rows = await database.query<{ numbers: readonly number[] }>(
    'select embedding::real[] as numbers from chunks',
  )
  expect(rows.length).toBeGreaterThan(150)
  // The largest of what came along is 127 steps, and each of the others a whole number of them.
  const offs = rows.map(({ numbers }) => {
    const step = Math.max(...numbers.map(Math.abs)) / 127
    return Math.max(...numbers.map((number) => Math.abs(number / step - Math.round(number / step))))
  })
  expect(Math.max(...offs)).toBeLessThan(0.001)
})

test('a document with a passage that is not the demo’s is read by the model whole', async () => {
  const { calls, embedder } = noting({ ...createWordEmbedder(), model: builds.wheel.model })
  const texts = ['Nobody wrote this.', 'Nor this.']
  const vectors = await (await withSampleVectors(embedder, dir)).embedPassages(texts)
  expect(calls).toEqual([texts])
  expect(vectors).toEqual(await createWordEmbedder().embedPassages(texts))
})

test('a model of which no vectors came along reads everything itself', async () => {
  const embedder = createWordEmbedder()
  expect(await withSampleVectors(embedder, dir)).toBe(embedder)
})
