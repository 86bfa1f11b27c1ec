import { describe, expect, test } from 'vitest'
import type { Check, Fga } from '../../../src/authz/fga.ts'
import type { NamedOptions } from '../../../src/authz/gate.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { anne, annesBot } from '../double.ts'
import { gateOf } from '../parts.ts'
import { createGateWorld, type GateWorld, toTuple } from './world.ts'

interface Naming extends Partial<Omit<NamedOptions, 'documentIds'>> {
  readonly principal?: Principal
  readonly ids?: readonly string[]
  /** Those that are there; all, where left out. */
  readonly there?: readonly string[]
}

/** Names documents; what was sent for it, decoys as `?`. */
function naming(world: GateWorld, fail: (sent: readonly string[]) => void = () => undefined) {
  const decoys = new Set<string>()
  return {
    decoys,
    async ask({ principal = anne, ids = ['a'], there = ids, ...options }: Naming = {}) {
      const calls: string[][] = []
      const sending: Fga = Object.create(world.fga, {
        batchCheck: {
          value: (checks: readonly Check[], how: Parameters<Fga['batchCheck']>[1]) => {
            const sent = checks.map(({ relation, object }) => {
              const id = object.slice(object.indexOf(':') + 1)
              if (!ids.includes(id)) decoys.add(id)
              return `${relation} ${ids.includes(id) ? id : '?'} ${how.consistency}`
            })
            calls.push(sent)
            fail(sent)
            return world.fga.batchCheck(checks, how)
          },
        },
      })
      const gate = gateOf({ fga: sending, now: world.now, held: world.held, index: world.replica })
      const clearing = gate.named(principal, { documentIds: ids, ...options })
      const cleared = await clearing
        .clear(there.map((documentId) => ({ documentId })))
        .catch((error: unknown) => (error instanceof AppError ? error.code : Promise.reject(error)))
      return {
        cleared: typeof cleared === 'string' ? cleared : cleared.map(({ documentId }) => documentId),
        calls,
        clearing,
      }
    },
  }
}

const viewer = 'user:anne viewer document:a'
const decoy = ['can_read ? fresh']

describe('a document that is named', () => {
  test('is cleared by OpenFGA’s own yes alone, past its caches', async () => {
    const world = createGateWorld()
    world.add(viewer)
    const { ask } = naming(world)
    const { cleared, calls, clearing } = await ask()
    expect({ cleared, calls }).toEqual({ cleared: ['a'], calls: [decoy, ['can_read a fresh']] })
    expect(clearing.proofOf('a')).toEqual({ kind: 'asked' })
    for (const verdict of ['denied', 'error'] as const) {
      world.answer((id) => (id === 'a' ? verdict : undefined))
      expect((await ask()).cleared).toEqual([])
    }
  })

  test('is not asked about where the replica refuses it, or where it is not there for the caller', async () => {
    const world = createGateWorld()
    const { ask } = naming(world)
    expect(await ask()).toMatchObject({ cleared: [], calls: [decoy] })
    world.add(viewer)
    expect(await ask({ there: [] })).toMatchObject({ cleared: [], calls: [decoy] })
  })

  test('is asked about, there or not, while the replica lacks the tail', async () => {
    const world = createGateWorld()
    world.truth.add(toTuple(viewer))
    world.pass(1_001, 'behind')
    const { ask } = naming(world)
    expect(await ask()).toMatchObject({ cleared: ['a'], calls: [decoy, ['can_read a fresh']] })
    expect(await ask({ there: [] })).toMatchObject({ cleared: [], calls: [decoy, ['can_read a fresh']] })
  })

  test('is waited for with a decoy of another name each time', async () => {
    const { ask, decoys } = naming(createGateWorld())
    for (let time = 0; time < 5; time += 1) await ask()
    expect(decoys.size).toBe(5)
  })

  test.each(['can_read ?', 'can_read a'])(
    'is unavailable where the check of %s has no answer, whatever is there',
    async (broken) => {
      const world = createGateWorld()
      world.add(viewer)
      const { ask } = naming(world, (sent) => {
        if (sent[0]?.startsWith(broken)) throw new AppError('authorization_unavailable')
      })
      expect((await ask()).cleared).toBe('authorization_unavailable')
      if (broken === 'can_read ?')
        expect((await ask({ there: [] })).cleared).toBe('authorization_unavailable')
    },
  )

  test('is not cleared by a check of before another model came into force', async () => {
    const world = createGateWorld()
    world.add(viewer)
    world.onDecided(() => world.useModel('model-2'))
    expect((await naming(world).ask()).cleared).toBe('authorization_unavailable')
  })

  test('and that an agent is kept from is told of only by OpenFGA’s word; with a grant it is asked about all the same', async () => {
    const world = createGateWorld()
    world.add(
      viewer,
      'user:* sensitive document:a',
      'user:anne delegator delegation:d_1 until 2027-01-01T00:00:00Z',
      'agent:research-bot agent delegation:d_1',
      'delegation:d_1 delegated_to document:a',
    )
    const { ask } = naming(world)
    const both = ['can_read_delegated', 'can_be_told']
    const decoysOfBoth = both.map((relation) => `${relation} ? fresh`)
    const told = await ask({ principal: annesBot, tell: true })
    expect(told.calls).toEqual([decoysOfBoth, both.map((relation) => `${relation} a fresh`)])
    expect(told).toMatchObject({ cleared: [] })
    expect(told.clearing.tellable).toEqual(['a'])
    // One that may not ask is kept from it in the time of nothing.
    expect((await ask({ principal: annesBot })).calls).toEqual([['can_read_delegated ? fresh']])
    const grants = [{ id: 'g_1', documentIds: ['a'] }]
    expect((await ask({ principal: annesBot, grants })).calls).toHaveLength(2)
    world.remove(viewer)
    expect(await ask({ principal: annesBot, tell: true })).toMatchObject({
      cleared: [],
      calls: [decoysOfBoth],
    })
  })
})
