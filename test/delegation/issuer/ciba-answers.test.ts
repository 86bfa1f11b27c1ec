import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import { describeBackends } from '../../support/backends.ts'
import type { RetrieveBody } from '../../support/world.ts'
import { createAsking } from './asking.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

// What a person says, as a standard client (openid-client) gets it, and what that then opens.
const broker = 'https://broker.test/api'
const order = { type: 'trade_order', symbol: 'ACME', side: 'buy', quantity: 10 }
const question = { query: 'board minutes of the merger', top_k: 5, mode: 'keyword' }
const scope = 'openid docs.search'

type Answer = RetrieveBody & { readonly approval?: { readonly offer_id: string } }

describeBackends('a yes from afar', (backend) => {
  let world: IssuerWorld
  let asking: Awaited<ReturnType<typeof createAsking>>
  let delegation: string
  let ahead = 0

  beforeAll(async () => {
    world = await openIssuerWorld({ backend, now: () => Date.now() + ahead })
    asking = await createAsking(world)
    const secret = { viewers: ['user:anne'], sensitive: true }
    await world.put({
      'board/1': { text: 'Board minutes of the merger, part one.', access: secret },
      'board/2': { text: 'Board minutes of the merger, part two.', access: secret },
      'board/3': { text: 'Board minutes of the merger, part three.', access: secret },
    })
    await world.service.issuer.resources.save({
      resource: broker,
      scopes: ['orders.place'],
      authorizationDetailsTypes: ['trade_order'],
      allowedClients: ['agent-app'],
    })
    delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
    await world.lend('anne', 'other-bot', 'collection:handbook')
    // Until then an offer would hold fewer of them.
    const anne = await world.token({ user: 'anne' })
    await vi.waitUntil(async () => ids(await ask(anne, question)).length === 3, { timeout: 10_000 })
  }, 60_000)
  afterAll(() => world?.[Symbol.asyncDispose]())
  afterEach(async () => {
    ahead = 0
    for (const table of ['backchannel_requests', 'approvals', 'approval_askers', 'offer_limits'])
      await world.database.query(`delete from ${table}`)
  })

  const ask = async (token: string, body: object): Promise<Answer> =>
    (await world.retrieve(token, body)) as Answer
  const ids = ({ results }: Answer) => [...new Set(results.map(({ document_id }) => document_id))].sort()

  async function offered(agent = 'research-bot'): Promise<string> {
    const token = await world.token({ user: 'anne', agent })
    // What is sensitive may take a moment to be known.
    let offer: string | undefined
    await expect
      .poll(async () => {
        offer ??= (await ask(token, question)).approval?.offer_id
        return offer
      })
      .toBeDefined()
    return offer ?? ''
  }

  const details = (...all: readonly object[]) => ({ authorization_details: JSON.stringify(all) })
  const begin = (parameters: Readonly<Record<string, string>>) =>
    client.initiateBackchannelAuthentication(asking.configurations['agent-app'], {
      scope,
      login_hint: 'anne',
      ...parameters,
    })
  /** Nobody waits here for what is there already. */
  const fetched = (started: client.BackchannelAuthenticationResponse) =>
    client.pollBackchannelAuthenticationGrant(asking.configurations['agent-app'], {
      ...started,
      interval: 0.05,
    })
  const verified = () => ({ verifiedAt: new Date(Date.now() + ahead) })
  const approve = (more: object = {}) => asking.decide('anne', { answer: 'approve', ...more }, verified())

  const takeBack = async (grant: string) =>
    expect(await world.service.grants.approvalGrants.revoke('user:anne', grant, operator('t_anne'))).toBe(
      true,
    )

  test('narrowed: of three documents two, for one answer to the very question', async () => {
    const started = await begin(details({ type: 'document_access', offer: await offered() }))
    const { grant } = await approve({ documentIds: ['board/1', 'board/3'], oneUse: true })
    const tokens = await fetched(started)
    // The token names what was agreed to; what that is stays here.
    expect(tokens['authorization_details']).toEqual([{ type: 'document_access', grant }])
    const { authorization_details: inside, act } = decodeJwt(tokens.access_token)
    expect([inside, act]).toEqual([
      [{ type: 'document_access', grant }],
      expect.objectContaining({ sub: 'research-bot' }),
    ])
    expect(ids(await ask(tokens.access_token, { ...question, query: 'minutes' }))).toEqual([])
    expect(ids(await ask(tokens.access_token, question))).toEqual(['board/1', 'board/3'])
    expect(ids(await ask(tokens.access_token, question))).toEqual([])
  })

  test('gives the one scope that it takes, which the page says; any other is asked for as such', async () => {
    const offer = details({ type: 'document_access', offer: await offered() })
    for (const wanted of [
      'docs.search docs.read',
      'docs.search vault.use',
      'docs.read',
      'docs.search docs.write',
    ])
      await expect(begin({ ...offer, scope: `openid ${wanted}` })).rejects.toMatchObject({
        error: 'invalid_scope',
        error_description: 'this is asked for with the scope docs.search alone',
      })
    expect(await asking.open('anne')).toBeUndefined()
    const started = await begin({ ...offer, scope: 'openid' })
    expect((await asking.open('anne'))?.asked.scopes).toEqual(['docs.search'])
    const { txn } = await approve()
    const tokens = await fetched(started)
    expect(tokens.scope).toBe('openid docs.search')
    const { access_token: token } = tokens
    expect((await world.call('GET', '/documents/board%2F1', { token })).status).toBe(403)
    const records = await world.database.query<{ detail: { scopes?: readonly string[] } }>(
      `select detail from decision_records where event = 'approval_asked' and txn = $1`,
      [txn],
    )
    expect(records.map(({ detail }) => detail.scopes)).toEqual([['docs.search']])
  })

  test('for one API is none for another of ours', async () => {
    const offer = details({ type: 'document_access', offer: await offered() })
    await begin(offer)
    const one = await asking.open('anne')
    await begin({ ...offer, resource: `${world.url}/mcp` })
    const other = await asking.open('anne')
    expect([one?.asked.resource, other?.asked.resource]).toEqual([world.url, `${world.url}/mcp`])
    expect(other?.id).not.toBe(one?.id)
  })

  test.each(['documents', 'vault_call'] as const)(
    'to what was asked before pages showed scopes (%s) gives no more than it takes, whatever the request named',
    async (kind) => {
      const { auth_req_id: id } = await begin({ scope: 'openid docs.search docs.read vault.use' })
      const open = await asking.open('anne')
      const call = { connection: 'c_1', method: 'GET', path: '/user' }
      const old = {
        documents: { kind, offer: 'o_1', documentIds: ['board/1'], queryHmac: 'q' },
        vault_call: { kind, provider: 'github', call },
      }
      await world.database.query('update approvals set asked = $2 where id = $1', [open?.id ?? '', old[kind]])
      await approve()
      const { body } = await asking.poll('agent-app', id)
      expect(body['scope']).toBe({ documents: 'openid docs.search', vault_call: 'openid vault.use' }[kind])
    },
  )

  test('for a while: as often as wanted until its end, by that agent’s tokens alone', async () => {
    const started = await begin(details({ type: 'document_access', offer: await offered() }))
    const until = new Date(Date.now() + 120_000)
    const { grant } = await approve({ oneUse: false, until })
    const { access_token: token } = await fetched(started)
    for (let use = 0; use < 3; use += 1)
      expect(ids(await ask(token, { ...question, query: 'minutes' }))).toHaveLength(3)
    const other = await world.token({ user: 'anne', agent: 'other-bot' })
    expect(ids(await ask(other, { ...question, approval: grant }))).toEqual([])
    ahead += 121_000
    expect(ids(await ask(token, question))).toEqual([])
  })

  test('remembered: the token is one of many that it counts for', async () => {
    const started = await begin(details({ type: 'document_access', offer: await offered() }))
    const [place] = await asking.places('anne')
    expect(place).toMatchObject({ object: 'collection:handbook' })
    const remember = { object: 'collection:handbook', until: new Date(Date.now() + 3_600_000) }
    await approve({ remember })
    expect(ids(await ask((await fetched(started)).access_token, question))).toHaveLength(3)
    // The service presents it by itself.
    const another = await world.token({ user: 'anne', agent: 'research-bot' })
    expect(ids(await ask(another, { ...question, query: 'merger' }))).toHaveLength(3)
    const [remembered] = await world.service.grants.approvalGrants.listOf('user:anne')
    await takeBack(remembered?.id ?? '')
    expect(ids(await ask(another, question))).toEqual([])
  })

  test('taken back after it was given: the token reads nothing of it', async () => {
    const started = await begin(details({ type: 'document_access', offer: await offered() }))
    const { grant = '' } = await approve({ oneUse: false })
    const { access_token: token } = await fetched(started)
    expect(ids(await ask(token, question))).toHaveLength(3)
    await takeBack(grant)
    expect(ids(await ask(token, question))).toEqual([])
  })

  test('is asked for with one’s own offer alone: not another agent’s, not one that is over, not one beside more', async () => {
    const theirs = await offered('other-bot')
    const mine = await offered()
    for (const all of [
      [{ type: 'document_access', offer: theirs }],
      [{ type: 'document_access', offer: mine, documents: ['board/1'] }],
      [
        { type: 'document_access', offer: mine },
        { type: 'document_access', offer: mine },
      ],
      [
        { type: 'document_access', offer: mine },
        { type: 'document_access', collections: ['finance'] },
      ],
    ])
      await expect(begin(details(...all))).rejects.toMatchObject({ error: 'invalid_authorization_details' })
    ahead += 301_000
    await expect(begin(details({ type: 'document_access', offer: mine }))).rejects.toMatchObject({
      error: 'invalid_authorization_details',
    })
    expect(await asking.open('anne')).toBeUndefined()
  })

  test('to sensitive documents is none before the person has verified themself', async () => {
    await begin(details({ type: 'document_access', offer: await offered() }))
    await expect(asking.decide('anne', { answer: 'approve' }, { verifiedAt: undefined })).rejects.toThrow(
      'needs_verification',
    )
  })

  test('that never comes: expired, and refused with the person’s words', async () => {
    const first = await begin(details({ type: 'document_access', offer: await offered() }))
    await asking.decide('anne', { answer: 'deny', reason: 'Ask the board itself' })
    await expect(fetched(first)).rejects.toMatchObject({
      error: 'access_denied',
      error_description: 'The person refused: Ask the board itself',
    })
    await world.database.query('delete from approvals')
    const second = await begin({
      ...details({ type: 'document_access', offer: await offered() }),
      requested_expiry: '30',
    })
    ahead += 31_000
    await expect(fetched(second)).rejects.toMatchObject({ error: 'expired_token' })
  })

  describe('at another’s API', () => {
    const trade = (...all: readonly object[]) => ({
      resource: broker,
      scope: 'openid orders.place',
      ...details(...all),
    })

    test('is a token of exactly that order, under a lending of its own, that opens nothing here', async () => {
      const started = await begin(trade(order))
      await approve()
      const tokens = await fetched(started)
      const claims = decodeJwt(tokens.access_token)
      expect(claims).toMatchObject({
        aud: broker,
        scope: 'orders.place',
        sub: 'anne',
        act: { sub: 'research-bot' },
        authorization_details: [order],
      })
      const lentDelegation = await world.service.delegations.get(String(claims['delegation']))
      expect(lentDelegation).toMatchObject({
        resource: broker,
        details: [order],
        scope: [],
        subject: 'user:anne',
      })
      expect(lentDelegation?.id).not.toBe(delegation)
      const refused = await world.call('POST', '/retrieve', { token: tokens.access_token, body: question })
      expect(refused.status).toBe(401)
    })

    test('is not changed by whoever fetches it', async () => {
      const { auth_req_id: id } = await begin(trade(order))
      await approve()
      const more = details({ ...order, quantity: 11 })
      expect((await asking.poll('agent-app', id, more)).body.error).toBe('invalid_authorization_details')
      for (const resource of [world.url, 'https://elsewhere.test'])
        expect((await asking.poll('agent-app', id, { resource })).body.error).toBe('invalid_target')
      // Nothing was used up by what was refused.
      expect((await asking.poll('agent-app', id)).body['authorization_details']).toEqual([order])
    })

    test('is asked for whole or not at all: no detail that the API does not know, no client that is not its own', async () => {
      const refusedAs = async (parameters: Readonly<Record<string, string>>, by = 'agent-app') =>
        (await asking.begin(by as 'agent-app', parameters)).body.error
      expect(await refusedAs(trade({ type: 'payment', amount: 1 }))).toBe('invalid_authorization_details')
      expect(await refusedAs(trade(order, { type: 'document_access', collections: ['handbook'] }))).toBe(
        'invalid_authorization_details',
      )
      expect(await refusedAs(trade(...Array.from({ length: 11 }, () => order)))).toBe(
        'invalid_authorization_details',
      )
      expect(await refusedAs(trade(order), 'helper-app')).toBe('invalid_target')
      expect(await asking.open('anne')).toBeUndefined()
    })

    test('taken back between the yes and the poll, nothing comes of it, nor of the next poll', async () => {
      const { auth_req_id: first } = await begin(trade(order))
      const { auth_req_id: second } = await begin(trade(order))
      await approve()
      const { access_token: token } = (await asking.poll('agent-app', first)).body
      await world.service.delegations.revoke(String(decodeJwt(token ?? '')['delegation']))
      expect((await asking.poll('agent-app', second)).body.error).toBe('access_denied')
    })
  })
})
