import { describe, expect, test, vi } from 'vitest'
import { trustedIssuer } from '../../src/config/issuers.ts'
import { fetchJson } from '../../src/delegation/tokens/fetch-json.ts'
import { externalIssuer } from '../../src/delegation/tokens/issuers.ts'
import { remoteKeys } from '../../src/delegation/tokens/remote-keys.ts'
import { createElapsed } from '../../src/kernel/elapsed.ts'
import { startTestIssuer, type TestIssuer, type TestIssuerOptions } from '../support/issuer.ts'
import { movableClock } from './world.ts'

const header = { alg: 'ES256', kid: 'key-0' }

interface More {
  readonly jwksUri?: string
  readonly issuer?: string
  readonly timeoutMs?: number
}

function keysOf(issuer: TestIssuer, overrides: More = {}) {
  const clock = movableClock()
  const keys = remoteKeys({
    issuer: issuer.issuer,
    fetch,
    elapsed: clock.now,
    timeoutMs: 5_000,
    ...overrides,
  })
  return { clock, keys }
}

/** How the keys look where the issuer answers the key set's address so. */
async function withAnswer(answer: NonNullable<TestIssuerOptions['answer']>, overrides: More = {}) {
  const issuer = await startTestIssuer({
    answer: (request, response) => request.url?.endsWith('/jwks') === true && answer(request, response),
  })
  return { issuer, ...keysOf(issuer, overrides), [Symbol.asyncDispose]: issuer[Symbol.asyncDispose] }
}

