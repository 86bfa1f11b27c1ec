import { beforeEach, describe, expect, test } from 'vitest'
import {
  AccessToken,
  createProofKey,
  createRemit,
  createTokenCache,
  exchange,
  type Person,
  RemitError,
  type RemitOptions,
  staticToken,
} from '../src/index.ts'
import { createDouble, type Double, found, issuer, problem, url } from './double/double.ts'

let double: Double
let anne: Person
beforeEach(async () => {
  double = await createDouble()
  anne = double.person('anne', 'agent-a')
})

const sourceOf = (agent: 'agent-a' | 'agent-b' = 'agent-a', more: object = {}) =>
  exchange({ issuer, ...double.agents[agent], fetch: double.fetch, now: () => double.now(), ...more })

const remit = (options: Partial<RemitOptions> = {}) =>
  createRemit({ url, token: sourceOf(), fetch: double.fetch, now: () => double.now(), ...options })

const tokens = () => double.requests('/oauth/token')
const questions = () => double.requests('/retrieve')
const ask = (session = remit().for(anne)) => session.retrieve({ query: 'q' })

/** The first answers to questions, then the double's own. */
function answering(...answers: readonly (() => Response)[]) {
  const left = [...answers]
  double.before = ({ url: address }) => (address.endsWith('/retrieve') ? left.shift()?.() : undefined)
}

