import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Collection, readCollection } from '../../benchmarks/quality/collection.ts'
import { evaluate, loadCollection } from '../../benchmarks/quality/evaluate.ts'
import { startService } from '../../benchmarks/support/running.ts'
import { native, needsModel, needsShared } from '../support/native.ts'

const needed = native.shared === undefined ? needsShared : needsModel

/** Every so manieth document: the model's vectors take most of the time. `npm run full` takes all. */
const step = Number(process.env['CRANFIELD_STEP'] ?? 3)
/** What was measured last, less one hundredth: among fewer documents the right ones are found more easily. */
const least = step === 1 ? 0.424 : 0.49

test(`hybrid search answers the Cranfield questions, over 1 of ${step} documents, with nDCG@10 of at least ${least}, better than either half`, {
  ...needed,
  timeout: 600_000,
}, async () => {
  const all = await readCollection('cranfield', join(native.shared ?? '', 'data/cranfield'))
  const collection = sampled(all, step)
  await using running = await startService({ modelFolder: native.modelFolder })
  await loadCollection(running, collection, () => undefined)
  const hybrid = await evaluate(running, collection, 'hybrid')
  const vector = await evaluate(running, collection, 'vector')
  const keyword = await evaluate(running, collection, 'keyword')
  console.log(
    `${collection.queries.length} questions, nDCG@10: hybrid ${hybrid.ndcg10}, vector ${vector.ndcg10}, keyword ${keyword.ndcg10}`,
  )
  expect(hybrid.ndcg10).toBeGreaterThanOrEqual(least)
  expect(hybrid.ndcg10).toBeGreaterThan(vector.ndcg10)
  expect(hybrid.ndcg10).toBeGreaterThan(keyword.ndcg10)
})

/** Each document whose place is a multiple of `every`, and the questions that one of these answers. */
function sampled(whole: Collection, every: number): Collection {
  const documents = whole.documents.filter((_, index) => index % every === 0)
  const ids = new Set(documents.map(({ id }) => id))
  const relevant = new Map(
    [...whole.relevant]
      .map(([query, answers]) => [query, new Set([...answers].filter((id) => ids.has(id)))] as const)
      .filter(([, answers]) => answers.size > 0),
  )
  return { ...whole, documents, relevant, queries: whole.queries.filter(({ id }) => relevant.has(id)) }
}
