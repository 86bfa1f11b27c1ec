import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readCollection } from '../../benchmarks/quality/collection.ts'
import { evaluate, loadCollection } from '../../benchmarks/quality/evaluate.ts'
import { startService } from '../../benchmarks/support/running.ts'
import { native, needsModel, needsShared } from '../support/native.ts'

const needed = native.shared === undefined ? needsShared : needsModel

test('hybrid search answers the 225 Cranfield questions with nDCG@10 of at least 0.424, better than either half', {
  ...needed,
  timeout: 600_000,
}, async () => {
  const collection = await readCollection('cranfield', join(native.shared ?? '', 'data/cranfield'))
  await using running = await startService({ modelFolder: native.modelFolder })
  await loadCollection(running, collection, () => undefined)
  const hybrid = await evaluate(running, collection, 'hybrid')
  const vector = await evaluate(running, collection, 'vector')
  const keyword = await evaluate(running, collection, 'keyword')
  expect(hybrid.ndcg10).toBeGreaterThanOrEqual(0.424)
  expect(hybrid.ndcg10).toBeGreaterThan(vector.ndcg10)
  expect(hybrid.ndcg10).toBeGreaterThan(keyword.ndcg10)
})
