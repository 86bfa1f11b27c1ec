import { decodeJwt, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Fetch } from '../../../src/delegation/tokens/fetch-json.ts'
import {
  callbackPath,
  createUpstreamProvider,
  type UpstreamProvider,
  type UpstreamProviderSettings,
} from '../../../src/delegation/upstream/provider.ts'
import { clientSecret, startUpstream, type UpstreamDouble } from '../../support/upstream.ts'
import { openBrowser } from '../issuer/browser.ts'
import { publicUrl } from '../world.ts'

let double: UpstreamDouble
beforeAll(async () => {
  double = await startUpstream()
  double.redirectUris = [`${publicUrl}${callbackPath('up')}`]
})
afterAll(() => double?.[Symbol.asyncDispose]())
beforeEach(() => {
  double.mood = 'signs in'
  double.person = { sub: 'u-1', name: 'Anne of Upstream' }
})

const provider = (change: Partial<UpstreamProviderSettings> = {}, ask: Fetch = fetch): UpstreamProvider =>
  createUpstreamProvider(
    {
      issuer: double.issuer,
      namespace: 'up',
      preset: 'generic',
      algorithms: ['RS256'],
      clientId: 'remit',
      clientSecret,
      ...change,
    },
    { publicUrl, fetch: ask, clock: { now: () => Date.now() } },
  )

async function beginAt(upstream: UpstreamProvider) {
  const started = await upstream.begin()
  if (!started.ok) throw new Error(started.detail)
  const { url, ...checks } = started.value
  const { url: back } = await openBrowser(double.issuer).open(url)
  return { checks, back, asked: new URL(url).searchParams }
}

/** Answers of the token endpoint, changed on the way. */
const tampering =
  (
    change: (body: Record<string, string>) => Promise<Record<string, string>> | Record<string, string>,
  ): Fetch =>
  async (url, init) => {
    const response = await fetch(url, init)
    if (!url.endsWith('/token')) return response
    return Response.json(await change((await response.json()) as Record<string, string>))
  }

test('says who signed in there: key in its namespace, name for people, and when', async () => {
  const upstream = provider()
  const { back, checks, asked } = await beginAt(upstream)
  expect(Object.fromEntries(asked)).toMatchObject({
    redirect_uri: `${publicUrl}/sign-in/upstream/up/callback`,
    scope: 'openid profile',
    code_challenge_method: 'S256',
    max_age: '300',
  })
  const redeemed = await upstream.redeem(back.search, checks)
  expect(redeemed).toEqual({
    ok: true,
    value: {
      issuer: double.issuer,
      sub: 'u-1',
      key: 'up/u-1',
      name: 'Anne of Upstream',
      signedInAt: expect.any(Number),
      amr: [],
    },
  })
})

test.each([
  ['anne', 'up/anne'],
  ['../anne', 'up/..%2Fanne'],
  ['user:anne', 'up/user%3Aanne'],
])('keeps the account %j apart from every local one', async (sub, key) => {
  double.person = { sub, name: 'anne' }
  const upstream = provider()
  const { back, checks } = await beginAt(upstream)
  expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: true, value: { key } })
})

test('shows no mark in a name that would change the text around it', async () => {
  double.person = { sub: 'u-2', name: 'Anne\u202e\n evil' }
  const upstream = provider()
  const { back, checks } = await beginAt(upstream)
  expect(await upstream.redeem(back.search, checks)).toMatchObject({ value: { name: 'Anne evil' } })
})

