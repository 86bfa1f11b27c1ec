import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import type { AppEnv } from '../../src/http/env.ts'
import {
  type Admission,
  createAddressLimits,
  createAdmission,
  createLimits,
  type Limits,
} from '../../src/http/middleware/limits.ts'
import { createErrorHandler } from '../../src/http/problem.ts'
import { AppError } from '../../src/kernel/errors.ts'
import type { Principal } from '../../src/kernel/principal.ts'
import fc from '../support/properties.ts'
import { principal } from './principal.ts'

function limitsAt(perMinute: number, bucketsMax?: number) {
  let time = 1_000_000
  const limits = createLimits({ perMinute, now: () => time, ...(bucketsMax !== undefined && { bucketsMax }) })
  /** How many of `times` requests are taken. */
  const taken = (times: number, key: string): number =>
    Array.from({ length: times }).filter(() => refusal(key) === undefined).length
  const refusal = (key: string): AppError | undefined => {
    try {
      limits.take(key)
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
    // Nor one less where a minute is no whole number of waits: their sum is a little over it.
    for (let rate = 1; rate <= 100; rate += 1) expect(limitsAt(rate).taken(rate + 1, 'a')).toBe(rate)
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

  test('hold a bounded number of buckets, and never forget who is bounded for those who come from ever new addresses', () => {
    const { taken, pass } = limitsAt(2, 3)
    taken(2, 'bounded')
    for (let stranger = 0; stranger < 1_000; stranger += 1) taken(1, `stranger ${stranger}`)
    expect(taken(1, 'bounded')).toBe(0)
    // Forgotten, hence full again.
    expect(taken(3, 'stranger 0')).toBe(2)
    // Who came back since has moved up.
    pass(60_000)
    taken(1, 'bounded')
    taken(2, 'other')
    for (let stranger = 0; stranger < 1_000; stranger += 1) taken(1, `late ${stranger}`)
    expect(taken(1, 'other')).toBe(0)
  })

  test('keep the same account whatever is taken, given back and waited for: no more than a minute’s worth, and no less', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.array(
          fc.oneof(fc.constant('take'), fc.constant('give back'), fc.integer({ min: 0, max: 70_000 })),
        ),
        (rate, steps) => {
          const { limits, taken, pass } = limitsAt(rate)
          let tokens = rate
          for (const step of steps) {
            if (typeof step === 'number') {
              pass(step)
              tokens = Math.min(rate, tokens + (step * rate) / 60_000)
            } else if (step === 'give back') {
              limits.giveBack('a')
              tokens = Math.min(rate, tokens + 1)
            } else {
              const expected = tokens > 1 - 1e-6 ? 1 : 0
              expect(taken(1, 'a')).toBe(expected)
              tokens -= expected
            }
          }
        },
      ),
      { numRuns: 100 },
    )
  })
})

describe('limits by address', () => {
  const taken = (limits: Limits, keys: readonly string[]): number =>
    keys.filter((key) => {
      try {
        limits.take(key)
        return true
      } catch {
        return false
      }
    }).length
  const networks = (count: number, of: (n: number) => string) =>
    Array.from({ length: count }, (_, n) => of(n))

  test('give ten /64 of one /48 what they are worth, and the rest of its 65,536 nothing', () => {
    const limits = createAddressLimits({ perMinute: 3, now: () => 0 })
    expect(
      taken(
        limits,
        networks(9, () => '2001:db8:1:0::/64'),
      ),
    ).toBe(3)
    expect(
      taken(
        limits,
        networks(200, (n) => `2001:db8:1:${n.toString(16)}::/64`),
      ),
    ).toBe(27)
    expect(
      taken(
        limits,
        networks(9, () => '2001:db8:2:0::/64'),
      ),
    ).toBe(3)
  })

  test('tell apart what stands behind the network, and know no wider one of IPv4', () => {
    const limits = createAddressLimits({ perMinute: 3, now: () => 0 })
    expect(
      taken(
        limits,
        networks(40, (n) => `2001:db8:1:${n}::/64 anne`),
      ),
    ).toBe(30)
    expect(
      taken(
        limits,
        networks(4, () => '2001:db8:1:0::/64 bob'),
      ),
    ).toBe(3)
    expect(
      taken(
        limits,
        networks(100, (n) => `192.0.2.${n}`),
      ),
    ).toBe(100)
  })

  test('give back to both networks what did not count', () => {
    const limits = createAddressLimits({ perMinute: 3, now: () => 0 })
    for (let time = 0; time < 100; time += 1) {
      limits.take('2001:db8:1:0::/64')
      limits.giveBack('2001:db8:1:0::/64')
    }
    expect(
      taken(
        limits,
        networks(40, (n) => `2001:db8:1:${n}::/64`),
      ),
    ).toBe(30)
  })
})

describe('who shares a bucket', () => {
  const admitted = (admission: Admission, times: number, who: Principal): number =>
    Array.from({ length: times }).filter(() => {
      try {
        admission.principal(who)
        return true
      } catch {
        return false
      }
    }).length

  test('is the pair of person and outermost agent: another person or another agent has its own', () => {
    const admission = createAdmission({ perMinute: 3, now: () => 0 })
    expect(admitted(admission, 10, { ...principal, actors: ['agent:a', 'agent:inner'] })).toBe(3)
    expect(admitted(admission, 10, { ...principal, actors: ['agent:a'] })).toBe(0)
    expect(admitted(admission, 10, { ...principal, actors: ['agent:b'] })).toBe(3)
    expect(admitted(admission, 10, { ...principal, subject: 'user:bob', actors: ['agent:a'] })).toBe(3)
  })

  test('is the client, at twenty times the rate: one person cannot shut out those who share it', () => {
    const admission = createAdmission({ perMinute: 3, now: () => 0 })
    const everybody = Array.from({ length: 30 }, (_, index) =>
      admitted(admission, 3, { ...principal, subject: `user:p${index}` }),
    )
    expect(everybody.reduce((sum, count) => sum + count, 0)).toBe(60)
    expect(admitted(admission, 3, { ...principal, subject: 'user:late', client: 'another' })).toBe(3)
  })

  test('is the network address, at twenty times the rate, before any token is looked at', async () => {
    const app = new Hono<AppEnv>()
    app.onError(createErrorHandler({ publicUrl: 'http://localhost', log: () => undefined }))
    app.use('*', createAdmission({ perMinute: 1, now: () => 0 }).address)
    app.get('/', (c) => c.text('ok'))
    const from = (remoteAddress: string) =>
      app.request(
        '/',
        { headers: { 'x-forwarded-for': `${Math.random()}` } },
        { incoming: { socket: { remoteAddress } } },
      )
    for (let request = 0; request < 20; request += 1) expect((await from('10.0.0.1')).status).toBe(200)
    const refused = await from('10.0.0.1')
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('3')
    expect((await from('10.0.0.2')).status).toBe(200)
  })
})
