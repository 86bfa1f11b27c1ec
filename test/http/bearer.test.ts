import type { ErrorCode } from '@remit/contract/errors'
import { describe, expect, test } from 'vitest'
import { AppError } from '../../src/kernel/errors.ts'
import type { Principal } from '../../src/kernel/principal.ts'
import { createFace, nothing, publicUrl } from './app.ts'
import { principal } from './principal.ts'

const described = `resource_metadata="${publicUrl}/.well-known/oauth-protected-resource"`
const bot = { ...principal, kind: 'agent', actors: ['agent:a'], delegation: 'd' } as const
const tokens: Readonly<Record<string, Principal | ErrorCode>> = {
  bot,
  service: { ...principal, kind: 'service', subject: 'service:crawler' },
  reader: { ...principal, scopes: new Set(['docs.read']) },
  writer: { ...principal, scopes: new Set(['docs.write']) },
  stranger: 'actor_unauthorized',
  bound: 'invalid_dpop_proof',
  stale: 'use_dpop_nonce',
  unknowable: 'authorization_unavailable',
}

describe('a bearer token', () => {
  test('is demanded: whoever shows none is told the scopes and where the API is described, and of no error', async () => {
    const response = await createFace().ask({ query: 'q' }, { authorization: '' })
    expect(response.status).toBe(401)
    expect(response.headers.get('www-authenticate')).toBe(`Bearer scope="docs.search", ${described}`)
    expect(await response.json()).toMatchObject({ code: 'invalid_token' })
  })

  test.each([
    'good',
    'Basic Z29vZA==',
    'Bearer',
    'Bearer ',
    'Bearer good more',
    'Bearer  good',
    'Bearer bad',
  ])('is demanded: "%s" gets 401 with a challenge that names the scopes', async (authorization) => {
    const { ask } = createFace()
    const response = await ask({ query: 'q' }, { authorization })
    expect(response.status).toBe(401)
    expect(response.headers.get('www-authenticate')).toBe(
      `Bearer error="invalid_token", scope="docs.search", ${described}`,
    )
    expect(await response.json()).toMatchObject({ code: 'invalid_token' })
  })

  test.each(['Bearer good', 'bearer good', 'BEARER good'])(
    'is taken however its scheme is spelled: %s',
    async (authorization) => {
      expect((await createFace().ask({ query: 'q' }, { authorization })).status).toBe(200)
    },
  )

  test('is not taken from the query or the body', async () => {
    const { call, ask } = createFace()
    const headers = { authorization: '' }
    expect((await call('/documents/a?access_token=good', { headers })).status).toBe(401)
    expect((await ask({ query: 'q', access_token: 'good' }, headers)).status).toBe(401)
  })

  test('lets a person and an agent ask, and hands both on as they are', async () => {
    const seen: unknown[] = []
    const { ask } = createFace({
      tokens,
      retrieve: async (who) => {
        seen.push(who)
        return nothing
      },
    })
    expect((await ask()).status).toBe(200)
    expect((await ask({ query: 'q' }, { authorization: 'Bearer bot' })).status).toBe(200)
    expect(seen).toEqual([principal, bot])
  })

  test.each<[string, Principal | ErrorCode, number]>([
    ['means what it meant is answered', principal, 200],
    ['is over gets 401', 'invalid_token', 401],
    ['is of an agent that may not act any more gets 403', 'actor_unauthorized', 403],
    ['is for less may come again', { ...principal, scopes: new Set(['docs.search']) }, 503],
  ])('that is looked at again after a wait, without its proof, and then %s', async (_, then, status) => {
    const known: Record<string, Principal | ErrorCode> = { waiting: principal }
    const { ask, shown } = createFace({
      tokens: known,
      async retrieve(_, __, deadline) {
        known['waiting'] = then
        await deadline.assertStands?.()
        return nothing
      },
    })
    const response = await ask({ query: 'q' }, { authorization: 'DPoP waiting', dpop: 'a proof' })
    expect([response.status, response.headers.get('retry-after')]).toEqual([
      status,
      status === 503 ? '1' : null,
    ])
    expect(shown).toEqual([expect.objectContaining({ proof: 'a proof' }), 'proven', 'proven'])
  })

  test('of another kind is told for whom the route is, and one that lacks a scope which it takes, in the body', async () => {
    const { ask } = createFace({ tokens })
    const told = async (token: string) =>
      (
        (await (await ask({ query: 'q' }, { authorization: `Bearer ${token}` })).json()) as {
          detail?: string
        }
      ).detail
    expect(await told('service')).toBe('This route is for people and agents only.')
    expect(await told('reader')).toBe('It takes docs.search.')
  })

  test.each([
    ['service', 403, 'forbidden', null],
    [
      'reader',
      403,
      'insufficient_scope',
      `Bearer error="insufficient_scope", scope="docs.search", ${described}`,
    ],
    [
      'writer',
      403,
      'insufficient_scope',
      `Bearer error="insufficient_scope", scope="docs.search", ${described}`,
    ],
    ['stranger', 403, 'actor_unauthorized', `Bearer error="actor_unauthorized", ${described}`],
    ['unknowable', 503, 'authorization_unavailable', null],
  ])('of a %s gets %d %s, and nothing is asked', async (token, status, code, challenge) => {
    let asked = 0
    const { ask } = createFace({
      tokens,
      retrieve: async () => {
        asked += 1
        return nothing
      },
    })
    const response = await ask({ query: 'q' }, { authorization: `Bearer ${token}` })
    expect(response.status).toBe(status)
    expect(response.headers.get('www-authenticate')).toBe(challenge)
    expect(await response.json()).toMatchObject({ code })
    expect(asked).toBe(0)
  })

  test('brings its own txn to the answer and to its errors; without one the request has its own', async () => {
    const { ask } = createFace()
    expect(await (await ask()).json()).toMatchObject({ txn: 't_token' })
    expect(await (await ask({})).json()).toMatchObject({ txn: 't_token' })
    expect(await (await ask({ query: 'q' }, { authorization: '' })).json()).toMatchObject({ txn: 't_3' })
  })

  test('is held to its rate before the body is looked at and before any work', async () => {
    let asked = 0
    const { ask } = createFace({
      perMinute: 1,
      retrieve: async () => {
        asked += 1
        return nothing
      },
    })
    await ask()
    const response = await ask('not json')
    expect(response.status).toBe(429)
    expect(response.headers.get('retry-after')).toBe('60')
    expect(await response.json()).toMatchObject({ code: 'rate_limited' })
    expect(asked).toBe(1)
  })

  test('is looked at before the body, so that strangers learn nothing of the contract', async () => {
    const response = await createFace().ask('not json', { authorization: 'Bearer bad' })
    expect(response.status).toBe(401)
  })

  test('gets the same 404 whatever the reason', async () => {
    const { call } = createFace({
      readDocument: () => Promise.reject(new AppError('not_found', { internal: 'hidden from anne' })),
    })
    const one = await call('/documents/hidden')
    const other = await call('/documents/missing')
    expect(one.status).toBe(404)
    expect(await one.text()).toBe(await other.text())
  })
})

