import { expect, test } from 'vitest'
import { mean, measure } from '../../benchmarks/quality/measures.ts'

test('a list that begins with all relevant documents has nDCG 1, in whatever order they stand', () => {
  expect(measure(['b', 'a', 'x'], new Set(['a', 'b']))).toEqual({ ndcg10: 1, recall10: 1 })
})

test('a relevant document counts less the later it stands, and not at all after the tenth', () => {
  expect(measure(['x', 'a'], new Set(['a'])).ndcg10).toBeCloseTo(1 / Math.log2(3), 12)
  const late = [...'0123456789', 'a']
  expect(measure(late, new Set(['a']))).toEqual({ ndcg10: 0, recall10: 0 })
})

test('a document that was not found lowers both measures', () => {
  const { ndcg10, recall10 } = measure(['a', 'x'], new Set(['a', 'b']))
  expect(recall10).toBe(0.5)
  expect(ndcg10).toBeCloseTo(1 / (1 + 1 / Math.log2(3)), 12)
})

test('every question counts the same', () => {
  expect(
    mean([
      { ndcg10: 1, recall10: 0 },
      { ndcg10: 0, recall10: 0.5 },
    ]),
  ).toEqual({ ndcg10: 0.5, recall10: 0.25 })
})