describe('a question', () => {
  test('goes out as it was asked, under a token for this person and agent, and comes back typed', async () => {
    const answer = await remit()
      .for(anne)
      .retrieve({ query: 'q', top_k: 3, collections: ['handbook'] })
    expect(answer.results[0]).toMatchObject({ text: 'anne agent-a q', rank: 1, document_id: 'handbook/a' })
    const [sent] = questions()
    expect(JSON.parse(sent!.body)).toEqual({ query: 'q', top_k: 3, collections: ['handbook'] })
    const form = new URLSearchParams(tokens()[0]!.body)
    expect(Object.fromEntries(form)).toMatchObject({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: 'handed:anne:agent-a',
      resource: url,
      scope: 'docs.search docs.read',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    })
  })

  test('may be answered with more than this client knows, and not with less', async () => {
    answering(() => Response.json({ ...found('x'), coming: { soon: true } }))
    expect(await ask()).toMatchObject({ coming: { soon: true } })
    for (const broken of [{}, { ...found('x'), results: [{}] }, { ...found('x'), complete: 'yes' }, 'x']) {
      answering(() => Response.json(broken))
      await expect(ask()).rejects.toMatchObject({ code: 'bad_answer' })
    }
  })

  test('may be answered with a word that this client does not know', async () => {
    answering(() => Response.json({ ...found('x'), mode_used: 'graph' }))
    expect(await ask()).toMatchObject({ mode_used: 'graph' })
    answering(() => problem(503, 'new_code'))
    await expect(ask()).rejects.toMatchObject({ name: 'Unavailable', code: 'new_code' })
    answering(() => problem(404, 'new_code'))
    await expect(ask()).rejects.toMatchObject({ name: 'NotFound', code: 'new_code' })
  })

  test('to the person in a state that this client does not know is no yes, and is waited for in time', async () => {
    const start = double.now()
    let sleeps = 0
    double.now = () => start + sleeps * 1_000
    const sleep = async () => {
      sleeps += 1
    }
    const told = { id: 'ap_1', grant_id: 'g_1', expires_at: new Date(start + 3_000).toISOString() }
    const { approvals } = remit({ sleep }).for(anne)
    let state = 'put_off'
    double.before = ({ url: address }) =>
      address.endsWith('/approvals/ap_1') ? Response.json({ ...told, state }) : undefined
    expect(await approvals.get('ap_1')).toMatchObject({ state: 'put_off' })
    await expect(approvals.wait('ap_1')).rejects.toMatchObject({ name: 'ApprovalExpired' })
    expect(sleeps).toBe(3)
    sleeps = 0
    const waiting = approvals.wait('ap_1')
    state = 'approved'
    expect(await waiting).toMatchObject({ grant_id: 'g_1' })
  })

  test('that is refused throws what the service said', async () => {
    answering(() => problem(403, 'actor_unauthorized'))
    await expect(ask()).rejects.toMatchObject({ name: 'ActorUnauthorized', status: 403, txn: 't_1' })
  })

  test('follows no redirect with its token', async () => {
    answering(() => new Response(null, { status: 307, headers: { location: 'https://elsewhere.test/' } }))
    await expect(ask()).rejects.toMatchObject({ code: 'http_307' })
    expect(double.seen.filter((one) => one.url.includes('elsewhere'))).toEqual([])
  })

  test('is asked again when the service says when, and given up after three times', async () => {
    const busy = () => problem(503, 'search_unavailable', {}, { 'retry-after': '0' })
    answering(busy, busy)
    expect((await ask()).results).toHaveLength(1)
    expect(questions()).toHaveLength(3)
    answering(busy, busy, busy, busy)
    await expect(ask()).rejects.toMatchObject({ name: 'Unavailable' })
    expect(questions()).toHaveLength(6)
  })

  test.each([
    ['without a time to come again', problem(503, 'search_unavailable'), {}],
    ['with one that is far away', problem(429, 'rate_limited', {}, { 'retry-after': '60' }), {}],
    [
      'that may have counted a use',
      problem(503, 'search_unavailable', {}, { 'retry-after': '0' }),
      { approval: 'g_1' },
    ],
    ['that broke', problem(500, 'internal_error', {}, { 'retry-after': '0' }), {}],
  ])('is not asked again after an answer %s', async (_, answer, more) => {
    answering(() => answer)
    await expect(
      remit()
        .for(anne)
        .retrieve({ query: 'q', ...more }),
    ).rejects.toBeInstanceOf(RemitError)
    expect(questions()).toHaveLength(1)
  })

  test('ends when its time is over, or when its caller gives up, and says which', async () => {
    double.before = ({ url: address }) =>
      address.endsWith('/retrieve') ? new Promise(() => undefined) : undefined
    const never = { ...double, fetch: (address: string, init: RequestInit) => hanging(address, init) }
    const hanging = (address: string, init: RequestInit) =>
      Promise.race([
        double.fetch(address, init),
        new Promise<never>((_, reject) => {
          const end = () => reject(init.signal?.reason)
          // On a machine that is busy the time is over before anything is asked.
          if (init.signal?.aborted) end()
          else init.signal?.addEventListener('abort', end)
        }),
      ])
    const session = remit({ fetch: never.fetch }).for(anne)
    await expect(session.retrieve({ query: 'q' }, { timeoutMs: 20 })).rejects.toMatchObject({
      name: 'Unavailable',
      message: 'There was no answer in time.',
    })
    const reason = new Error('the caller left')
    const asked = session.retrieve({ query: 'q' }, { signal: AbortSignal.abort(reason) })
    await expect(asked).rejects.toBe(reason)
  })

  test('that gets no answer throws nothing of the request', async () => {
    const broken = async (_: string, init: RequestInit) => {
      throw Object.assign(new TypeError(`fetch failed: ${JSON.stringify(init)}`), { init })
    }
    const session = createRemit({
      url,
      token: staticToken({ subject: 'anne', token: 'secret-token' }),
      fetch: broken,
    })
    const error: unknown = await session
      .for(anne)
      .retrieve({ query: 'q' })
      .catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ name: 'Unavailable', message: 'There was no answer.' })
    expect((error as Error).cause).toBeUndefined()
  })
})