describe('the scheme DPoP', () => {
  const algs = `${described}, algs="ES256 Ed25519 EdDSA"`

  test('hands the proof on with the method and the address by PUBLIC_URL, without the query', async () => {
    const { call, shown } = createFace()
    const headers = { authorization: 'dpop good', dpop: 'the-proof' }
    await call('/documents/a%2Fb?c=d', { headers })
    expect(shown).toEqual([{ proof: 'the-proof', method: 'GET', url: `${publicUrl}/documents/a%2Fb` }])
  })

  test('hands on that there was no proof, so that none is not taken for Bearer', async () => {
    const { ask, shown } = createFace()
    await ask({ query: 'q' }, { authorization: 'DPoP good' })
    expect(shown[0]).toEqual({ proof: '', method: 'POST', url: `${publicUrl}/retrieve` })
  })

  test('a proof beside a bearer token is none', async () => {
    const { ask, shown } = createFace()
    const response = await ask({ query: 'q' }, { dpop: 'the-proof' })
    expect(shown[0]).toBeUndefined()
    expect(response.headers.get('dpop-nonce')).toBeNull()
  })

  test.each([
    ['DPoP', 'bad', 'invalid_token'],
    ['DPoP', 'bound', 'invalid_dpop_proof'],
    ['DPoP', 'stale', 'use_dpop_nonce'],
  ])('%s with a %s token is challenged: %s', async (scheme, token, code) => {
    const { ask } = createFace({ tokens })
    const response = await ask({ query: 'q' }, { authorization: `${scheme} ${token}` })
    expect(response.status).toBe(401)
    expect(await response.json()).toMatchObject({ code })
    expect(response.headers.get('www-authenticate')).toBe(
      `DPoP error="${code}", scope="docs.search", ${algs}`,
    )
    expect(response.headers.get('dpop-nonce')).toBe('a-nonce')
  })

  test('without the scope is challenged by its own name', async () => {
    const response = await createFace({ tokens }).ask({ query: 'q' }, { authorization: 'DPoP reader' })
    expect(response.status).toBe(403)
    expect(response.headers.get('www-authenticate')).toMatch(/^DPoP error="insufficient_scope"/)
  })
})
