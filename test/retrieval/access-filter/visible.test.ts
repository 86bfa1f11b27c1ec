import { expect, test } from 'vitest'
import { contentOf, visibleAs } from '../../../src/retrieval/access-filter/visible.ts'

test('a filter gives the publications that are in force when they are asked for, ascending, and no document’s that has none', () => {
  const inForce = new Map([
    [1, 40],
    [2, 7],
    [5, 12],
  ])
  const filter = visibleAs(contentOf(Int32Array.of(1, 2, 3), 9), 100, (docNo) => inForce.get(docNo) ?? 0)
  expect([...filter.publications()]).toEqual([7, 40])
  inForce.set(2, 50)
  inForce.delete(1)
  expect([...filter.publications()]).toEqual([50])
})
