import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../../src/authz/fga.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import { annesBot } from '../double.ts'
import { createTestIndex } from '../parts.ts'
import { answering, type Saying } from './answering.ts'
import { createGateWorld } from './world.ts'

// Of what an agent is kept from, it may hear where OpenFGA says `can_be_told`, and never more.

const items = (...ids: readonly string[]) => ids.map((documentId) => ({ documentId }))
const read = 'can_read_delegated'
const says =
  (verdicts: Readonly<Record<string, Verdict | 'too deep'>>): Saying =>
  (relation, id) =>
    verdicts[`${relation} ${id}`] ?? 'denied'

describe('what may be told beside an answer', () => {
  test('is what OpenFGA says, in the order given, of what was not cleared', async () => {
    const { gate } = answering(
      says({
        [`${read} a`]: 'allowed',
        'can_be_told a': 'allowed',
        'can_be_told c': 'allowed',
        'can_be_told b': 'allowed',
      }),
    )
    const clearing = gate.open(annesBot, { consistency: 'strict' })
    const { cleared } = await clearing.clear(items('a', 'b', 'd'), 3, ['c', 'a', 'd', 'b'])
    expect(cleared.map(({ documentId }) => documentId)).toEqual(['a'])
    expect(clearing.tellable).toEqual(['c', 'b'])
    expect(clearing.counts).toMatchObject({ considered: 3, checks: 7, calls: 1 })
    expect(clearing.requestIds).toEqual(['r-1'])
  })

  test.each(['error', 'too deep'] as const)(
    'is nothing where OpenFGA has no verdict on reading it: %s',
    async (verdict) => {
      const { gate } = answering(says({ [`${read} a`]: verdict, 'can_be_told a': 'allowed' }))
      const clearing = gate.open(annesBot, { consistency: 'strict' })
      await clearing.clear(items('a'), 1, ['a'])
      expect(clearing.tellable).toEqual([])
    },
  )

  test('is nothing where nobody asked, and nothing before it was asked', async () => {
    const { gate, calls } = answering(says({ 'can_be_told a': 'allowed' }))
    const clearing = gate.open(annesBot, { consistency: 'strict' })
    expect(clearing.tellable).toEqual([])
    await clearing.clear(items('a'))
    expect(clearing.tellable).toEqual([])
    expect(calls.flat().map(({ relation }) => relation)).toEqual([read])
  })

  test('is asked once, in the first call, however many waves follow', async () => {
    const { gate, calls } = answering(says({ 'can_be_told x': 'allowed' }))
    const clearing = gate.open(annesBot, { consistency: 'strict' })
    await clearing.clear(items('a', 'b', 'c', 'd'), 1, ['x'])
    expect(calls.map((call) => call.map(({ relation, id }) => `${relation} ${id}`))).toEqual([
      [`${read} a`, 'can_be_told x'],
      [`${read} b`, `${read} c`],
      [`${read} d`],
    ])
    // A clearing that goes on with other items keeps what it was told.
    await clearing.clear(items('e'), 1)
    expect(clearing.tellable).toEqual(['x'])
  })

  test('is asked where nothing may be read at all', async () => {
    const { gate, calls } = answering(says({ 'can_be_told x': 'allowed' }))
    const clearing = gate.open(annesBot, { consistency: 'strict' })
    expect(await clearing.clear([], 10, ['x'])).toEqual({ cleared: [], stopped: undefined })
    expect([clearing.tellable, calls.length]).toEqual([['x'], 1])
  })

  test('stops no answer when OpenFGA says nothing of it', async () => {
    const unanswered: Saying = (relation) => {
      if (relation === 'can_be_told') throw new AppError('authorization_unavailable')
      return 'denied'
    }
    const { gate } = answering(unanswered)
    const clearing = gate.open(annesBot, { consistency: 'strict' })
    expect(await clearing.clear([], 10, ['x'])).toEqual({ cleared: [], stopped: undefined })
    expect([clearing.tellable, clearing.counts]).toEqual([[], expect.objectContaining({ errors: 0 })])
    // Nor where the rest needs no question: the replica refuses it.
    const { gate: other } = answering(unanswered, { index: createTestIndex('model-1', () => 0) })
    const idle = other.open(annesBot, { consistency: 'strict' })
    expect(await idle.clear(items('a'), 10, ['x'])).toEqual({ cleared: [], stopped: undefined })
    expect(idle.isRefused('a')).toBe(true)
  })

  test('goes by the model that the answer goes by', () => {
    const { gate } = answering(says({}))
    expect(gate.open(annesBot, { consistency: 'strict' }).modelId).toBe('model-1')
  })
})

