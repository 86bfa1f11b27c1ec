import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../../../src/audit/record.ts'
import type { RequestedAccess } from '../../../../src/delegation/approvals/requested-access.ts'
import { createClientDocuments } from '../../../../src/delegation/oauth/cimd/documents.ts'
import { decide } from '../../../support/approvals.ts'
import type { Browser, Page } from '../browser.ts'
import { type IssuerWorld, openIssuerWorld, password } from '../world.ts'
import { document, openWeb } from './web.ts'

const web = openWeb()
const verifier = client.randomPKCECodeVerifier()
let world: IssuerWorld
beforeAll(async () => {
  world = await openIssuerWorld({ env: { CLIENT_ID_METADATA_DOCUMENTS: 'draft-02' }, outbound: web.fetch })
  await world.put({ 'handbook/travel': { text: 'Travel.', access: { viewers: ['user:anne', 'user:bob'] } } })
  await world.service.administrators.add('user:dan', ['agents.write'])
})
afterAll(() => world?.[Symbol.asyncDispose]())
beforeEach(async () => {
  web.at.clear()
  await world.database.query('delete from denied_hosts')
})

/** A program's document, at its address. */
function program(clientId: string): string {
  const redirect = new URL('/callback', clientId).href
  web.at.set(clientId, document({ client_id: clientId, redirect_uris: [redirect] }))
  return clientId
}

