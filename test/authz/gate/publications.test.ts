import { describe, expect, test } from 'vitest'
import type { Guarded } from '../../../src/authz/gate.ts'
import { anne } from '../double.ts'
import { gateOf } from '../parts.ts'
import { createGateWorld } from './world.ts'

const viewer = 'user:anne viewer document:a'
const first: Guarded = { documentId: 'a', publication: 1 }
const second: Guarded = { documentId: 'a', publication: 2, isNew: true }

describe('a yes counts for what the document had in force, and not for what was published since', () => {
  test('in one request: it is asked again, and a no is a no', async () => {
    const world = createGateWorld()
    world.add(viewer)
    const gate = gateOf(world)
    const clearing = gate.open(anne, { consistency: 'strict' })
    expect((await clearing.clear([first])).cleared).toEqual([first])
    world.remove(viewer)
    expect((await clearing.clear([second])).cleared).toEqual([])
    expect([clearing.isRefused('a'), clearing.proofOf('a'), clearing.counts.checks]).toEqual([
      true,
      undefined,
      2,
    ])
  })

  test('nor where the time ends before it was asked again', async () => {
    const world = createGateWorld()
    world.add(viewer)
    const ending = new AbortController()
    const clearing = gateOf(world).open(anne, { consistency: 'strict', signal: ending.signal })
    await clearing.clear([first])
    ending.abort()
    expect((await clearing.clear([second])).cleared).toEqual([])
    const late = new AbortController()
    const slow = gateOf(world).open(anne, { consistency: 'strict', signal: late.signal })
    await slow.clear([first])
    world.onDecided(() => new Promise(() => undefined))
    const waiting = slow.clear([second])
    late.abort()
    expect((await waiting).cleared).toEqual([])
  })

  test('nor where the time ends while others are looked at, of which it was the first', async () => {
    const world = createGateWorld()
    world.add(viewer)
    const ending = new AbortController()
    const clearing = gateOf(world).open(anne, { consistency: 'strict', signal: ending.signal })
    expect((await clearing.clear([first])).cleared).toEqual([first])
    // Of three looks, two hundred at a time, the first is over when this runs.
    setImmediate(() => ending.abort())
    const others = Array.from({ length: 500 }, (_, index) => ({ documentId: `d${index}` }))
    const { cleared, stopped } = await clearing.clear([second, ...others])
    expect([cleared, stopped?.code]).toEqual([[], 'deadline_exceeded'])
  })

  test('nor where a wave had cleared it before, and the next is refused what is in force', async () => {
    const world = createGateWorld()
    world.add(viewer, 'user:anne viewer document:b', 'user:anne viewer document:c')
    world.answer((id) => (id === 'b' ? 'denied' : undefined))
    world.onDecided(() => {
      world.truth.remove({ user: 'user:anne', relation: 'viewer', object: 'document:a' })
    })
    const clearing = gateOf(world).open(anne, { consistency: 'strict' })
    const [refused, last] = [{ documentId: 'b' }, { documentId: 'c' }]
    const { cleared } = await clearing.clear([first, refused, second, last], 2)
    expect(cleared).toEqual([last])
    expect(cleared.map(({ documentId }) => clearing.proofOf(documentId))).not.toContain(undefined)
  })

  test('a held yes of another publication is not said again', async () => {
    const world = createGateWorld()
    world.add(viewer)
    world.pass(20_000)
    expect((await world.ask({ documents: [first] })).proofs).toEqual([{ kind: 'asked_fast' }])
    expect((await world.ask({ documents: [first] })).proofs).toEqual([{ kind: 'held', ageMs: 0 }])
    // Another process took her off, and published after it: this replica has not heard of it.
    world.truth.remove({ user: 'user:anne', relation: 'viewer', object: 'document:a' })
    const { ids, calls } = await world.ask({ documents: [second] })
    expect([ids, calls]).toEqual([[], [{ consistency: 'fresh', ids: ['a'] }]])
  })

  test('what says that it was said before is the same each time, and gone once it was asked anew', async () => {
    const world = createGateWorld()
    world.add(viewer)
    world.pass(20_000)
    await world.ask({ documents: [first] })
    const clearing = (await world.ask({ documents: [first] })).clearing
    const yes = clearing.cachedAllow('a')
    expect(yes).toBeDefined()
    expect((await world.ask({ documents: [first] })).clearing.cachedAllow('a')).toBe(yes)
    await clearing.clear([second])
    expect([clearing.proofOf('a'), clearing.cachedAllow('a')]).toEqual([{ kind: 'asked' }, undefined])
  })

  test("what came into force a moment ago is asked about past OpenFGA's caches, and then held", async () => {
    const world = createGateWorld()
    world.add(viewer)
    world.pass(20_000)
    expect((await world.ask({ documents: [second] })).proofs).toEqual([{ kind: 'asked' }])
    expect((await world.ask({ documents: [second] })).proofs).toEqual([{ kind: 'held', ageMs: 0 }])
  })
})