describe('a question to OpenFGA', () => {
  test('ends with the request', async () => {
    const { gate, calls } = answering(says({}))
    const { signal } = new AbortController()
    await gate.open(annesBot, { consistency: 'strict', signal }).clear(items('a'))
    await gate.open(annesBot, { consistency: 'strict' }).clear(items('a'))
    expect(calls.flat().map((asked) => asked.signal)).toEqual([signal, undefined])
    const named = answering(says({}))
    await named.gate.named(annesBot, { documentIds: ['a'], signal }).clear(items('a'))
    expect(new Set(named.calls.flat().map((asked) => asked.signal))).toEqual(new Set([signal]))
  })

  test('that fails stops nothing while another call of the same answer is answered', async () => {
    let callCount = 0
    const { gate } = answering(() => {
      callCount += 1
      if (callCount === 1) throw new AppError('authorization_unavailable')
      return 'allowed'
    })
    const clearing = gate.open(annesBot, { consistency: 'strict' })
    const { cleared, stopped } = await clearing.clear(
      items(...Array.from({ length: 120 }, (_, index) => `d${index}`)),
    )
    expect(stopped).toBeUndefined()
    expect(cleared.length).toBeGreaterThan(0)
    expect(clearing.counts.errors).toBe(120 - cleared.length)
  })

  test('that fails by a defect of ours is no missing answer', async () => {
    const { gate } = answering(() => {
      throw new TypeError('a defect')
    })
    const clearing = gate.open(annesBot, { consistency: 'strict' })
    await expect(clearing.clear(items('a'))).rejects.toThrow('a defect')
    expect(clearing.isRefused('a')).toBe(true)
  })

  test('goes past all caches where something was taken away after the first of many was looked at', async () => {
    const world = createGateWorld()
    const ids = Array.from({ length: 300 }, (_, index) => `d${index}`)
    world.add(...ids.map((id) => `user:anne viewer document:${id}`))
    world.pass(20_000)
    const before = await world.ask({ ids })
    expect(before.calls.every(({ consistency }) => consistency === 'cached')).toBe(true)
    const other = createGateWorld()
    other.add(...ids.map((id) => `user:anne viewer document:${id}`))
    other.pass(20_000)
    // The look at the first two hundred is over when this runs.
    setImmediate(() => {
      other.held.wrote(['document:d0'])()
      // The replica has read of it by the time that the others are looked at.
      other.pass(1)
    })
    const { calls, ids: found, proofs } = await other.ask({ ids })
    expect(found).toHaveLength(300)
    expect(calls.every(({ consistency }) => consistency === 'fresh')).toBe(true)
    expect(new Set(proofs.map((proof) => proof?.kind))).toEqual(new Set(['asked']))
  })
})

describe('a document that is named', () => {
  const named = async (answer: Saying, tell = true) => {
    const { gate, calls } = answering(answer)
    const clearing = gate.named(annesBot, { documentIds: ['a', 'b'], tell })
    const cleared = await clearing.clear(items('a', 'b'))
    return { cleared: cleared.map(({ documentId }) => documentId), clearing, calls }
  }

  test('is told of where it may not be read and OpenFGA says so', async () => {
    const { cleared, clearing, calls } = await named(
      says({ [`${read} a`]: 'allowed', 'can_be_told a': 'allowed', 'can_be_told b': 'allowed' }),
    )
    expect([cleared, clearing.tellable]).toEqual([['a'], ['b']])
    expect(clearing.requestIds).toEqual(calls.map((_, place) => `r-${place + 1}`))
    expect(clearing.modelId).toBe('model-1')
  })

  test('is not told of where OpenFGA has no verdict on reading it, or nobody asked', async () => {
    const told = says({ [`${read} a`]: 'error', 'can_be_told a': 'allowed' })
    expect((await named(told)).clearing.tellable).toEqual([])
    const denied = says({ 'can_be_told a': 'allowed' })
    expect((await named(denied)).clearing.tellable).toEqual(['a'])
    expect((await named(denied, false)).clearing.tellable).toEqual([])
  })
})
