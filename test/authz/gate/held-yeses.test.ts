import { describe, expect, test, vi } from 'vitest'
import type { Question } from '../../../src/authz/gate/question.ts'
import { createVerdictCache, verdictKey } from '../../../src/authz/gate/verdict-cache.ts'

const lent = { user: 'user:anne', relation: 'delegator', object: 'delegation:d_1' } as const
const agent = { user: 'agent:bot', relation: 'agent', object: 'delegation:d_1' } as const
const question: Question = { user: 'user:anne', relation: 'can_read', contextual: [lent, agent] }
const fga = { storeId: 'store', modelId: 'model' }
const document = { documentId: 'a', publication: 1 }
const keyNow = () => verdictKey(question, fga)(document)

describe('a held yes is found', () => {
  test('by another question with the same answer, whatever the order of what is presented', () => {
    const key = keyNow()
    const other: Question = { ...question, contextual: [agent, lent] }
    expect(verdictKey(other, fga)(document)).toBe(key)
    // Asked again, as the next request of the same principal does.
    expect(verdictKey(question, { ...fga })(document)).toBe(key)
  })

  test.each<
    [
      what: string,
      question: Question,
      fga: typeof fga,
      document: { documentId: string; publication?: number },
    ]
  >([
    ['person', { ...question, user: 'user:bob' }, fga, document],
    ['relation', { ...question, relation: 'can_read_delegated' }, fga, document],
    ['delegation', { ...question, contextual: [lent] }, fga, document],
    ['model', question, { ...fga, modelId: 'next' }, document],
    ['store', question, { ...fga, storeId: 'next' }, document],
    ['document', question, fga, { ...document, documentId: 'b' }],
    ['publication', question, fga, { ...document, publication: 2 }],
    ['text, where there was none', question, fga, { documentId: 'a' }],
  ])('by nothing else: another %s', (_, asked, under, of) => {
    const key = keyNow()
    expect(verdictKey(asked, under)(of)).not.toBe(key)
    expect(keyNow()).toBe(key)
  })
})

