import { decodeJwt } from 'jose'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Database, Sql } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { createAsking } from './asking.ts'
import { type IssuerWorld, openIssuerWorld } from './world.ts'

// Between a person's yes and the token that comes of it: who dies, who comes at once, and what ends
// meanwhile.
const broker = 'https://broker.test/api'
const order = [{ type: 'trade_order', symbol: 'ACME', quantity: 10 }]
const trade = { resource: broker, scope: 'openid orders.place', authorization_details: JSON.stringify(order) }

describeDatabases('an answer from afar', (kind) => {
  let world: IssuerWorld
  let asking: Awaited<ReturnType<typeof createAsking>>
  let delegation: string
  /** Statements until one fails, as if the process had died before it; undefined: none does. */
  let left: number | undefined
  let counted = 0

  beforeAll(async () => {
    const backend = { database: kind, openfga: 'engine' } as const
    world = await openIssuerWorld({ backend, database: dying })
    asking = await createAsking(world)
    await world.service.issuer.resources.save({
      resource: broker,
      scopes: ['orders.place'],
      authorizationDetailsTypes: ['trade_order'],
      allowedClients: ['agent-app'],
      takesVerification: false,
    })
    delegation = await world.lend('anne', 'research-bot', 'collection:handbook')
  }, 60_000)
  afterAll(() => world?.[Symbol.asyncDispose]())
  afterEach(async () => {
    left = undefined
    for (const table of ['backchannel_requests', 'approvals', 'approval_askers'])
      await world.database.query(`delete from ${table}`)
  })

  function dying(real: Database): Database {
    const on = <T extends Sql>(sql: T): T => ({
      ...sql,
      query: async (text: string, values?: never) => {
        counted += 1
        if (left !== undefined) left -= 1
        if (left !== undefined && left < 0) throw new Error('the process died here')
        return sql.query(text, values)
      },
    })
    return { ...on(real), transaction: (work, options) => real.transaction((sql) => work(on(sql)), options) }
  }

  const begun = async (parameters: Readonly<Record<string, string>> = {}, person = 'anne') =>
    String((await asking.begin('agent-app', { login_hint: person, ...parameters })).body.auth_req_id)
  const poll = async (id: string) => (await asking.poll('agent-app', id)).body
  const approve = (person = 'anne', signedIn: object = {}) =>
    asking.decide(person, { answer: 'approve' }, signedIn)
  const over = { error: 'access_denied', error_description: 'What was lent is over.' }

  const wishes: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
    ['for our API', {}],
    ['for another’s', trade],
  ]

  test.each(kind === 'pglite' ? wishes : wishes.slice(1))(
    '%s is whole wherever a process dies: once its token, or used up, and never two',
    { timeout: 120_000 },
    async (_, wish) => {
      const id = await begun(wish)
      await approve()
      const before = counted
      expect(await poll(id)).toHaveProperty('access_token')
      const statements = counted - before
      expect(statements).toBeGreaterThan(8)
      let lost = 0
      for (let at = 0; at < statements; at += 1) {
        await world.database.query('delete from approvals')
        await world.database.query('delete from approval_askers')
        const next = await begun(wish)
        const { txn } = await approve()
        left = at
        await asking.poll('agent-app', next).catch(() => undefined)
        left = undefined
        const { access_token: token, error } = await poll(next)
        // Used up before it was told: this one answer is lost, and says so. Nothing else is.
        if (token === undefined) lost += 1
        expect([at, token === undefined ? error : 'told']).toEqual([
          at,
          expect.stringMatching(/^(told|invalid_grant)$/),
        ])
        const consents = await world.database.query(
          `select 1 from decision_records where event = 'consented' and txn = $1`,
          [txn],
        )
        expect([at, consents.length]).toEqual([at, 1])
        expect(await poll(next)).toMatchObject({ error: 'invalid_grant' })
      }
      expect(lost).toBeLessThan(statements / 2)
      expect(await world.service.delegations.isLive(delegation)).toBe(true)
    },
  )

  test.each(wishes)('%s is told to one of twenty who ask at once', { timeout: 30_000 }, async (_, wish) => {
    const id = await begun(wish)
    await approve()
    const answers = await Promise.all(Array.from({ length: 20 }, () => poll(id)))
    expect(answers.filter(({ access_token: token }) => token !== undefined)).toHaveLength(1)
    expect(new Set(answers.map(({ error }) => error))).toEqual(new Set([undefined, 'invalid_grant']))
    // And it counts: none of the others has ended it.
    const token = answers.find(({ access_token: one }) => one !== undefined)?.access_token ?? ''
    const claims = decodeJwt(token)
    expect(await world.service.delegations.isLive(String(claims['delegation']))).toBe(true)
    if (claims.aud !== world.url) return
    expect((await world.call('POST', '/retrieve', { token, body: { query: 'x' } })).status).toBe(200)
  })

  test('is told to one of those who ask while the person decides', { timeout: 30_000 }, async () => {
    for (const answer of ['approve', 'deny'] as const) {
      const id = await begun({ binding_message: answer })
      const heard: (string | undefined)[] = []
      let decided = false
      const asks = async () => {
        for (let tries = 0; tries < 100 && !heard.includes(answer); tries += 1) {
          const { access_token: token, error } = await poll(id)
          if (token !== undefined || error === 'access_denied') heard.push(answer)
          else if (decided) heard.push(error)
          if (error === 'invalid_grant') return
          expect([undefined, 'authorization_pending', 'slow_down', 'access_denied']).toContain(error)
        }
      }
      const all = [asks(), asks(), asks()]
      await asking.decide('anne', { answer })
      decided = true
      await Promise.all(all)
      expect(heard.filter((one) => one === answer)).toHaveLength(1)
    }
  })

  test('is no consent again once the person took it back, nor by a request that came in late', async () => {
    const id = await begun()
    const [first] = await world.database.query<{ id_hash: string }>(
      'select id_hash from backchannel_requests',
    )
    const late = await begun()
    await approve()
    expect(await poll(id)).toHaveProperty('access_token')
    const grants = await world.database.query<{ grant_id: string }>('select grant_id from oauth_grants')
    for (const { grant_id: grantId } of grants) await world.service.issuer.grants.end(grantId, 't_test')
    // As its row is where it is written only now.
    const values = [first?.id_hash ?? '']
    await world.database.query(
      'update backchannel_requests set consented = default where id_hash <> $1',
      values,
    )
    expect(await poll(late)).toEqual(over)
    expect(await world.database.query('select from oauth_grants')).toEqual([])
  })

  test('is worth nothing once the agent is disabled, nor when it is enabled again', async () => {
    const lent = await world.lend('bob', 'research-bot', 'collection:handbook')
    const id = await begun({}, 'bob')
    await approve('bob')
    const { agents, delegations } = world.service
    await agents.disable('research-bot')
    expect(await poll(id)).toMatchObject({ error: 'invalid_client' })
    // As the command does it: what had been lent is over by then.
    await delegations.revoke(lent)
    await agents.enable('research-bot')
    expect(await poll(id)).toMatchObject({ error: 'access_denied' })
  })

  test('is worth nothing once the person is barred, or the account elsewhere by which they signed in ends', async () => {
    await world.lend('carol', 'research-bot', 'collection:handbook')
    const first = await begun({}, 'carol')
    await approve('carol')
    await world.service.issuer.barring.bar('carol')
    expect(await poll(first)).not.toHaveProperty('access_token')
    const second = await begun()
    await approve('anne', { upstream: { issuer: 'https://elsewhere.test', sub: 'anne' } })
    expect(await poll(second)).toEqual(over)
  })

  test('is one consent for all requests that stand for the question: ended or over, no other makes it again', async () => {
    for (const ends of [
      'delete from oauth_grants where txn = $1',
      `update oauth_grants set expires_at = now() - interval '1 second' where txn = $1`,
    ]) {
      await world.database.query('delete from approvals')
      const [first, second, third] = [await begun(), await begun(), await begun()]
      const { txn } = await approve()
      expect(await poll(first)).toHaveProperty('access_token')
      expect(await poll(second)).toHaveProperty('access_token')
      await world.database.query(ends, [txn])
      expect([ends, await poll(third)]).toEqual([ends, over])
    }
  })

  test('of a sign-in that nobody knows is none', async () => {
    const id = await begun()
    await approve('anne', { signedInAt: undefined })
    expect(await poll(id)).toEqual(over)
  })

  test('rests on the sign-in in which it was given, and ends with it', async () => {
    const id = await begun()
    await approve()
    const { access_token: token = '' } = await poll(id)
    expect((await world.call('POST', '/retrieve', { token, body: { query: 'x' } })).status).toBe(200)
    const grant = String(decodeJwt(token)['grant_id'])
    const [row] = await world.database.query<{ amr: string[]; lends: boolean }>(
      'select amr, lends from oauth_grants where grant_id = $1',
      [grant],
    )
    expect(row).toEqual({ amr: ['pwd'], lends: false })
  })
})