describe('nobody is signed in', () => {
  async function redeemed(
    change: (came: { back: URL; checks: { state: string; nonce: string; verifier: string } }) => void,
  ) {
    const upstream = provider()
    const came = await beginAt(upstream)
    change(came)
    return upstream.redeem(came.back.search, came.checks)
  }

  test.each<[string, Parameters<typeof redeemed>[0]]>([
    [
      'by an answer of another issuer (RFC 9207)',
      ({ back }) => back.searchParams.set('iss', 'https://evil.test'),
    ],
    ['by an answer that lacks its issuer', ({ back }) => back.searchParams.delete('iss')],
    ['by an answer to another question', ({ checks }) => Object.assign(checks, { state: 'another' })],
    [
      'by a code that was made for another verifier',
      ({ checks }) => Object.assign(checks, { verifier: 'x'.repeat(43) }),
    ],
    ['by a code of somebody’s own making', ({ back }) => back.searchParams.set('code', 'made-up')],
    ['by an ID token with another nonce', ({ checks }) => Object.assign(checks, { nonce: 'another' })],
  ])('%s', async (_, change) => {
    expect(await redeemed(change)).toMatchObject({ ok: false, reason: 'not_verified' })
  })

  test('twice by one code', async () => {
    const upstream = provider()
    const { back, checks } = await beginAt(upstream)
    expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: true })
    expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: false, reason: 'not_verified' })
  })

  test('by an ID token of an earlier sign-in', async () => {
    const seen: string[] = []
    const upstream = provider(
      {},
      tampering((body) => {
        seen.push(body['id_token'] ?? '')
        return { ...body, id_token: seen[0] ?? '' }
      }),
    )
    const first = await beginAt(upstream)
    expect(await upstream.redeem(first.back.search, first.checks)).toMatchObject({ ok: true })
    const second = await beginAt(upstream)
    expect(await upstream.redeem(second.back.search, second.checks)).toMatchObject({ reason: 'not_verified' })
  })

  test('by an ID token whose claims were changed after it was signed', async () => {
    const forged = tampering((body) => {
      const [head = '', , signature = ''] = (body['id_token'] ?? '').split('.')
      const claims = { ...decodeJwt(body['id_token'] ?? ''), sub: 'somebody else' }
      return { ...body, id_token: [head, base64(claims), signature].join('.') }
    })
    const upstream = provider({}, forged)
    const { back, checks } = await beginAt(upstream)
    expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: false, reason: 'not_verified' })
  })

  /** A provider that signs other claims with its own key: nothing but the claims is wrong. */
  async function saying(change: object): Promise<Fetch> {
    const { privateKey, publicKey } = await generateKeyPair('RS256')
    const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'RS256', use: 'sig' }
    const tokens = tampering(async (body) => ({
      ...body,
      id_token: await new SignJWT({ ...decodeJwt(body['id_token'] ?? ''), ...change })
        .setProtectedHeader({ alg: 'RS256', kid: 'k' })
        .sign(privateKey),
    }))
    return async (url, init) => (url.endsWith('/jwks') ? Response.json({ keys: [jwk] }) : tokens(url, init))
  }

  test('but by one that says nothing wrong', async () => {
    const upstream = provider({}, await saying({}))
    const { back, checks } = await beginAt(upstream)
    expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: true })
  })

  test.each([
    ['of another issuer', { iss: 'https://evil.test' }],
    ['for another client', { aud: 'another' }],
    ['that is over', { exp: 1 }],
    ['that does not say when they signed in', { auth_time: undefined }],
    ['of a sign-in of long ago', { auth_time: Math.floor(Date.now() / 1_000) - 3_600 }],
  ])('by an ID token %s', async (_, change) => {
    const upstream = provider({}, await saying(change))
    const { back, checks } = await beginAt(upstream)
    expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: false, reason: 'not_verified' })
  })

  test('by an ID token that is signed with our client’s secret, or by an algorithm that is not allowed', async () => {
    const symmetric = provider(
      {},
      tampering(async (body) => ({
        ...body,
        id_token: await new SignJWT(decodeJwt(body['id_token'] ?? ''))
          .setProtectedHeader({ alg: 'HS256' })
          .sign(Buffer.from(clientSecret)),
      })),
    )
    for (const upstream of [symmetric, provider({ algorithms: ['ES256'] })]) {
      const { back, checks } = await beginAt(upstream)
      expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: false, reason: 'not_verified' })
    }
  })

  test('who refused there', async () => {
    double.mood = 'refuses'
    const upstream = provider()
    const { back, checks } = await beginAt(upstream)
    expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: false, reason: 'denied_there' })
  })

  test('while the provider does not answer', async () => {
    const upstream = provider()
    const { back, checks } = await beginAt(upstream)
    double.mood = 'is down'
    expect(await provider().begin()).toMatchObject({ ok: false, reason: 'provider_unavailable' })
    expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: false })
  })
})

describe('a provider is not asked', () => {
  const discovered =
    (change: object): Fetch =>
    async (url, init) => {
      const response = await fetch(url, init)
      if (!url.includes('/.well-known/')) return response
      return Response.json({ ...((await response.json()) as object), ...change })
    }

  test.each([
    ['whose document names another issuer', { issuer: 'https://evil.test' }],
    ['whose document names it with a slash more', { issuer: 'set below' }],
    ['whose sign-in page is in the clear', { authorization_endpoint: 'http://evil.test/auth' }],
  ])('%s', async (_, change) => {
    const named =
      'issuer' in change && change.issuer === 'set below' ? { issuer: `${double.issuer}/` } : change
    expect(await provider({}, discovered(named)).begin()).toMatchObject({ reason: 'provider_unavailable' })
  })

  test('for tokens or keys in the clear', async () => {
    const asked: string[] = []
    const spying: Fetch = (url, init) => {
      asked.push(url)
      return discovered({ token_endpoint: 'http://evil.test/token' })(url, init)
    }
    const upstream = provider({}, spying)
    const { back, checks } = await beginAt(upstream)
    expect(await upstream.redeem(back.search, checks)).toMatchObject({ ok: false })
    expect(asked.filter((url) => !url.startsWith(double.issuer))).toEqual([])
  })
})

const base64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

test('a provider that is down is asked once a second, by however many at once, and forgiven after it', async () => {
  let now = Date.now()
  let asked = 0
  const upstream = createUpstreamProvider(
    {
      issuer: double.issuer,
      namespace: 'up',
      preset: 'generic',
      algorithms: ['RS256'],
      clientId: 'remit',
      clientSecret,
    },
    {
      publicUrl,
      clock: { now: () => now },
      fetch: (url, init) => {
        asked += 1
        return fetch(url, init)
      },
    },
  )
  const begin = async (times: number) =>
    (await Promise.all(Array.from({ length: times }, () => upstream.begin()))).map(({ ok }) => ok)
  double.mood = 'is down'
  expect(new Set(await begin(20))).toEqual(new Set([false]))
  expect(new Set(await begin(20))).toEqual(new Set([false]))
  expect(asked).toBe(1)
  double.mood = 'signs in'
  now += 999
  expect(await begin(1)).toEqual([false])
  now += 1
  expect(new Set(await begin(20))).toEqual(new Set([true]))
  expect(asked).toBe(2)
  now += 599_999
  await begin(1)
  expect(asked).toBe(2)
  now += 1
  expect(await begin(1)).toEqual([true])
  expect(asked).toBe(3)
})