describe('a token', () => {
  test('is fetched once, however many ask at once, and used until shortly before it ends', async () => {
    const session = remit().for(anne)
    const start = double.now()
    await Promise.all(Array.from({ length: 20 }, () => ask(session)))
    expect(tokens()).toHaveLength(1)
    double.now = () => start + 269_000
    await ask(session)
    expect(tokens()).toHaveLength(1)
    double.now = () => start + 271_000
    await ask(session)
    expect(tokens()).toHaveLength(2)
  })

  test('that is refused is dropped, and one more try is made with another', async () => {
    const session = remit().for(anne)
    answering(() => problem(401, 'invalid_token'))
    expect((await ask(session)).results).toHaveLength(1)
    expect([tokens().length, questions().length]).toEqual([2, 2])
    answering(
      () => problem(401, 'invalid_token'),
      () => problem(401, 'invalid_token'),
    )
    await expect(ask(session)).rejects.toMatchObject({ code: 'invalid_token' })
    expect([tokens().length, questions().length]).toEqual([3, 4])
  })

  test('that many find refused at once is replaced once', async () => {
    const session = remit().for(anne)
    await ask(session)
    const old = questions()[0]!.headers.get('authorization')
    double.before = (seen) =>
      seen.headers.get('authorization') === old ? problem(401, 'invalid_token') : undefined
    await Promise.all(Array.from({ length: 10 }, () => ask(session)))
    expect(tokens()).toHaveLength(2)
  })

  test('whose fetching one caller gives up is there for the others', async () => {
    double.delayMs = 20
    const session = remit().for(anne)
    const leaving = new AbortController()
    const left = session.retrieve({ query: 'q' }, { signal: leaving.signal })
    const stayed = ask(session)
    leaving.abort()
    await expect(left).rejects.toMatchObject({ name: 'AbortError' })
    expect((await stayed).results).toHaveLength(1)
    expect(tokens()).toHaveLength(1)
  })

  test('could not be had: nothing is asked, and the next one tries anew', async () => {
    let fails = true
    double.before = ({ url: address }) =>
      fails && address.endsWith('/token')
        ? Response.json({ error: 'actor_unauthorized' }, { status: 400 })
        : undefined
    const session = remit().for(anne)
    await expect(ask(session)).rejects.toMatchObject({ name: 'ActorUnauthorized' })
    expect(questions()).toEqual([])
    fails = false
    expect((await ask(session)).results).toHaveLength(1)
  })

  test('of another scope is another token', async () => {
    const cache = createTokenCache()
    const reading = remit({ token: sourceOf('agent-a', { cache }) }).for(anne)
    const searching = remit({ token: sourceOf('agent-a', { cache }), scopes: ['docs.search'] }).for(anne)
    await ask(reading)
    await ask(searching)
    expect(tokens().map(({ body }) => new URLSearchParams(body).get('scope'))).toEqual([
      'docs.search docs.read',
      'docs.search',
    ])
  })

  test('prints as what it is good for', async () => {
    const token = await sourceOf().get({ person: anne, audience: url, scopes: ['docs.search'] })
    const { inspect } = await import('node:util')
    for (const form of [JSON.stringify(token), inspect(token, { depth: 9, showHidden: true }), String(token)])
      expect(form).not.toContain(token.reveal())
    expect(JSON.parse(JSON.stringify(token))).toMatchObject({ subject: 'anne', audience: url })
  })
})

