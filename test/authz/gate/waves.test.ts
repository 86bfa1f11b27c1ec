import { describe, expect, test } from 'vitest'
import { AppError } from '../../../src/kernel/errors.ts'
import { anne } from '../double.ts'
import { gateOf } from '../parts.ts'
import { createGateWorld } from './world.ts'

const numbered = (count: number) => Array.from({ length: count }, (_, index) => `d${index}`)
const itemsOf = (ids: readonly string[]) => ids.map((documentId) => ({ documentId }))

/** 100 documents in their rank, of which anne may read every fifth; the replica knows. */
function ranked() {
  const world = createGateWorld()
  world.add(
    ...numbered(100)
      .filter((_, index) => index % 5 === 0)
      .map((id) => `user:anne viewer document:${id}`),
  )
  world.pass(20_000)
  return world
}

describe('an answer of ten', () => {
  test('takes one call of ten checks with the local check, and several of many without', async () => {
    const world = ranked()
    const withIt = gateOf({ fga: world.fga, now: world.now, index: world.replica }).open(anne, {
      consistency: 'strict',
    })
    const without = gateOf({ fga: world.fga, now: world.now }).open(anne, {
      consistency: 'strict',
    })
    const [one, other] = [
      await withIt.clear(itemsOf(numbered(100)), 10),
      await without.clear(itemsOf(numbered(100)), 10),
    ]
    expect(one.cleared).toEqual(other.cleared)
    expect(withIt.counts).toMatchObject({ calls: 1, checks: 10, passedOver: 36 })
    console.log(
      `ten of fifty ranked documents: ${withIt.counts.checks} checks in ${withIt.counts.calls} call with the local ` +
        `check, ${without.counts.checks} in ${without.counts.calls} without`,
    )
    expect(without.counts.checks).toBeGreaterThanOrEqual(50)
    expect(without.counts.calls).toBeGreaterThan(2)
  })

  test('is filled up from further down where OpenFGA refuses what the replica would let through', async () => {
    const world = ranked()
    world.answer((id) => (['d0', 'd5'].includes(id) ? 'denied' : undefined))
    const clearing = gateOf({ fga: world.fga, now: world.now, index: world.replica }).open(anne, {
      consistency: 'strict',
    })
    const { cleared } = await clearing.clear(itemsOf(numbered(100)), 10)
    expect(cleared.map(({ documentId }) => documentId)).toEqual(
      numbered(100)
        .filter((_, index) => index % 5 === 0)
        .slice(2, 12),
    )
    expect(clearing.counts).toMatchObject({ denied: 2 })
  })

  test('asks about everything, refused or not, while the replica lacks the tail', async () => {
    const world = ranked()
    world.truth.add({ user: 'user:anne', relation: 'viewer', object: 'document:d1' })
    world.pass(1_000, 'behind')
    expect((await world.ask({ ids: ['d1'] })).ids).toEqual(['d1'])
    world.pass(1)
    expect(await world.ask({ ids: ['d1'] })).toMatchObject({ ids: [], calls: [] })
  })

  test('does not ask twice about a document in one request', async () => {
    const world = ranked()
    const clearing = gateOf({ fga: world.fga, now: world.now }).open(anne, {
      consistency: 'strict',
    })
    for (let nth = 0; nth < 2; nth += 1) {
      const { cleared } = await clearing.clear(itemsOf(['d0', 'd1', 'd0']))
      expect(cleared.map(({ documentId }) => documentId)).toEqual(['d0', 'd0'])
    }
    expect(clearing.counts).toMatchObject({ checks: 2, calls: 1 })
  })
})

describe('a clearing that was told something before', () => {
  const all = itemsOf(['a', 'b', 'c'])
  const strict = { consistency: 'strict' } as const

  test('gives no more than enough of it when its time ends', async () => {
    const world = ranked()
    const ending = new AbortController()
    const clearing = gateOf(world).open(anne, { ...strict, signal: ending.signal })
    const known = itemsOf(['d0', 'd5', 'd10'])
    expect((await clearing.clear(known)).cleared).toEqual(known)
    ending.abort()
    const { cleared, stopped } = await clearing.clear(known, 2)
    expect([cleared, stopped?.code]).toEqual([known.slice(0, 2), 'deadline_exceeded'])
  })

  test('takes it in its turn only: what stands before it is asked about first', async () => {
    const world = createGateWorld()
    world.answer((id) => (id === 'a' ? 'denied' : 'allowed'))
    const clearing = gateOf(world).open(anne, strict)
    await clearing.clear(itemsOf(['c']))
    expect((await clearing.clear(all, 1)).cleared).toEqual(itemsOf(['b']))
  })
})

test('an answer whose time is over says so, also where nobody has to be asked', async () => {
  const world = ranked()
  world.pass(20_000)
  const known = { ids: ['d0'] }
  expect((await world.ask(known)).proofs).toEqual([{ kind: 'asked_fast' }])
  expect((await world.ask(known)).proofs).toEqual([{ kind: 'held', ageMs: 0 }])
  await expect(world.ask({ ...known, signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'deadline_exceeded',
  })
})

test('an answer says that OpenFGA did not answer, also where the replica had refused all of the first it looked at', async () => {
  const world = createGateWorld()
  world.add(
    ...numbered(300)
      .slice(200)
      .map((id) => `user:anne viewer document:${id}`),
  )
  world.pass(20_000)
  world.onDecided(() => {
    throw new AppError('authorization_unavailable')
  })
  await expect(world.ask({ ids: numbered(300) })).rejects.toMatchObject({ code: 'authorization_unavailable' })
})
