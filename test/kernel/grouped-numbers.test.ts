import { expect, test } from 'vitest'
import { GroupedNumbers } from '../../src/kernel/grouped-numbers.ts'
import fc from '../support/properties.ts'

test('whoever is in a group is found there once, after any moves, and nobody else is', () => {
  const move = fc.tuple(fc.nat(9), fc.integer({ min: -1, max: 4 }))
  fc.assert(
    fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
      const grouped = new GroupedNumbers()
      const groups = new Map<number, number>()
      for (const [member, group] of moves) {
        grouped.move(member, group)
        groups.set(member, group)
        for (let at = 0; at < 10; at++) expect(grouped.groupOf(at)).toBe(groups.get(at) ?? -1)
        for (let at = 0; at < 6; at++) {
          const expected = [...groups].filter(([, is]) => is === at).map(([no]) => no)
          const found: number[] = []
          for (let no = grouped.first(at); no !== -1 && found.length < 20; no = grouped.next(no))
            found.push(no)
          expect(found.sort()).toEqual(expected.sort())
        }
      }
    }),
    { numRuns: 200 },
  )
})