describe('two people', () => {
  test('with one cache between two agents get their own tokens each', async () => {
    const cache = createTokenCache()
    for (const agent of ['agent-a', 'agent-b'] as const)
      for (const subject of ['anne', 'bob']) {
        const session = remit({ token: sourceOf(agent, { cache }) }).for(double.person(subject, agent))
        for (const _ of [1, 2]) expect((await ask(session)).results[0]!.text).toBe(`${subject} ${agent} q`)
      }
    expect(tokens()).toHaveLength(4)
  })

  test('mixed up by the app: a token for somebody else is not used', async () => {
    const mixed = { subject: 'anne', subjectToken: async () => 'handed:bob:agent-a' }
    await expect(ask(remit().for(mixed))).rejects.toMatchObject({ name: 'WrongPerson' })
    const unknown = remit().for({ subject: 'anne' })
    await expect(ask(unknown)).rejects.toMatchObject({ name: 'NoPerson' })
    const fixed = remit({ token: staticToken({ subject: 'anne', token: 'x' }) })
    await expect(ask(fixed.for({ subject: 'bob' }))).rejects.toMatchObject({ name: 'WrongPerson' })
    expect(questions()).toEqual([])
  })

  test('mixed up by the app is refused as well where a token for that name is held already', async () => {
    const shared = remit({ token: sourceOf('agent-a', { cache: createTokenCache() }) })
    expect((await ask(shared.for(anne))).results).toHaveLength(1)
    const mixed = shared.for({ subject: 'anne', subjectToken: async () => 'handed:bob:agent-a' })
    for (const _ of [1, 2]) await expect(ask(mixed)).rejects.toMatchObject({ name: 'WrongPerson' })
    const nothing = shared.for({ subject: 'anne' })
    await expect(ask(nothing)).rejects.toMatchObject({ name: 'NoPerson' })
    expect(questions()).toHaveLength(1)
    // What she handed over herself, by another object, is the same token.
    const before = tokens().length
    expect((await ask(shared.for({ ...anne }))).results).toHaveLength(1)
    expect(tokens()).toHaveLength(before)
  })

  test.each([
    ['at once', []],
    ['after one that the API did not take', ['anne']],
  ])('mixed up by a source of the app’s own is not used: %s', async (_, first) => {
    const subjects = [...first, 'bob']
    const given: string[] = []
    const source = {
      agent: 'own',
      async get() {
        const subject = subjects[Math.min(given.length, subjects.length - 1)] ?? ''
        given.push(subject)
        const facts = { subject, audience: url, scopes: [], details: [], expiresAt: double.now() + 60_000 }
        return new AccessToken(`token of ${subject}`, facts)
      },
      drop: async () => undefined,
    }
    answering(() => problem(401, 'invalid_token'))
    await expect(ask(remit({ token: source }).for(anne))).rejects.toMatchObject({ name: 'WrongPerson' })
    expect(questions().map(({ headers }) => headers.get('authorization'))).not.toContain(
      'Bearer token of bob',
    )
    expect(given).toEqual(subjects)
  })

  test('what somebody handed over once gives whoever replays it nothing, once the issuer refuses it', async () => {
    const shared = remit({
      token: sourceOf('agent-a', { cache: createTokenCache({ now: () => double.now() }) }),
    })
    let handed = 'handed:anne:agent-a:first'
    const hers = shared.for({ subject: 'anne', subjectToken: async () => handed })
    expect((await ask(hers)).results).toHaveLength(1)
    // The first one ended. Her conversation goes on with another, for a token that is renewed.
    handed = 'handed:anne:agent-a:second'
    double.before = ({ body }) =>
      body.includes('first') ? Response.json({ error: 'invalid_request' }, { status: 400 }) : undefined
    const now = double.now()
    double.now = () => now + 290_000
    expect((await ask(hers)).results).toHaveLength(1)
    const replayed = shared.for({ subject: 'anne', subjectToken: async () => 'handed:anne:agent-a:first' })
    await expect(ask(replayed)).rejects.toBeInstanceOf(RemitError)
    expect(questions()).toHaveLength(2)
  })

  test.each<[string, { readonly claims?: object } & Readonly<Record<string, unknown>>, string]>([
    ['no token', { access_token: undefined }, 'GrantedDiffers'],
    ['one of another kind', { token_type: 'DPoP' }, 'GrantedDiffers'],
    ['one that says nothing', { access_token: 'opaque' }, 'GrantedDiffers'],
    ['one for another API', { claims: { aud: 'https://elsewhere.test' } }, 'GrantedDiffers'],
    ['one of another issuer', { claims: { iss: 'https://elsewhere.test' } }, 'GrantedDiffers'],
    ['one for several APIs', { claims: { aud: [url, 'https://elsewhere.test'] } }, 'GrantedDiffers'],
    ['one for somebody else', { claims: { sub: 'bob' } }, 'WrongPerson'],
    ['one for nobody', { claims: { sub: undefined } }, 'WrongPerson'],
  ])('an answer with %s is not used', async (_, { claims, ...answer }, name) => {
    const access_token = await double.mint({ sub: 'anne', ...claims })
    double.before = ({ url: address }) =>
      address.endsWith('/token')
        ? Response.json({ access_token, token_type: 'Bearer', ...answer })
        : undefined
    await expect(ask()).rejects.toMatchObject({ name })
    expect(questions()).toEqual([])
  })

  test('a person cannot be exchanged for another one after the session was made', async () => {
    const person = { ...anne }
    const session = remit().for(person)
    Object.assign(person, double.person('bob', 'agent-a'))
    expect((await ask(session)).results[0]!.text).toBe('anne agent-a q')
    expect(() => Object.assign(session, { person })).toThrow(TypeError)
    expect(() => Object.assign(session.person, person)).toThrow(TypeError)
  })
})