describe('what this process wrote', () => {
  test('last is known by its time, and by no time while the replica may not have it', () => {
    let at = 5
    const cache = createVerdictCache({ now: () => at, ttlMs: 1_000 })
    expect(cache.wroteAt).toBe(Number.NEGATIVE_INFINITY)
    const first = cache.wrote([])
    const second = cache.wrote([])
    expect(cache.wroteAt).toBe(Number.POSITIVE_INFINITY)
    first()
    expect(cache.wroteAt).toBe(Number.POSITIVE_INFINITY)
    at = 9
    second()
    expect(cache.wroteAt).toBe(5)
    cache.drop()
    expect(cache.wroteAt).toBe(9)
  })

  test('is at most a second ahead where the clock was set back since, and stays there', () => {
    let at = 3_600_000
    const cache = createVerdictCache({ now: () => at, ttlMs: 1_000 })
    cache.wrote([])()
    at = 0
    expect(cache.wroteAt).toBe(1_000)
    at = 2_000
    expect(cache.wroteAt).toBe(1_000)
  })

  test('and dropped keeps out what was asked for before, and takes what is asked for after', () => {
    const cache = createVerdictCache({ now: () => 0, elapsed: () => 0, ttlMs: 1_000 })
    const { generation } = cache
    cache.put('before', { askedAt: 0, generation })
    cache.wrote(['document:a'])()
    cache.drop()
    cache.put('late', { askedAt: 0, generation })
    cache.put('after', { askedAt: 0, generation: cache.generation })
    expect(['before', 'late', 'after'].map((name) => cache.find(name, 0) !== undefined)).toEqual([
      false,
      false,
      true,
    ])
    expect(cache.removedSince(generation) === undefined).toBe(true)
    expect(cache.removedSince(cache.generation)).toEqual(new Set())
  })

  test('is remembered for ten thousand objects, those longest ago forgotten first, with all held before', () => {
    const cache = createVerdictCache({ now: () => 0, elapsed: () => 0, ttlMs: 1_000 })
    cache.put('key', { askedAt: 0, generation: 0 })
    cache.wrote(['document:a'])()
    cache.wrote(Array.from({ length: 9_999 }, (_, index) => `document:${index}`))()
    cache.wrote(['document:a'])()
    expect([cache.generation, cache.removedSince(0)?.size, cache.removedSince(1)?.size]).toEqual([
      3, 10_000, 10_000,
    ])
    expect(cache.find('key', 0)).toBeDefined()
    cache.wrote(['document:b'])()
    expect([cache.removedSince(1) === undefined, cache.find('key', 0)]).toEqual([true, undefined])
    expect([...(cache.removedSince(2) ?? [])]).toEqual(['document:a', 'document:b'])
    expect([...(cache.removedSince(3) ?? [])]).toEqual(['document:b'])
  })

  test('and took nothing away leaves what is held as it is', () => {
    const cache = createVerdictCache({ now: () => 0, elapsed: () => 0, ttlMs: 1_000 })
    cache.wrote([])()
    expect(cache.generation).toBe(0)
  })

  test('is held for so many, and no place is given to what may not be said again', () => {
    const cache = createVerdictCache({ now: () => 0, elapsed: () => 0, ttlMs: 1_000, entriesMax: 1 })
    cache.drop()
    const yes = { askedAt: 0, generation: cache.generation }
    cache.put('first', yes)
    cache.put('second', yes)
    cache.put('late', { askedAt: 0, generation: 0 })
    expect([cache.find('first', 0), cache.find('second', 0)]).toEqual([undefined, yes])
  })

  test('is said again for less than the time to live, and never where that is nothing', () => {
    const cache = createVerdictCache({ now: () => 0, elapsed: () => 0, ttlMs: 10 })
    cache.put('key', { askedAt: 0, generation: 0 })
    expect([cache.find('key', 9), cache.find('key', 10), cache.find('key', 9)]).toEqual([
      { askedAt: 0, generation: 0 },
      undefined,
      undefined,
    ])
    const none = createVerdictCache({ now: () => 0, elapsed: () => 0, ttlMs: 0 })
    none.put('key', { askedAt: 0, generation: 0 })
    expect(none.find('key', 0)).toBeUndefined()
  })

  test('is not said at the hour at which it was asked where the clock was set back while it was asked', () => {
    const cache = createVerdictCache({ now: () => 0, elapsed: () => 0, ttlMs: 10 })
    cache.put('key', { askedAt: 1, generation: 0 })
    // The first look: one that comes earlier would forget it.
    expect(cache.find('key', 1)).toBeUndefined()
  })

  test('is not said before the hour at which it was asked', () => {
    const cache = createVerdictCache({ now: () => 1, elapsed: () => 0, ttlMs: 10 })
    cache.put('key', { askedAt: 1, generation: 0 })
    expect([cache.find('key', 0), cache.find('key', 1)]).toEqual([undefined, undefined])
  })

  test('is not said again when a clock that was set back comes to the hour at which it was asked', () => {
    const hour = 3_600_000
    const clocks = { wall: hour, steady: 0 }
    const cache = createVerdictCache({ now: () => clocks.wall, elapsed: () => clocks.steady, ttlMs: 5_000 })
    const yes = { askedAt: hour, generation: 0 }
    clocks.wall += 2_000
    clocks.steady += 2_000
    cache.put('key', yes)
    clocks.wall -= 1_000
    clocks.steady += 2_900
    // Of 4.9 seconds, which the machine's clock takes for one.
    expect(cache.find('key', clocks.wall)).toEqual(yes)
    clocks.steady += 100
    expect(cache.find('key', clocks.wall)).toBeUndefined()
    cache.put('key', { ...yes, askedAt: clocks.wall })
    clocks.steady += hour
    // Nobody asked while the clock said less.
    expect(cache.find('key', clocks.wall)).toBeUndefined()
  })

  test('is not said again after a sleep, by the clock that the process has', () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const cache = createVerdictCache({ now: Date.now, ttlMs: 5_000 })
      const askedAt = Date.now()
      cache.put('key', { askedAt, generation: 0 })
      expect(cache.find('key', Date.now())).toBeDefined()
      vi.setSystemTime(askedAt + 3_600_000)
      expect(cache.find('key', askedAt)).toBeUndefined()
    } finally {
      vi.useRealTimers()
    }
  })
})
