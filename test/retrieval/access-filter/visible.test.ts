import { expect, test } from 'vitest'
import { contentIn, contentOf, visibleAs } from '../../../src/retrieval/access-filter/visible.ts'

test('a filter gives the publications that are in force when they are asked for, ascending, and no document’s that has none', () => {
  const inForce = new Map([
    [1, 40],
    [2, 7],
    [5, 12],
  ])
  const filter = visibleAs(contentOf(Int32Array.of(1, 2, 3), 9), 100, (docNo) => inForce.get(docNo) ?? 0)
  const publications = filter.publications()
  expect([...publications]).toEqual([7, 40])
  inForce.set(9, 60)
  expect(filter.publications()).toBe(publications)
  inForce.set(2, 50)
  inForce.delete(1)
  expect([...filter.publications()]).toEqual([50])
})

test('publications are the same array for every filter of the same content while they are the same, from numbers or bits', () => {
  const inForce = new Map([
    [1, 40],
    [3, 7],
  ])
  const numberOf = (docNo: number) => inForce.get(docNo) ?? 0
  for (const content of [
    contentOf(Int32Array.of(1, 3), 9),
    contentIn(Buffer.of(0b1010), { size: 2, chunks: 9 }),
  ]) {
    inForce.set(1, 40)
    const once = visibleAs(content, 100, numberOf).publications()
    expect(visibleAs(content, 100, numberOf).publications()).toBe(once)
    inForce.set(1, 41)
    expect([...visibleAs(content, 100, numberOf).publications()]).toEqual([7, 41])
    expect([...once]).toEqual([7, 40])
  }
})
