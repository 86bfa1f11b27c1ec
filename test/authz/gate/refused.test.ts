import { expect, test } from 'vitest'
import { createGateWorld } from './world.ts'

test('what the replica cannot evaluate is a no while it has the tail, no error, and is asked about while it lags', async () => {
  const world = createGateWorld({ index: (replica) => ({ ...replica, evaluate: () => new Map() }) })
  world.add('user:anne viewer document:a')
  world.pass(20_000)
  for (const consistency of ['fast', 'strict'] as const) {
    const { ids, calls, clearing } = await world.ask({ consistency })
    expect({ ids, calls, errors: clearing.counts.errors }).toEqual({ ids: [], calls: [], errors: 0 })
  }
  world.pass(20_000, 'behind')
  expect(await world.ask()).toMatchObject({ ids: ['a'], proofs: [{ kind: 'asked' }] })
})
