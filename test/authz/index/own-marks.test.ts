import { expect, test } from 'vitest'
import type { Tuple } from '../../../src/authz/fga.ts'
import { findDifferences, Replica } from '../../../src/authz/index/replica.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import { openWorld } from '../../support/world.ts'

const marks: readonly Tuple[] = [
  { user: 'turn:1', relation: 'turn', object: 'fence:a' as FgaObject },
  { user: 'turn:1', relation: 'at', object: 'watermark:a' as FgaObject },
]

test('what the service notes for itself never comes into the replica, its store, or what was lately taken away', async () => {
  await using world = await openWorld()
  const { fga, index } = world.service
  await world.write('user:anne viewer document:a')
  await index.catchUp()
  const before = index.status().tuples
  const at = Date.now()
  expect(index.wrote({ writes: marks, deletes: marks })).toEqual([])
  await fga.write({ writes: marks })
  await index.catchUp()
  expect(index.status().tuples).toBe(before)
  expect(index.holds({ writes: marks })).toBe(true)
  expect(index.touched(['a'], at)).toEqual(new Set())
  await fga.write({ deletes: marks })
  await index.catchUp()
  expect(index.status().tuples).toBe(before)
  expect(
    await world.database.query(
      `select object from index_tuples where object like 'fence:%' or object like 'watermark:%'`,
    ),
  ).toEqual([])
})

test('a comparison of all tuples does not miss them', async () => {
  const stored = marks.map((tuple) => ({ ...tuple, writtenAt: 1 }))
  const replica = new Replica()
  expect(replica.apply(stored.map((tuple) => ({ operation: 'write', tuple })))).toEqual([])
  expect(
    await findDifferences({
      fga: {
        async *readAll() {
          yield stored
        },
      },
      replica,
      signal: new AbortController().signal,
      catchUp: async () => undefined,
    }),
    // Fences end by themselves; watermarks that processes left behind are taken away.
  ).toEqual({ differences: [], marks: stored.filter(({ object }) => object.startsWith('watermark:')) })
})