describe('an agent with a key of its own (DPoP)', () => {
  test('proves it with every request, and comes again with the nonce that it was told', async () => {
    const proofKey = await createProofKey()
    const asked = new Set<string>()
    double.before = (seen) => {
      const { pathname } = new URL(seen.url)
      if (pathname !== '/retrieve' && pathname !== '/oauth/token') return undefined
      const [, claims = ''] = (seen.headers.get('dpop') ?? '').split('.')
      const proof = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, unknown>
      expect(proof).toMatchObject({ htm: 'POST', htu: `${url}${pathname}` })
      if (proof['nonce'] === `n-${pathname}`) return undefined
      asked.add(pathname)
      const headers = { 'dpop-nonce': `n-${pathname}` }
      if (pathname === '/oauth/token')
        return Response.json({ error: 'use_dpop_nonce' }, { status: 400, headers })
      return problem(
        401,
        'use_dpop_nonce',
        {},
        { ...headers, 'www-authenticate': 'DPoP error="use_dpop_nonce"' },
      )
    }
    const session = remit({ token: sourceOf('agent-a', { proofKey }) }).for(anne)
    await ask(session)
    await ask(session)
    expect([...asked].sort()).toEqual(['/oauth/token', '/retrieve'])
    expect(tokens()).toHaveLength(2)
    expect(questions().map(({ headers }) => headers.get('authorization')?.slice(0, 5))).toEqual([
      'DPoP ',
      'DPoP ',
      'DPoP ',
    ])
  })

  test.each(['/oauth/token', '/retrieve'])(
    'proves it for two people who meet the same nonce first and at once (%s)',
    async (path) => {
      let without = 0
      const both = Promise.withResolvers<void>()
      double.before = async (seen) => {
        const { pathname } = new URL(seen.url)
        const [, claims = ''] = (seen.headers.get('dpop') ?? '').split('.')
        if (pathname !== path || Buffer.from(claims, 'base64url').includes('"nonce":"n1"')) return undefined
        without += 1
        if (without === 2) both.resolve()
        await both.promise
        const headers = { 'dpop-nonce': 'n1', 'www-authenticate': 'DPoP error="use_dpop_nonce"' }
        return Response.json(
          { error: 'use_dpop_nonce' },
          { status: pathname === '/retrieve' ? 401 : 400, headers },
        )
      }
      const one = remit({ token: sourceOf('agent-a', { proofKey: await createProofKey() }) })
      const people = [anne, double.person('bob', 'agent-a')]
      await Promise.all(people.map((person) => ask(one.for(person))))
      expect(without).toBe(2)
      // No good token was thrown away for it.
      expect(tokens()).toHaveLength(path === '/retrieve' ? 2 : 4)
    },
  )

  test('takes no bearer token instead, which anybody could use', async () => {
    const access_token = await double.mint({ sub: 'anne' })
    double.before = ({ url: address }) =>
      address.endsWith('/token') ? Response.json({ access_token, token_type: 'Bearer' }) : undefined
    const session = remit({ token: sourceOf('agent-a', { proofKey: await createProofKey() }) }).for(anne)
    await expect(ask(session)).rejects.toMatchObject({ name: 'GrantedDiffers' })
  })
})

test('plain http is for loopback only', () => {
  expect(() => remit({ url: 'http://remit.test' })).toThrow('https')
  expect(() => remit({ url: 'http://127.0.0.1:8787' })).not.toThrow()
})

test('a setting that is not there is named, before anything is sent', () => {
  const unset = process.env['REMIT_NO_SUCH'] as string
  expect(() => remit({ url: unset })).toThrow('createRemit needs `url`')
})
