import { describe, expect, test } from 'vitest'
import type { ChunkId } from '../../src/kernel/ids.ts'
import { fuse } from '../../src/retrieval/best.ts'
import type { Candidate } from '../../src/retrieval/candidate.ts'
import fc from '../support/properties.ts'

const candidate = (id: string, score = 0): Candidate => ({
  chunkId: id as ChunkId,
  documentId: `d-${id}`,
  publication: 1,
  isNew: false,
  ordinal: 0,
  score,
})
const list = (...ids: readonly string[]) => ids.map((id) => candidate(id))
const idsOf = (candidates: readonly Candidate[]): string[] => candidates.map(({ chunkId }) => chunkId)

const rankings = fc.array(
  fc.uniqueArray(fc.string({ minLength: 1, maxLength: 3 }), { maxLength: 20 }).map((ids) => list(...ids)),
  { maxLength: 4 },
)

describe('fusion', () => {
  test('adds 1 / (10 + rank) over the lists', () => {
    expect(fuse([list('a', 'b'), list('b')])).toEqual([
      candidate('b', 1 / 12 + 1 / 11),
      candidate('a', 1 / 11),
    ])
  })

  test('looks at ranks only: scores of two searches cannot be compared', () => {
    const words = [candidate('a', 0.001), candidate('b', 0.0005)]
    const vectors = [candidate('b', 900), candidate('a', 899)]
    expect(fuse([words, vectors]).map(({ score }) => score)).toEqual([1 / 11 + 1 / 12, 1 / 12 + 1 / 11])
  })

  test('gives equal scores in the order of their chunk ids, whichever list comes first', () => {
    expect(idsOf(fuse([list('b', 'd'), list('a', 'c')]))).toEqual(['a', 'b', 'c', 'd'])
    expect(idsOf(fuse([list('a', 'c'), list('b', 'd')]))).toEqual(['a', 'b', 'c', 'd'])
  })

  test('of one list leaves it as it is', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ minLength: 1 })), (ids) => {
        const only = list(...ids)
        expect(fuse([only])).toBe(only)
      }),
    )
  })

  test('gives every candidate once, and no other', () => {
    fc.assert(
      fc.property(rankings, (lists) => {
        const fused = idsOf(fuse(lists))
        expect([...fused].sort()).toEqual([...new Set(lists.flatMap(idsOf))].sort())
      }),
    )
  })

  test('is best first, and equal for equal lists in any order', () => {
    fc.assert(
      fc.property(rankings, (lists) => {
        const fused = fuse(lists)
        expect(idsOf(fused)).toEqual(idsOf(fuse([...lists].map((one) => [...one]))))
        const ordered = fused.every((one, index) => index === 0 || fused[index - 1]!.score >= one.score)
        expect(ordered).toBe(true)
      }),
    )
  })

  test('of two lists does not depend on which comes first', () => {
    fc.assert(
      fc.property(rankings, (lists) => {
        const two = lists.slice(0, 2)
        expect(idsOf(fuse([...two].reverse()))).toEqual(idsOf(fuse(two)))
      }),
    )
  })

  test('never moves a candidate down for being found once more', () => {
    fc.assert(
      fc.property(rankings, fc.nat(), (lists, pick) => {
        const before = idsOf(fuse(lists))
        const chosen = before[pick % Math.max(1, before.length)]
        if (chosen === undefined) return
        const after = idsOf(fuse([...lists, list(chosen)]))
        expect(after.indexOf(chosen)).toBeLessThanOrEqual(before.indexOf(chosen))
      }),
    )
  })

  test('changes none of its lists', () => {
    const given = Object.freeze([Object.freeze(candidate('b', 5)), Object.freeze(candidate('a', 4))])
    fuse([given, given])
    expect(given.map(({ score }) => score)).toEqual([5, 4])
  })
})
