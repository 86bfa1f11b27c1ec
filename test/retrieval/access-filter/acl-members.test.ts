import { expect, test } from 'vitest'
import { createAclMembers } from '../../../src/retrieval/access-filter/acl-members.ts'
import fc from '../../support/properties.ts'

test('whoever stands at a door is found there once, after any moves, and nobody else is', () => {
  const move = fc.tuple(fc.nat(9), fc.integer({ min: -1, max: 4 }))
  fc.assert(
    fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
      const stands = createAclMembers()
      const doors = new Map<number, number>()
      for (const [docNo, door] of moves) {
        stands.move(docNo, door)
        doors.set(docNo, door)
        for (let at = 0; at < 10; at++) expect(stands.aclOf(at)).toBe(doors.get(at) ?? -1)
        for (let at = 0; at < 6; at++) {
          const expected = [...doors].filter(([, is]) => is === at).map(([no]) => no)
          const found: number[] = []
          for (let no = stands.first(at); no !== -1 && found.length < 20; no = stands.next(no)) found.push(no)
          expect(found.sort()).toEqual(expected.sort())
        }
      }
    }),
    { numRuns: 200 },
  )
})
