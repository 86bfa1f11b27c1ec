import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/delegation/approvals/view.ts'
import { type AskingWorld, openAskingWorld } from '../delegation/issuer/asking-world.ts'
import { createExchanger } from '../delegation/issuer/exchanging.ts'
import { agree } from '../support/approvals.ts'
import { startTestIssuer, type TestIssuer } from '../support/issuer.ts'
import { needsPostgres } from '../support/native.ts'
import { openWorld, type World } from '../support/world.ts'
import { faultyDatabase } from './faulty-database.ts'

// Somebody with `agents.write` makes another program of an agent, or a mightier one, between any two steps.

const bot = {
  owner: 'user:dan',
  title: 'Bot',
  purpose: 'tests',
  scopes: ['docs.search'],
  collections: ['handbook'],
}

async function save(world: World, body: object) {
  const response = await world.call('POST', '/agents', { token: await world.token({ user: 'dan' }), body })
  return { status: response.status, body: (await response.json()) as Readonly<Record<string, unknown>> }
}

describe('an agent of a trusted issuer', () => {
  let issuer: TestIssuer
  let world: World
  let actor: { readonly issuer: string; readonly sub: string }
  let delegation: string
  beforeAll(async () => {
    issuer = await startTestIssuer()
    world = await openWorld({ env: { TRUSTED_ISSUERS: JSON.stringify([issuer.entry()]) } })
    actor = { issuer: issuer.issuer, sub: 'trusted' }
    await world.put({ 'handbook/travel': { text: 'Book trains.', access: { viewers: ['user:test/anne'] } } })
    await world.service.administrators.add('user:dan', ['agents.write'])
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await issuer?.[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    await save(world, { ...bot, id: 'trusted-bot', actor, ends_lent: true })
    delegation = await world.lend('test/anne', 'trusted-bot', 'collection:handbook')
  })

  const read = async (sub: string) => {
    const act = { iss: issuer.issuer, sub }
    const token = await issuer.token({ client_id: 'its-app', act, delegation })
    return (await world.call('POST', '/retrieve', { token, body: { query: 'trains' } })).status
  }

  test('is not given to another program with what people lent it: that is said before, and ends with it', async () => {
    expect([await read('trusted'), await read('evil')]).toEqual([200, 403])
    const evil = { ...bot, id: 'trusted-bot', actor: { ...actor, sub: 'evil' } }
    expect(await save(world, evil)).toMatchObject({
      status: 409,
      body: { code: 'conflict', detail: expect.stringContaining('What it would end: 1 delegation,') },
    })
    expect([await read('trusted'), await read('evil')]).toEqual([200, 403])
    expect(await save(world, { ...evil, ends_lent: true })).toMatchObject({ status: 200 })
    expect([await read('trusted'), await read('evil')]).toEqual([403, 403])
    expect(await world.service.delegations.isLive(delegation)).toBe(false)
    // Nor when it is made the first one again.
    await save(world, { ...bot, id: 'trusted-bot', actor })
    expect([await read('trusted'), await read('evil')]).toEqual([403, 403])
  })

  test.each<[string, () => Promise<object>, 200 | 409]>([
    ['with a new key', async () => ({ jwks: { keys: [await aKey()] } }), 409],
    ['with another issuer', async () => ({ actor: { issuer: 'https://x.test', sub: 'trusted' } }), 409],
    ['with one more scope', async () => ({ scopes: ['docs.search', 'docs.read'] }), 409],
    ['with one more collection', async () => ({ collections: ['handbook', 'finance'] }), 409],
    ['with every collection', async () => ({ collections: null }), 409],
    ['with fewer scopes', async () => ({ scopes: [] }), 200],
    ['with fewer collections', async () => ({ collections: [] }), 200],
    ['with another title', async () => ({ title: 'Robot' }), 200],
  ])('%s keeps or ends what it was lent', async (_, change, status) => {
    const body = { ...bot, id: 'trusted-bot', actor, ...(await change()) }
    expect((await save(world, body)).status).toBe(status)
    expect(await world.service.delegations.isLive(delegation)).toBe(true)
    expect((await save(world, { ...body, ends_lent: true })).status).toBe(200)
    expect(await world.service.delegations.isLive(delegation)).toBe(status === 200)
  })

  test('keeps a key that it has, and what it was lent beside it', async () => {
    const key = await aKey()
    const body = { ...bot, id: 'trusted-bot', actor, jwks: { keys: [key, await aKey()] } }
    await save(world, { ...body, ends_lent: true })
    delegation = await world.lend('test/anne', 'trusted-bot', 'collection:handbook')
    expect((await save(world, { ...body, jwks: { keys: [key] } })).status).toBe(200)
    expect(await world.service.delegations.isLive(delegation)).toBe(true)
  })

  test('that another agent may pass on to ends what was lent to that one', async () => {
    const { id } = await world.service.delegations.lend({
      subject: 'user:test/anne',
      agent: 'research-bot',
      subAgents: ['trusted-bot'],
      scope: ['collection:handbook'],
      purpose: 'tests',
      expiresAt: new Date(Date.now() + 3_600_000),
    })
    await save(world, { ...bot, id: 'trusted-bot', actor: { ...actor, sub: 'evil' }, ends_lent: true })
    expect(await world.service.delegations.isLive(id)).toBe(false)
  })

  test('that is being lent to is not lent to: it is another by the time', async () => {
    await world.database.query(`update delegations set state = 'lending' where id = $1`, [delegation])
    await save(world, { ...bot, id: 'trusted-bot', actor: { ...actor, sub: 'evil' }, ends_lent: true })
    const [row] = await world.database.query('select state from delegations where id = $1', [delegation])
    expect(row).toEqual({ state: 'revoked' })
  })
})

describe('an agent of our own issuer becomes another', () => {
  let all: AskingWorld
  let world: AskingWorld['world']
  let delegation: string
  let number = 0
  beforeAll(async () => {
    all = await openAskingWorld()
    ;({ world } = all)
    await world.service.administrators.add('user:dan', ['agents.write'])
  })
  afterAll(() => all?.[Symbol.asyncDispose]())
  beforeEach(async () => {
    await world.database.query(`update agents set sub = 'research-bot' where id = 'research-bot'`)
    await world.database.query(`update delegations set state = 'revoked'`)
    delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  })
  afterEach(() => all.forget())

  const become = async () => {
    number += 1
    const actor = { issuer: world.service.ownIssuer, sub: `evil-${number}` }
    const scopes = ['docs.search', 'docs.read', 'approvals.request']
    expect(await save(world, { ...bot, id: 'research-bot', scopes, actor, ends_lent: true })).toMatchObject({
      status: 200,
    })
  }

  test('before a token of the person is exchanged: nothing comes of it', async () => {
    const exchange = createExchanger(world)
    const subject = async () => {
      const { kid, privateKey } = world.service.keys.current()
      const iat = Math.floor(Date.now() / 1_000)
      const claims = {
        sub: 'anne',
        client_id: 'cli',
        scope: 'docs.search',
        jti: crypto.randomUUID(),
        demo: true,
      }
      return new SignJWT({
        ...claims,
        iss: world.issuer,
        aud: `${world.url}/agents/research-bot`,
        iat,
        exp: iat + 300,
      })
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
        .sign(privateKey)
    }
    const before = await exchange('agent-app', await subject())
    expect(await all.found(before.access_token)).toEqual(['handbook/travel'])
    const held = await subject()
    await become()
    expect((await exchange('agent-app', held)).access_token).toBeUndefined()
    expect(
      (await world.call('POST', '/retrieve', { token: before.access_token ?? '', body: { query: 'travel' } }))
        .status,
    ).toBe(403)
  })

  test('while the person is asked by CIBA: their yes gives nothing', async () => {
    const { body } = await all.asking.begin('agent-app')
    expect(await all.asking.open('anne')).toBeDefined()
    await become()
    await expect(all.asking.decide('anne', { answer: 'approve' })).rejects.toThrow()
    expect((await all.asking.poll('agent-app', body.auth_req_id)).body.access_token).toBeUndefined()
  })

  test('between the yes and the poll: no token is given', async () => {
    const { body } = await all.asking.begin('agent-app')
    await all.asking.decide('anne', { answer: 'approve' })
    await become()
    expect((await all.asking.poll('agent-app', body.auth_req_id)).body.access_token).toBeUndefined()
  })

  test('between the page and the yes to a document: nothing is decided, and no grant counts', async () => {
    const granted = await agree(world, { delegation, objects: ['document:handbook/travel'] })
    const { body } = await all.asking.begin('agent-app')
    expect(body.auth_req_id).toBeDefined()
    const open = await all.asking.open('anne')
    const { approvals, grants } = world.service
    const shown = open && (await approvals.oneOfMine('user:anne', open.id))
    if (shown === undefined) throw new Error('nothing is asked')
    await become()
    const session = {
      person: 'anne',
      subject: 'user:anne',
      signedInAt: new Date(),
      amr: ['pwd'],
      verifiedAt: new Date(),
    } as const
    const decided = await approvals.decide(
      'user:anne',
      shown.id,
      { answer: 'approve' },
      { digest: digestOf(shown), session },
    )
    expect(decided).toMatchObject({ ok: false })
    expect(await grants.approvalGrants.get(granted)).toMatchObject({ state: 'ended' })
  })

  test('after an account was connected: its agreements are gone, on record', async () => {
    const { database } = world
    await database.query(
      `insert into connections (id, subject, provider, issuer, account, account_title, state, scopes, sealed, wrapped_key,
         key_version, refreshable, sealed_at, created_at)
       values ('c_1', 'user:anne', 'acme', 'https://acme.test', 'a', 'A', 'live', '{}', 's', '\\x00', 'k', true, now(), now())`,
    )
    await database.query(
      `insert into connection_agents (connection, agent, client, rules, agreed_at)
       values ('c_1', 'research-bot', 'agent-app', '[]', now())`,
    )
    await become()
    expect(await database.query('select from connection_agents')).toEqual([])
    expect(
      await database.query(
        `select subject, detail ->> 'agent' as agent from decision_records where event = 'connection_agent_removed'`,
      ),
    ).toEqual([{ subject: 'user:dan', agent: 'research-bot' }])
  })
})

describe('an agent that is named only as a sub-agent', needsPostgres, () => {
  test('becomes another while it is being lent: what was lent to the one before ends', async () => {
    const storage = faultyDatabase()
    await using world = await openWorld({
      backend: { database: 'postgres', openfga: 'engine' },
      database: storage.wrap,
    })
    await world.service.administrators.add('user:dan', ['agents.write'])
    const [begun, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    storage.set(/insert into delegations/, async () => {
      begun.resolve()
      await goOn.promise
    })
    const lent = world.service.delegations
      .lend({
        subject: 'user:anne',
        agent: 'research-bot',
        subAgents: ['other-bot'],
        scope: ['collection:handbook'],
        purpose: 'tests',
        expiresAt: new Date(Date.now() + 3_600_000),
      })
      .then(
        () => 'lent',
        () => 'refused',
      )
    await begun.promise
    const actor = { issuer: world.service.ownIssuer, sub: 'evil' }
    const saved = save(world, { ...bot, id: 'other-bot', actor, ends_lent: true })
    const isWaiting = () =>
      world.database.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
    // Either it waits for what is being lent, or it is done and has missed that.
    await Promise.race([saved, expect.poll(async () => (await isWaiting()).length).toBeGreaterThan(0)])
    goOn.resolve()
    expect(await saved).toMatchObject({ status: 200 })
    await lent
    expect(await world.service.delegations.listLive()).toEqual([])
  })
})

async function aKey() {
  const { publicKey } = await generateKeyPair('ES256')
  return { ...(await exportJWK(publicKey)), kid: crypto.randomUUID() }
}
