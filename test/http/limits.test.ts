import fc from 'fast-check'
import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import type { AppEnv } from '../../src/http/env.ts'
import { createLimits, limitAddress, principalKeys } from '../../src/http/middleware/limits.ts'
import { createErrorHandler } from '../../src/http/problem.ts'
import { AppError } from '../../src/kernel/errors.ts'
import { principal } from './principal.ts'

function limitsAt(perMinute: number, bucketsMax?: number) {
  let time = 1_000_000
  const limits = createLimits({ perMinute, now: () => time, ...(bucketsMax !== undefined && { bucketsMax }) })
  /** How many of `times` requests are taken. */
  const taken = (times: number, ...keys: readonly string[]): number =>
    Array.from({ length: times }).filter(() => refusal(...keys) === undefined).length
  const refusal = (...keys: readonly string[]): AppError | undefined => {
    try {
      limits.take(keys)
      return undefined
    } catch (error) {
      if (error instanceof AppError) return error
      throw error
    }
  }
  const pass = (ms: number): void => {
    time += ms
  }
  return { limits, taken, refusal, pass }
}

describe('limits', () => {
  test('take a minute of requests at once, and then none', () => {
    const { taken } = limitsAt(60)
    expect(taken(100, 'a')).toBe(60)
  })

  test('refill evenly, and never above a minute of requests', () => {
    const { taken, pass } = limitsAt(60)
    taken(60, 'a')
    pass(10_000)
    expect(taken(100, 'a')).toBe(10)
    pass(3_600_000)
    expect(taken(100, 'a')).toBe(60)
  })

  test('say with 429 in how many seconds a request will be taken, and keep that promise', () => {
    const { refusal, taken, pass } = limitsAt(6)
    taken(6, 'a')
    const error = refusal('a')
    expect(error).toMatchObject({ code: 'rate_limited', status: 429, headers: { 'retry-after': '10' } })
    pass(4_500)
    expect(refusal('a')?.headers).toEqual({ 'retry-after': '6' })
    pass(6_000)
    expect(refusal('a')).toBeUndefined()
  })

  test('say whole seconds and at least one, whatever the rate; waiting that long is always enough', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 0, max: 59_999 }), (rate, ms) => {
        const { refusal, taken, pass } = limitsAt(rate)
        taken(rate, 'a')
        pass(ms)
        for (;;) {
          const error = refusal('a')
          if (error === undefined) continue
          const wait = error.headers['retry-after'] ?? ''
          expect(wait).toMatch(/^[1-9]\d*$/)
          pass(Number(wait) * 1_000)
          expect(refusal('a')).toBeUndefined()
          return
        }
      }),
      { numRuns: 20 },
    )
  })

  test('shut nobody out when the clock is set back', () => {
    const { taken, pass } = limitsAt(60)
    taken(30, 'a')
    pass(-3_600_000)
    expect(taken(30, 'a')).toBe(30)
    pass(1_000)
    expect(taken(30, 'a')).toBe(1)
  })

  test('keep everybody apart', () => {
    const { taken } = limitsAt(5)
    expect(taken(9, 'a')).toBe(5)
    expect(taken(9, 'b')).toBe(5)
  })

  test('refuse when one of the buckets is empty, however full the others are', () => {
    const { taken, refusal } = limitsAt(5)
    taken(5, 'client x')
    expect(refusal('subject a', 'client x')).toMatchObject({ code: 'rate_limited' })
    expect(refusal('subject a', 'client y')).toBeUndefined()
  })

  test('are not filled by refusals: whoever goes on knocking waits no longer and no shorter', () => {
    const { taken, refusal, pass } = limitsAt(60)
    taken(60, 'a')
    for (let times = 0; times < 100; times += 1) {
      pass(5)
      refusal('a')
    }
    pass(600)
    expect(taken(5, 'a')).toBe(1)
  })

  test('hold a bounded number of buckets, and forget the idlest first', () => {
    const { taken } = limitsAt(2, 3)
    taken(2, 'busy')
    for (const name of ['b', 'c', 'd', 'e', 'f']) {
      taken(1, name)
      taken(1, 'busy')
    }
    // Still empty: it was never the idlest.
    expect(taken(1, 'busy')).toBe(0)
    // Forgotten, hence full again.
    expect(taken(3, 'b')).toBe(2)
  })
})

describe('who shares a bucket', () => {
  test('is the pair of person and outermost agent, and the client', () => {
    const keys = principalKeys({ ...principal, actors: ['agent:a', 'agent:inner'] })
    expect(keys).toEqual(['subject user:anne agent:a', 'client pages'])
    expect(principalKeys(principal)[0]).not.toBe(keys[0])
  })

  test('is the network address, before any token is looked at', async () => {
    const app = new Hono<AppEnv>()
    app.onError(createErrorHandler({ publicUrl: 'http://localhost', log: () => undefined }))
    app.use('*', limitAddress(createLimits({ perMinute: 1, now: () => 0 })))
    app.get('/', (c) => c.text('ok'))
    const from = (remoteAddress: string) =>
      app.request(
        '/',
        { headers: { 'x-forwarded-for': `${Math.random()}` } },
        { incoming: { socket: { remoteAddress } } },
      )
    expect((await from('10.0.0.1')).status).toBe(200)
    const refused = await from('10.0.0.1')
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('60')
    expect((await from('10.0.0.2')).status).toBe(200)
  })
})
