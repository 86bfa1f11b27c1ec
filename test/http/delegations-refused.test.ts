import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRevocations } from '../../src/delegation/revocation/revocations.ts'
import { type IssuerWorld, openIssuerWorld } from '../delegation/issuer/world.ts'
import { type OwnBrowser, openOwnBrowser } from './own-browser.ts'

interface Answer {
  readonly code?: string
}

describe('/delegations lets in', () => {
  let world: IssuerWorld
  let anne: OwnBrowser
  let offset = 0
  beforeAll(async () => {
    world = await openIssuerWorld({ now: () => Date.now() + offset })
    await world.put({ 'handbook/travel': { access: { viewers: ['user:anne', 'user:bob'] } } })
    anne = await openOwnBrowser(world, 'anne')
  })
  afterAll(() => world?.[Symbol.asyncDispose]())

  const body = () => ({
    agent: 'research-bot',
    scope: ['collection:handbook'],
    expires_at: new Date(Date.now() + 7_200_000).toISOString(),
    purpose: 'tests',
  })
  const writes = [
    ['POST', '/delegations'],
    ['DELETE', '/delegations/d_any'],
    ['POST', '/delegations/lend'],
    ['POST', '/delegations/d_any/revoke'],
    ['DELETE', '/delegations/programs/any'],
    ['POST', '/delegations/programs/any/end'],
    ['POST', '/sign-out'],
  ] as const
  const every = [['GET', '/delegations'], ...writes] as const
  const refusal = async (response: Response) => [response.status, ((await response.json()) as Answer).code]

  test.each(every)('no token, whatever else comes along: %s %s', async (method, path) => {
    const token = await world.token({ user: 'anne' })
    for (const authorization of [`Bearer ${token}`, `DPoP ${token}`, 'Basic YTpi', ''])
      expect(await refusal(await anne.send(method, path, { headers: { authorization } }))).toEqual([
        403,
        'forbidden',
      ])
  })

  test.each(every)('nobody without a session: %s %s', async (method, path) => {
    for (const cookie of [undefined, 'remit_session=', `remit_session=${'A'.repeat(43)}`])
      expect(await refusal(await anne.send(method, path, { headers: { cookie } }))).toEqual([
        401,
        'insufficient_user_authentication',
      ])
  })

  test.each(writes)('no change without the session’s own token: %s %s', async (method, path) => {
    for (const token of [undefined, '', 'x', anne.csrf.slice(1)])
      expect(await refusal(await anne.send(method, path, { headers: { 'x-csrf-token': token } }))).toEqual([
        403,
        'forbidden',
      ])
  })

  test.each(writes)('no change from elsewhere: %s %s', async (method, path) => {
    for (const origin of [
      undefined,
      'null',
      'https://evil.test',
      `${world.url}.evil.test`,
      'http://localhost',
    ])
      expect(await refusal(await anne.send(method, path, { headers: { origin } }))).toEqual([
        403,
        'forbidden',
      ])
  })

  test('no change with the token of another session', async () => {
    const bob = await openOwnBrowser(world, 'bob')
    const response = await anne.send('POST', '/delegations', {
      body: body(),
      headers: { 'x-csrf-token': bob.csrf },
    })
    expect(response.status).toBe(403)
  })

  test('no change 15 minutes after the sign-in, but reading and signing out; a page asks to sign in again', async () => {
    const old = await openOwnBrowser(world, 'anne')
    offset = 15 * 60_000 + 1_000
    try {
      expect(await refusal(await old.send('POST', '/delegations', { body: body() }))).toEqual([
        401,
        'insufficient_user_authentication',
      ])
      expect((await old.send('GET', '/delegations')).status).toBe(200)
      const page = await old.browser.open(`${world.url}/delegations`)
      const asked = await old.browser.submit(page, '/delegations/lend', { agent: 'research-bot' })
      expect(asked.url.href).toBe(`${world.url}/sign-in?next=%2Fdelegations`)
      expect(asked.text).toContain('value="anne"')
      expect((await old.send('POST', '/sign-out')).status).toBe(303)
    } finally {
      offset = 0
    }
  })

  test('no change either where the clock was set back since the sign-in', async () => {
    const signedIn = await openOwnBrowser(world, 'anne')
    offset = -3_600_000
    try {
      expect(await refusal(await signedIn.send('POST', '/delegations', { body: body() }))).toEqual([
        401,
        'insufficient_user_authentication',
      ])
    } finally {
      offset = 0
    }
  })

  test('nobody 8 hours after the sign-in, and the session is swept', async () => {
    const old = await openOwnBrowser(world, 'dan')
    offset = 8 * 3_600_000 + 1_000
    try {
      expect((await old.send('GET', '/delegations')).status).toBe(401)
      await world.service.issuer.tasks['browser_sessions']?.()
      expect(await world.database.query("select 1 from browser_sessions where person = 'dan'")).toEqual([])
    } finally {
      offset = 0
    }
  })

  test('nobody who has signed out: the old cookie is worth nothing, and it is on record', async () => {
    const left = await openOwnBrowser(world, 'anne')
    const out = await left.send('POST', '/sign-out')
    expect(out.headers.get('set-cookie')).toMatch(/remit_session=;.*Max-Age=0/)
    expect((await left.send('GET', '/delegations')).status).toBe(401)
    const rows = await world.database.query(
      "select 1 from decision_records where event = 'signed_out' and subject = 'user:anne'",
    )
    expect(rows).not.toEqual([])
  })

  test('nobody whose subject is revoked, not even when the revocation is over', async () => {
    const carol = await openOwnBrowser(world, 'carol')
    expect((await carol.send('GET', '/delegations')).status).toBe(200)
    const until = new Date(Date.now() + 60_000)
    const revocations = createRevocations({ sql: world.database, clock: { now: Date.now } })
    await revocations.revoke({ kind: 'subject', id: 'user:carol' }, { until, reason: 'tests' })
    expect((await carol.send('GET', '/delegations')).status).toBe(401)
    offset = 120_000
    try {
      expect((await carol.send('GET', '/delegations')).status).toBe(401)
    } finally {
      offset = 0
    }
  })

  test('JSON only, and little of it', async () => {
    const dan = await openOwnBrowser(world, 'dan')
    const csv = { 'content-type': 'text/csv' }
    expect((await dan.send('POST', '/delegations', { body: 'a', headers: csv })).status).toBe(415)
    const long = JSON.stringify({ ...body(), purpose: 'x'.repeat(70_000) })
    expect((await dan.send('POST', '/delegations', { body: long })).status).toBe(413)
    expect((await dan.send('POST', '/delegations', { body: '{' })).status).toBe(400)
  })
})