async function start(browser: Browser, clientId: string): Promise<Page> {
  const query = new URLSearchParams({
    client_id: clientId,
    response_type: 'code',
    redirect_uri: new URL('/callback', clientId).href,
    resource: `${world.url}/mcp`,
    scope: 'docs.search approvals.request',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  return browser.open(`${world.issuer}/auth?${query}`)
}

const begins = async (clientId: string): Promise<boolean> =>
  (await start(world.browser(), program(clientId))).status === 200

async function redeem(clientId: string, page: Page): Promise<Readonly<Record<string, string>>> {
  const body = new URLSearchParams({
    client_id: clientId,
    grant_type: 'authorization_code',
    code: page.url.searchParams.get('code') ?? '',
    redirect_uri: new URL('/callback', clientId).href,
    code_verifier: verifier,
  })
  return (await (await fetch(`${world.issuer}/token`, { method: 'POST', body })).json()) as Record<
    string,
    string
  >
}

async function letIn(clientId: string, user = 'anne') {
  const browser = world.browser()
  const page = await start(browser, program(clientId))
  const tokens = await redeem(
    clientId,
    await world.consent(browser, page, { user, objects: ['collection:handbook'] }),
  )
  const claims = decodeJwt(tokens['access_token'] ?? '')
  return { tokens, agent: (claims['act'] as { sub: string }).sub, delegation: String(claims['delegation']) }
}

async function asDan(method: string, path: string) {
  const response = await world.call(method, path, { token: await world.token({ user: 'dan' }) })
  return { status: response.status, body: (await response.json()) as Readonly<Record<string, unknown>> }
}

describe('a host that is disabled', () => {
  test('sends no program any more, by whatever address, port or name below it; others do', async () => {
    for (const id of ['https://evil.example/a', 'https://evil.example/b', 'https://good.example/a'])
      expect(await begins(id), id).toBe(true)
    expect(await asDan('POST', '/hosts/evil.example/disable')).toMatchObject({
      status: 200,
      body: { host: 'evil.example', agents: [] },
    })
    const { length } = web.asked
    for (const id of [
      'https://evil.example/a',
      'https://evil.example/c',
      'https://evil.example:8443/a',
      'https://evil.example./a',
      'https://a.b.evil.example/a',
    ])
      expect(await begins(id), id).toBe(false)
    // It is not even asked.
    expect(web.asked).toHaveLength(length)
    for (const id of ['https://good.example/b', 'https://notevil.example/a', 'https://evil.example.org/a'])
      expect(await begins(id), id).toBe(true)
    expect((await asDan('GET', '/hosts')).body['hosts']).toEqual([
      { host: 'evil.example', since: expect.any(String) },
    ])
  })

  test('takes along every agent that came from it, at once and on record', async () => {
    const [one, two, other] = [
      await letIn('https://evil.example/one'),
      await letIn('https://sub.evil.example/two', 'bob'),
      await letIn('https://fine.example/one'),
    ]
    const { body } = await asDan('POST', '/hosts/evil.example/disable')
    expect([...(body['agents'] as string[])].sort()).toEqual([one.agent, two.agent].sort())
    for (const { agent } of [one, two])
      expect((await world.service.agents.get(agent))?.disabledAt).toBeInstanceOf(Date)
    expect((await world.service.agents.get(other.agent))?.disabledAt).toBeUndefined()
    const refresh = new URLSearchParams({
      client_id: 'https://evil.example/one',
      grant_type: 'refresh_token',
      refresh_token: one.tokens['refresh_token'] ?? '',
    })
    const late = await fetch(`${world.issuer}/token`, { method: 'POST', body: refresh })
    expect(await late.json()).not.toHaveProperty('access_token')
    const rows = await world.database.query(
      `select subject, detail ->> 'host' as host from decision_records where event = 'host_disabled'
       order by record_no desc limit 1`,
    )
    expect(rows).toEqual([{ subject: 'user:dan', host: 'evil.example' }])
  })

  test('while a person is asked for one of its programs gets nothing by their consent', async () => {
    const id = program('https://late.example/one')
    const browser = world.browser()
    const page = await browser.submit(await start(browser, id), '/sign-in', { user: 'anne', password })
    await asDan('POST', '/hosts/late.example/disable')
    const after = await world.consent(browser, page, { objects: ['collection:handbook'] })
    expect(await redeem(id, after)).not.toHaveProperty('access_token')
  })

  test.each(['evil.example:443', 'evil.example%2Fa', '*.evil.example', 'evil.example..'])(
    'is named as such: %s is refused by name',
    async (host) => {
      expect(await asDan('POST', `/hosts/${host}/disable`)).toMatchObject({
        status: 422,
        body: { field: 'host' },
      })
    },
  )

  test('may be any that a document can be at, whatever character is in its name', async () => {
    const log = () => undefined
    const documents = createClientDocuments({ outbound: web.fetch, log })
    const { deniedHosts } = world.service
    const characters = Array.from({ length: 0x7f - 0x21 }, (_, at) => String.fromCharCode(0x21 + at)).filter(
      (one) => one !== '.',
    )
    const hosts = characters.flatMap((one) => [
      `a${one}b.shared.example`,
      `a${one}b`,
      `${one}.shared.example`,
    ])
    let taken = 0
    for (const host of hosts) {
      const id = `https://${host}/client`
      web.at.set(id, document({ client_id: id }))
      if ((await documents.get(id)) === undefined) continue
      taken += 1
      await deniedHosts.deny(operator('t_1'), new URL(id).hostname)
      expect(await deniedHosts.isDenied(id), host).toBe(true)
      await world.database.query('delete from denied_hosts')
    }
    expect(taken).toBeGreaterThan(100)
  })

  test('is for administrators with agents.write', async () => {
    for (const [method, path] of [
      ['POST', '/hosts/evil.example/disable'],
      ['GET', '/hosts'],
    ] as const) {
      const token = await world.token({ user: 'anne' })
      expect((await world.call(method, path, { token })).status).toBe(403)
    }
  })
})

test('a person’s block of one program holds for every other of its host, for them alone, until they lift it', async () => {
  const [one, two, bobs, other] = [
    await letIn('https://asks.example/one'),
    await letIn('https://asks.example/two'),
    await letIn('https://asks.example/three', 'bob'),
    await letIn('https://elsewhere.example/one'),
  ]
  const { approvals } = world.service
  let number = 0
  const ask = ({ agent, delegation }: typeof one, person = 'anne') => {
    number += 1
    const asked: RequestedAccess = {
      kind: 'access',
      resource: world.url,
      scopes: [`s${number}`],
      details: [],
    }
    const asker = { subject: `user:${person}` as const, agent, client: 'c', delegation, txn: 't_1' }
    return approvals.ask(asker, asked, { seconds: 300, front: 'rest' })
  }
  const waiting = await ask(two)
  await decide(world.service, (await ask(one)).id, { answer: 'deny', block: true })
  // What waited of another of them is answered as well.
  expect(await approvals.mine('user:anne')).toMatchObject({ open: [] })
  expect(waiting.state).toBe('pending')
  expect((await ask(two)).state).toBe('denied')
  expect((await ask(await letIn('https://asks.example/four'))).state).toBe('denied')
  expect((await ask(other)).state).toBe('pending')
  expect((await ask(bobs, 'bob')).state).toBe('pending')
  expect(await approvals.blocks.lift('user:anne', one.agent, operator('t_1'))).toBe(true)
  expect((await ask(two)).state).toBe('pending')
})

test('blocks of single programs, as an older version makes them, hold for their host, and are lifted together', async () => {
  const lent = [
    await letIn('https://older.example/one'),
    await letIn('https://older.example/two'),
    await letIn('https://older.example/three'),
    await letIn('https://other.example/one'),
  ] as const
  const { approvals } = world.service
  const { database } = world
  const ask = async ({ agent, delegation }: (typeof lent)[number], scope: string) => {
    const asked: RequestedAccess = { kind: 'access', resource: world.url, scopes: [scope], details: [] }
    const asker = { subject: 'user:anne', agent, client: 'c', delegation, txn: 't_1' } as const
    return (await approvals.ask(asker, asked, { seconds: 300, front: 'rest' })).state
  }
  await database.query(
    `insert into approval_askers (subject, agent, blocked_at) select 'user:anne', unnest($1::text[]), now()`,
    [[lent[0].agent, lent[1].agent, lent[3].agent]],
  )
  expect(await ask(lent[2], 's1')).toBe('denied')
  expect(await approvals.blocks.lift('user:anne', lent[2].agent, operator('t_1'))).toBe(false)
  expect(await approvals.blocks.lift('user:anne', lent[1].agent, operator('t_2'))).toBe(true)
  expect(await approvals.blocks.of('user:anne')).toMatchObject([{ agent: lent[3].agent }])
  expect(await Promise.all(lent.map((one) => ask(one, 's2')))).toEqual([
    'pending',
    'pending',
    'pending',
    'denied',
  ])
  expect(
    await database.query(
      `select detail ->> 'agent' as agent from decision_records where txn = 't_2' and event = 'agent_unblocked' order by 1`,
    ),
  ).toHaveLength(2)
})