describe('an issuer’s keys', () => {
  test('are found by discovery, once, however many tokens come at once', async () => {
    await using issuer = await startTestIssuer()
    const { keys } = keysOf(issuer)
    const found = await Promise.all(Array.from({ length: 20 }, () => keys(header)))
    expect(found.every(({ ok }) => ok)).toBe(true)
    expect(issuer.asked.filter((path) => path.endsWith('/jwks'))).toHaveLength(1)
    expect(issuer.asked[0]).toBe('/.well-known/oauth-authorization-server/realms/test')
  })

  test('come from jwks_uri without discovery where the settings name it', async () => {
    await using issuer = await startTestIssuer()
    const { keys } = keysOf(issuer, { jwksUri: `${issuer.issuer}/jwks` })
    expect((await keys(header)).ok).toBe(true)
    expect(issuer.asked).toEqual(['/realms/test/jwks'])
  })

  test('are not taken from a document that names another issuer', async () => {
    await using issuer = await startTestIssuer()
    const { keys } = keysOf(issuer, { issuer: `${issuer.issuer}/` })
    expect(await keys(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
    expect(issuer.asked.filter((path) => path.endsWith('/jwks'))).toEqual([])
  })

  test('are asked for again for an unknown kid, at most every 30 seconds', async () => {
    await using issuer = await startTestIssuer()
    const { keys, clock } = keysOf(issuer)
    await keys(header)
    await issuer.rotate()
    const rotated = { alg: 'ES256', kid: 'key-1' }
    for (let tries = 0; tries < 10; tries += 1) {
      expect(await keys({ alg: 'ES256', kid: `made-up-${tries}` })).toEqual({
        ok: false,
        reason: 'unknown_key',
      })
    }
    expect(await keys(rotated)).toEqual({ ok: false, reason: 'unknown_key' })
    expect(issuer.asked.filter((path) => path.endsWith('/jwks'))).toHaveLength(1)
    clock.move(31_000)
    expect((await keys(rotated)).ok).toBe(true)
    expect(await keys(header)).toEqual({ ok: false, reason: 'unknown_key' })
  })

  test('older than ten minutes are not used when no newer ones can be had', async () => {
    let broken = false
    await using served = await withAnswer((_, response) => {
      if (!broken) return false
      response.writeHead(500).end()
      return true
    })
    expect((await served.keys(header)).ok).toBe(true)
    broken = true
    served.clock.move(599_000)
    expect((await served.keys(header)).ok).toBe(true)
    served.clock.move(2_000)
    expect(await served.keys(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
    broken = false
    served.clock.move(2_000)
    expect((await served.keys(header)).ok).toBe(true)
  })

  test('are ten minutes old that long after they were asked for, however late the answer came', async () => {
    let isLate = true
    const clock = movableClock()
    await using issuer = await startTestIssuer()
    const keys = remoteKeys({
      issuer: issuer.issuer,
      async fetch(url, init) {
        const response = await fetch(url, init)
        if (isLate && url.endsWith('/jwks')) clock.move(5_000)
        return response
      },
      elapsed: clock.now,
    })
    expect((await keys(header)).ok).toBe(true)
    isLate = false
    await issuer.rotate()
    clock.move(594_000)
    expect((await keys(header)).ok).toBe(true)
    clock.move(2_000)
    expect(await keys(header)).toEqual({ ok: false, reason: 'unknown_key' })
  })

  test.each([
    ['the machine slept, and the clock that never jumps stood still', { wall: 600_000, steady: 0 }],
    ['the machine’s clock was set back', { wall: -86_400_000, steady: 600_000 }],
  ])('count no longer than ten minutes where %s', async (_, later) => {
    await using issuer = await startTestIssuer()
    const clocks = { wall: Date.now(), steady: 0 }
    const keys = remoteKeys({
      issuer: issuer.issuer,
      fetch,
      elapsed: createElapsed(
        () => clocks.wall,
        () => clocks.steady,
      ),
    })
    expect((await keys(header)).ok).toBe(true)
    await issuer.rotate()
    expect((await keys(header)).ok).toBe(true)
    expect(keys.edition()).toBeDefined()
    clocks.wall += later.wall
    clocks.steady += later.steady
    expect(keys.edition()).toBeUndefined()
    expect(await keys(header)).toEqual({ ok: false, reason: 'unknown_key' })
  })

  test('are asked for again after a sleep, by the clock that the process has', async () => {
    await using issuer = await startTestIssuer()
    const keys = remoteKeys({ issuer: issuer.issuer, fetch })
    expect((await keys(header)).ok).toBe(true)
    await issuer.rotate()
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 600_000 })
    try {
      expect(keys.edition()).toBeUndefined()
      expect(await keys(header)).toEqual({ ok: false, reason: 'unknown_key' })
    } finally {
      vi.useRealTimers()
    }
  })

  test('are asked for again a second after a failure, also where the clock was set back meanwhile', async () => {
    let isAway = true
    await using served = await withAnswer((_, response) => {
      if (isAway) response.writeHead(503).end()
      return isAway
    })
    const keys = remoteKeys({ issuer: served.issuer.issuer, fetch })
    expect(await keys(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
    isAway = false
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 120_000 })
    try {
      await expect.poll(async () => (await keys(header)).ok, { timeout: 20_000 }).toBe(true)
    } finally {
      vi.useRealTimers()
    }
  }, 30_000)
})

describe('a key set is refused, as 503 and never as a pass,', () => {
  test('when it redirects, even to good keys', async () => {
    await using good = await startTestIssuer()
    await using served = await withAnswer((_, response) => {
      response.writeHead(302, { location: `${good.issuer}/jwks` }).end()
      return true
    })
    expect(await served.keys(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
    expect(good.asked).toEqual([])
  })

  test('when it is too large, however it is sent', async () => {
    await using served = await withAnswer((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(`{"keys":[],"padding":"${'x'.repeat(300_000)}"}`)
      return true
    })
    expect(await served.keys(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
  })

  test('when it takes too long, in the headers or drop by drop', async () => {
    const hasty = { timeoutMs: 300 }
    await using silent = await withAnswer(() => true, hasty)
    await using dripping = await withAnswer((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const drip = setInterval(() => response.write(' '), 50)
      response.on('close', () => clearInterval(drip))
      return true
    }, hasty)
    expect(await silent.keys(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
    expect(await dripping.keys(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
  })

  test.each(['', 'null', '[]', '{"keys":{}}', '<html>', '{"keys":[{}]}'])(
    'when it is no key set: %s',
    async (body) => {
      await using served = await withAnswer((_, response) => {
        response.writeHead(200).end(body)
        return true
      })
      expect(await served.keys(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
    },
  )

  test('when nobody answers; and it is not asked again within a second', async () => {
    const issuer = await startTestIssuer()
    const { keys } = keysOf(issuer)
    await issuer[Symbol.asyncDispose]()
    let requestCount = 0
    const counting = remoteKeys({
      issuer: issuer.issuer,
      fetch: (url, init) => {
        requestCount += 1
        return fetch(url, init)
      },
    })
    expect(await keys(header)).toEqual({ ok: false, reason: 'keys_unavailable' })
    await counting(header)
    const before = requestCount
    await counting(header)
    expect(requestCount).toBe(before)
  })
})

test('symmetric keys in a key set are never used', async () => {
  await using served = await withAnswer((_, response) => {
    response
      .writeHead(200)
      .end(JSON.stringify({ keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'key-0', alg: 'HS256' }] }))
    return true
  })
  expect(await served.keys(header)).toEqual({ ok: false, reason: 'unknown_key' })
})

test('fetchJson gives nothing for a body that is not UTF-8', async () => {
  expect(
    await fetchJson('http://issuer.test', async () => new Response(new Uint8Array([34, 0xff, 34])), 100),
  ).toBeUndefined()
})

test('settings under which a token could mean two things are refused', () => {
  const entry = {
    issuer: 'https://idp.test',
    audiences: { api: 'a', mcp: 'b' },
    namespace: 'idp',
    preset: 'generic',
    person_clients: ['app'],
  }
  const make = (overrides: object) => () =>
    externalIssuer(trustedIssuer.parse({ ...entry, ...overrides }), { fetch })
  expect(make({})).not.toThrow()
  expect(make({ audiences: { api: 'a', mcp: 'a' } })).toThrow('must differ')
  expect(make({ service_clients: { app: 'loader' } })).toThrow('more than one')
  expect(make({ exchange_clients: { app: 'agent-app' } })).toThrow('more than one')
})
