import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createOffers, type Offers } from '../../../src/delegation/approvals/offers.ts'
import { createAgents } from '../../../src/delegation/registry/agents.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import type { Database } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { type MovableClock, movableClock, ownIssuerUrl, putDelegation } from '../world.ts'

describeDatabases('offers', (kind) => {
  let database: Database
  let clock: MovableClock
  let offers: Offers

  beforeAll(async () => {
    database = await openTestDatabase(kind)
    clock = movableClock()
    const agents = createAgents({ sql: database, clock })
    for (const id of ['research-bot', 'other-bot'])
      await agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: id })
    const expiresAt = new Date(clock.now() + 86_400_000)
    for (const [id, agent] of [
      ['d_1', 'research-bot'],
      ['d_2', 'research-bot'],
      ['d_3', 'other-bot'],
    ] as const)
      await putDelegation(database, { id, subject: 'user:anne', agent, expiresAt })
    offers = createOffers({ sql: database, clock, randomBytes })
  })
  afterAll(() => database?.close())

  const bot = (overrides: Partial<Principal> = {}): Principal => ({
    kind: 'agent',
    subject: 'user:anne',
    actors: ['agent:research-bot'],
    client: 'bot-client',
    scopes: new Set(['docs.search', 'approvals.request']),
    authorizationDetails: [],
    delegation: 'd_1',
    txn: 't_1',
    expiresAt: 0,
    ...overrides,
  })
  const make = (principal: Principal, documentIds: readonly string[] = ['minutes']) =>
    database.transaction((sql) => offers.makeWithin(sql, principal, { queryHmac: 'q', documentIds }))

  test('an offer is one opaque id, and is found by whom it was made for alone', async () => {
    const one = await make(bot())
    const many = await make(bot(), ['a', 'b', 'c'])
    expect([one, many]).toEqual([
      expect.stringMatching(/^o_[\w-]{22}$/),
      expect.stringMatching(/^o_[\w-]{22}$/),
    ])
    const holder = { subject: 'user:anne', agent: 'research-bot', delegation: 'd_1' } as const
    expect(await offers.find(holder, many ?? '')).toMatchObject({
      queryHmac: 'q',
      documentIds: ['a', 'b', 'c'],
    })
    for (const other of [{ subject: 'user:bob' }, { agent: 'other-bot' }, { delegation: 'd_2' }] as const)
      expect(await offers.find({ ...holder, ...other }, many ?? '')).toBeUndefined()
    expect(await offers.find(holder, 'o_never')).toBeUndefined()
    clock.move(299_999)
    expect(await offers.find(holder, many ?? '')).toBeDefined()
    clock.move(1)
    expect(await offers.find(holder, many ?? '')).toBeUndefined()
    await database.query('update offers set expires_at = now()')
    expect(await offers.sweep()).toBe(2)
    clock.move(3_600_000)
  })

  test('none is made for a person alone, nor where the token may not ask', async () => {
    expect(await offers.mayOffer(bot())).toBe(true)
    expect(await offers.mayOffer({ ...bot(), kind: 'person', actors: [] })).toBe(false)
    expect(await offers.mayOffer(bot({ scopes: new Set(['docs.search']) }))).toBe(false)
  })

  test('ten an hour for a person and an agent, of thirty at once, under whichever delegation', async () => {
    const made = await Promise.all(
      Array.from({ length: 30 }, (_, index) => make(bot({ delegation: index % 2 === 0 ? 'd_1' : 'd_2' }))),
    )
    expect(made.filter((id) => id !== undefined)).toHaveLength(10)
    expect(await offers.mayOffer(bot())).toBe(false)
    const other = bot({ actors: ['agent:other-bot'], delegation: 'd_3' })
    expect(await offers.mayOffer(other)).toBe(true)
    expect(await make(other)).toBeDefined()
    clock.move(3_600_000 - 1)
    expect(await offers.mayOffer(bot())).toBe(false)
    expect(await make(bot())).toBeUndefined()
    clock.move(1)
    expect(await offers.mayOffer(bot())).toBe(true)
    expect(await make(bot())).toBeDefined()
  })

  test('the hour slides: ten at its end leave none for its next beginning', async () => {
    clock.move(3_600_000)
    await make(bot())
    clock.move(3_599_000)
    for (let count = 0; count < 9; count += 1) expect(await make(bot())).toBeDefined()
    expect(await make(bot())).toBeUndefined()
    clock.move(2_000)
    expect(await make(bot())).toBeDefined()
    expect(await make(bot())).toBeUndefined()
  })

  test('a sweep by a clock an hour ahead takes no offer and gives no turn back', async () => {
    await database.query('truncate offers, offer_limits')
    clock.move(Date.now() - clock.now())
    for (let count = 0; count < 10; count += 1) await make(bot())
    clock.move(3_600_001)
    expect(await offers.sweep()).toBe(0)
    clock.move(-3_600_001)
    expect(await offers.mayOffer(bot())).toBe(false)
    await database.query(`update offer_limits set made_at = array[now() - interval '1 hour']`)
    clock.move(60_000)
    await offers.sweep()
    expect(await database.query('select from offer_limits')).toEqual([])
  })
})
