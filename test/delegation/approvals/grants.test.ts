import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import type { Fga } from '../../../src/authz/fga.ts'
import { type ApprovalGrants, createApprovalGrants } from '../../../src/delegation/approvals/grants.ts'
import type { GrantDraft } from '../../../src/delegation/approvals/terms.ts'
import { createDelegations, type Delegations } from '../../../src/delegation/lending/delegations.ts'
import { createAgents } from '../../../src/delegation/registry/agents.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import type { Database } from '../../../src/store/sql.ts'
import { describeDatabases } from '../../support/backends.ts'
import { openTestDatabase } from '../../support/database.ts'
import { type MovableClock, movableClock, ownIssuerUrl } from '../world.ts'
import { openFga } from '../world-fga.ts'

const recordedAs = operator('t_tests')

describeDatabases('grants of approvals', (kind) => {
  let database: Database
  let clock: MovableClock
  let fga: Fga
  let delegations: Delegations
  let grants: ApprovalGrants
  let delegation: string

  const logged: unknown[] = []
  const log = (event: string, fields?: object) => void logged.push({ event, ...fields })
  const createWith = (one: Fga) => createApprovalGrants({ database, fga: one, clock, log, randomBytes })

  beforeAll(async () => {
    database = await openTestDatabase(kind)
    clock = movableClock()
    fga = await openFga(database, clock)
    delegations = createDelegations({ database, fga, clock, randomBytes })
    grants = createWith(fga)
    const agents = createAgents({ sql: database, clock })
    for (const id of ['research-bot', 'helper-bot', 'other-bot'])
      await agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: id })
    delegation = await lend()
  })
  afterAll(() => database?.close())

  async function lend(overrides: Partial<Parameters<Delegations['lend']>[0]> = {}): Promise<string> {
    const { id } = await delegations.lend({
      subject: 'user:anne',
      agent: 'research-bot',
      subAgents: ['helper-bot'],
      scope: ['collection:handbook'],
      purpose: 'tests',
      expiresAt: new Date(clock.now() + 86_400_000),
      ...overrides,
    })
    return id
  }

  let asked = 0
  const grantDraft = (overrides: Partial<GrantDraft> = {}): GrantDraft => {
    asked += 1
    return {
      approval: `ap_${asked}`,
      subject: 'user:anne',
      agent: 'research-bot',
      delegation,
      objects: ['document:minutes'],
      until: new Date(clock.now() + 300_000),
      ...overrides,
    }
  }
  const activate = (id: string) => database.transaction((sql) => grants.activateWithin(sql, id, recordedAs))
  async function granted(overrides: Partial<GrantDraft> = {}) {
    const grant = await grants.prepare(grantDraft(overrides))
    expect(await activate(grant.id)).toBe(true)
    return grant.id
  }
  const bot = (overrides: Partial<Principal> = {}): Principal => ({
    kind: 'agent',
    subject: 'user:anne',
    actors: ['agent:research-bot'],
    client: 'bot-client',
    scopes: new Set(['docs.search']),
    authorizationDetails: [],
    delegation,
    txn: 't_1',
    expiresAt: 0,
    ...overrides,
  })
  const shown = async (principal: Principal, asking: Parameters<ApprovalGrants['presentable']>[1]) =>
    (await grants.presentable(principal, asking)).map(({ id }) => id)
  const use = (id: string, overrides: Partial<Parameters<ApprovalGrants['useWithin']>[1]> = {}) =>
    database.transaction((sql) => grants.useWithin(sql, { id, principal: bot(), ...overrides }))
  async function tuplesOf(id: string): Promise<string[]> {
    const found: string[] = []
    for await (const page of fga.readAll())
      for (const { user, relation, object } of page)
        if ([user, object].includes(`grant:${id}`)) found.push(`${user} ${relation} ${object}`)
    return found.sort()
  }
  const ends = async (id: string) =>
    (
      await database.query<{ reason: string }>(
        `select detail ->> 'reason' as reason from decision_records
         where event = 'grant_ended' and detail ->> 'grant' = $1`,
        [id],
      )
    ).map(({ reason }) => reason)

  describe('a yes', () => {
    test('is its row and its tuples, and opens nothing before the answer is in', async () => {
      const { id } = await grants.prepare(grantDraft({ objects: ['document:a', 'document:b'] }))
      expect(await tuplesOf(id)).toEqual([
        `agent:research-bot agent grant:${id}`,
        `grant:${id} granted_by document:a`,
        `grant:${id} granted_by document:b`,
        `user:anne grantor grant:${id}`,
      ])
      expect(await shown(bot(), { named: [id] })).toEqual([])
      expect(await use(id)).toBe(false)
      expect(await activate(id)).toBe(true)
      expect(await shown(bot(), { named: [id] })).toEqual([id])
      expect(await activate(id)).toBe(false)
    })

    test('does not count where the answer that it belongs to is rolled back', async () => {
      const { id } = await grants.prepare(grantDraft())
      const failing = database.transaction(async (sql) => {
        expect(await grants.activateWithin(sql, id, recordedAs)).toBe(true)
        throw new Error('killed')
      })
      await expect(failing).rejects.toThrow('killed')
      expect(await shown(bot(), { named: [id] })).toEqual([])
    })

    test('is on record with what it gives, of a call without what was asked of it', async () => {
      const call = { connection: 'c_1', method: 'POST', path: '/issues?token=x', bodyDigest: 'digest' }
      const objects = ['document:minutes']
      for (const [overrides, given] of [
        [{}, { objects, one_question: false, max_uses: null, vault_call: null }],
        [{ maxUses: 3 }, { objects, one_question: false, max_uses: 3, vault_call: null }],
        [{ queryHmac: 'this' }, { objects, one_question: true, max_uses: 1, vault_call: null }],
        [
          { objects: [], vaultCall: call },
          {
            ...{ objects: [], one_question: false, max_uses: 1 },
            vault_call: {
              ...{ connection: 'c_1', method: 'POST', path: '/issues' },
              call_digest: expect.stringMatching(/^[\w-]{43}$/),
            },
          },
        ],
      ] satisfies readonly [Partial<GrantDraft>, object][]) {
        const id = await granted(overrides)
        const records = await database.query<{ detail: object }>(
          `select detail from decision_records where event = 'grant_made' and detail ->> 'grant' = $1`,
          [id],
        )
        expect(records).toMatchObject([{ detail: { grantor: 'user:anne', remembered: false, ...given } }])
      }
    })

    test('answers one question once: a second grant of the same approval cannot count', async () => {
      const approval = 'ap_twice'
      await granted({ approval })
      const second = await grants.prepare(grantDraft({ approval }))
      await expect(activate(second.id)).rejects.toThrow(/approval_grants_approval/)
      expect(await shown(bot(), { named: [second.id] })).toEqual([])
    })

    test('never outlasts what was lent', async () => {
      const end = new Date(clock.now() + 10_000)
      const short = await lend({ expiresAt: end })
      const grant = await grants.prepare(
        grantDraft({ delegation: short, until: new Date(clock.now() + 60_000) }),
      )
      expect(grant.until).toEqual(end)
    })

    test.each<[string, () => Partial<GrantDraft>, object]>([
      ['a folder that is not to be remembered', () => ({ objects: ['folder:x'] }), { field: 'objects.0' }],
      ['a document that is', () => ({ remembered: true }), { field: 'objects.0' }],
      ['everything', () => ({ objects: ['document:*'] }), { field: 'objects.0' }],
      ['nothing', () => ({ objects: [] }), { field: 'objects' }],
      ['an end that is no time', () => ({ until: new Date(Number.NaN) }), { field: 'until' }],
      ['an end within this very second', () => ({ until: new Date(clock.now() + 1) }), { field: 'until' }],
      ['no use at all', () => ({ maxUses: 0 }), { field: 'max_uses' }],
      ['another person’s delegation', () => ({ subject: 'user:bob' }), { code: 'conflict' }],
      ['another agent’s delegation', () => ({ agent: 'other-bot' }), { code: 'conflict' }],
    ])('cannot be %s', async (_, overrides, refusal) => {
      await expect(grants.prepare(grantDraft(overrides()))).rejects.toMatchObject(refusal)
    })
  })

  describe('presenting', () => {
    test('counts for this person, outermost agent and delegation, and looks like nothing for any other', async () => {
      const id = await granted()
      const other = await lend()
      expect(await shown(bot(), { named: [id] })).toEqual([id])
      expect(
        await shown(bot({ actors: ['agent:research-bot', 'agent:helper-bot'] }), { named: [id] }),
      ).toEqual([id])
      for (const stranger of [
        bot({ subject: 'user:bob' }),
        bot({ actors: ['agent:helper-bot'] }),
        bot({ actors: ['agent:helper-bot', 'agent:research-bot'] }),
        bot({ delegation: other }),
        { ...bot(), kind: 'person' as const, actors: [] },
      ]) {
        expect(await shown(stranger, { named: [id] })).toEqual([])
        expect(await use(id, { principal: stranger })).toBe(false)
      }
      expect(await shown(bot(), { named: ['g_never'] })).toEqual([])
      expect(await shown(bot(), { named: [] })).toEqual([])
    })

    test('of one question counts for that question', async () => {
      const id = await granted({ queryHmac: 'this' })
      expect(await shown(bot(), { named: [id], queryHmac: 'this' })).toEqual([id])
      expect(await shown(bot(), { named: [id], queryHmac: 'that' })).toEqual([])
      expect(await shown(bot(), { named: [id] })).toEqual([])
      expect(await use(id, { queryHmac: 'that' })).toBe(false)
      expect(await use(id)).toBe(false)
      expect(await use(id, { queryHmac: 'this' })).toBe(true)
      expect(await use(id, { queryHmac: 'this' })).toBe(false)
      expect(await shown(bot(), { named: [id], queryHmac: 'this' })).toEqual([])
    })

    test('of a remembered one happens by itself, under its delegation alone', async () => {
      const remembering = await lend()
      const id = await granted({ delegation: remembering, remembered: true, objects: ['folder:board'] })
      expect(await shown(bot({ delegation: remembering }), { named: [] })).toEqual([id])
      expect(await shown(bot(), { named: [] })).toEqual([])
      await grants.revoke('user:anne', id, recordedAs)
      expect(await shown(bot({ delegation: remembering }), { named: [] })).toEqual([])
    })

    test('of a call to a third party opens no document, and counts for exactly that call', async () => {
      const call = {
        connection: 'c_1',
        method: 'POST',
        path: '/repos/a/b/issues?x=1',
        contentType: 'application/json',
      }
      const id = await granted({ objects: [], vaultCall: { ...call, bodyDigest: 'digest' } })
      expect(await tuplesOf(id)).toEqual([])
      expect(await shown(bot(), { named: [id] })).toEqual([])
      for (const other of [
        undefined,
        call,
        { ...call, bodyDigest: 'other' },
        { ...call, bodyDigest: 'digest', path: '/repos/a/b/issues?x=2' },
        { ...call, bodyDigest: 'digest', method: 'PUT' },
        { ...call, bodyDigest: 'digest', connection: 'c_2' },
        { ...call, bodyDigest: 'digest', contentType: 'text/plain' },
      ])
        expect(await use(id, other && { vaultCall: other })).toBe(false)
      expect(await grants.get(id)).toMatchObject({ used: 0, vaultCall: { ...call, bodyDigest: 'digest' } })
      expect(await use(id, { vaultCall: { ...call, bodyDigest: 'digest' } })).toBe(true)
      expect(await use(id, { vaultCall: { ...call, bodyDigest: 'digest' } })).toBe(false)
    })
  })

  describe('a use', () => {
    test.each([1, 3])('of a grant for %i passes as often, of twenty at once', async (maxUses) => {
      const id = await granted({ maxUses })
      const passed = await Promise.all(Array.from({ length: 20 }, () => use(id)))
      expect(passed.filter(Boolean)).toHaveLength(maxUses)
      expect(await grants.get(id)).toMatchObject({ state: 'ended', used: maxUses })
      expect(await ends(id)).toEqual(['used_up'])
    })

    test('that is rolled back was none', async () => {
      const id = await granted({ maxUses: 1 })
      const failing = database.transaction(async (sql) => {
        expect(await grants.useWithin(sql, { id, principal: bot() })).toBe(true)
        throw new Error('killed')
      })
      await expect(failing).rejects.toThrow('killed')
      expect(await use(id)).toBe(true)
    })

    test('that leaves more leaves the tuples', async () => {
      const id = await granted({ maxUses: 2 })
      const before = await tuplesOf(id)
      expect(await use(id)).toBe(true)
      await grants.settle([id])
      expect(await tuplesOf(id)).toEqual(before)
    })

    test('that was the last takes the tuples along; where OpenFGA fails, mend() does', async () => {
      const [first, second] = [await granted({ maxUses: 1 }), await granted({ maxUses: 1 })]
      await use(first)
      await grants.settle([first])
      expect(await tuplesOf(first)).toEqual([])
      await use(second)
      logged.length = 0
      const failing = createWith({ ...fga, write: () => Promise.reject(new Error('down')) })
      await failing.settle([second])
      expect(logged).toEqual([{ event: 'grants_unsettled', reason: expect.stringContaining('down') }])
      expect(await tuplesOf(second)).not.toEqual([])
      clock.move(61_000)
      expect(await grants.mend()).toBeGreaterThanOrEqual(1)
      expect(await tuplesOf(second)).toEqual([])
    })
  })

  describe('an end', () => {
    test('by the clock is rounded as OpenFGA’s is: over within the second in which it ends', async () => {
      const second = Math.ceil(clock.now() / 1_000) * 1_000
      const id = await granted({ until: new Date(second + 10_500) })
      const late = await grants.prepare(grantDraft({ until: new Date(second + 10_500) }))
      const listed = async () => (await grants.listOf('user:anne')).map((one) => one.id)
      clock.move(second + 10_000 - clock.now())
      expect(await shown(bot(), { named: [id] })).toEqual([id])
      expect(await listed()).toContain(id)
      clock.move(1)
      expect(await shown(bot(), { named: [id] })).toEqual([])
      expect(await use(id)).toBe(false)
      expect(await listed()).not.toContain(id)
      expect(await activate(late.id)).toBe(false)
      clock.move(61_000)
      await grants.mend()
      expect(await tuplesOf(id)).toEqual([])
      expect(await grants.get(id)).toMatchObject({ state: 'ended' })
    })

    test('by its person counts at once, takes the tuples along, and is nobody else’s to make', async () => {
      const before = await granted()
      clock.move(1)
      const id = await granted()
      // The newest first.
      expect((await grants.listOf('user:anne')).slice(0, 2).map((one) => one.id)).toEqual([id, before])
      expect(await grants.listOf('user:bob')).toEqual([])
      expect(await grants.revoke('user:bob', id, recordedAs)).toBe(false)
      expect(await grants.revoke('user:anne', id, recordedAs)).toBe(true)
      expect(await shown(bot(), { named: [id] })).toEqual([])
      expect(await use(id)).toBe(false)
      expect(await tuplesOf(id)).toEqual([])
      expect(await grants.revoke('user:anne', id, recordedAs)).toBe(false)
      expect(await ends(id)).toEqual(['revoked'])
      expect((await grants.listOf('user:anne')).map((one) => one.id)).not.toContain(id)
    })

    test('of what was lent is its end, in one transaction, and of whoever answers meanwhile', async () => {
      const lentDelegation = await lend()
      const of = { delegation: lentDelegation }
      const id = await granted(of)
      const answering = await grants.prepare(grantDraft(of))
      await delegations.revoke(lentDelegation)
      expect(await shown(bot(of), { named: [id] })).toEqual([])
      expect(await use(id, { principal: bot(of) })).toBe(false)
      expect(await grants.get(id)).toMatchObject({ state: 'ended' })
      expect(await tuplesOf(id)).toEqual([])
      expect(await ends(id)).toEqual(['delegation_ended'])
      expect(await activate(answering.id)).toBe(false)
      clock.move(61_000)
      await grants.mend()
      expect(await tuplesOf(answering.id)).toEqual([])
      await expect(grants.prepare(grantDraft(of))).rejects.toMatchObject({ code: 'conflict' })
    })

    test('of what was lent counts also for one that was being made meanwhile, whose row says nothing of it', async () => {
      const lentDelegation = await lend()
      const of = { delegation: lentDelegation }
      const [id, answering] = [await granted(of), await grants.prepare(grantDraft(of))]
      await database.query(`update delegations set state = 'revoked' where id = $1`, [lentDelegation])
      expect(await shown(bot(of), { named: [id] })).toEqual([])
      expect(await use(id, { principal: bot(of) })).toBe(false)
      expect((await grants.listOf('user:anne')).map((one) => one.id)).not.toContain(id)
      expect(await activate(answering.id)).toBe(false)
    })

    test('of what was lent that is undone leaves it as it was', async () => {
      const lentDelegation = await lend()
      const id = await granted({ delegation: lentDelegation })
      const undone = database.transaction(async (sql) => {
        await delegations.revokeWithin(sql, lentDelegation, recordedAs)
        throw new Error('killed')
      })
      await expect(undone).rejects.toThrow('killed')
      expect(await shown(bot({ delegation: lentDelegation }), { named: [id] })).toEqual([id])
    })

    test('of one whose tuples are still being written takes them along, later', async () => {
      const of = { delegation: await lend() }
      const gate = Promise.withResolvers<void>()
      const slow = createWith({
        ...fga,
        async write(change) {
          await gate.promise
          await fga.write(change)
        },
      })
      const preparing = slow.prepare(grantDraft(of))
      const rows = () => database.query('select from approval_grants where delegation = $1', [of.delegation])
      await expect.poll(async () => (await rows()).length).toBe(1)
      await delegations.revoke(of.delegation)
      await grants.mend()
      gate.resolve()
      const { id } = await preparing
      expect(await tuplesOf(id)).not.toEqual([])
      clock.move(61_000)
      await grants.mend()
      expect(await tuplesOf(id)).toEqual([])
    })

    test('of one that was never answered comes after a minute', async () => {
      const { id } = await grants.prepare(grantDraft())
      await grants.mend()
      expect(await grants.get(id)).toMatchObject({ state: 'preparing' })
      clock.move(61_000)
      await grants.mend()
      expect(await grants.get(id)).toMatchObject({ state: 'ended' })
      expect(await activate(id)).toBe(false)
      expect(await tuplesOf(id)).toEqual([])
    })
  })

  test('a tuple that somebody else put on a live grant is removed, and the rest stays', async () => {
    const id = await granted()
    const stray = { user: `grant:${id}`, relation: 'granted_by', object: 'document:payroll' } as const
    const before = await tuplesOf(id)
    await fga.write({
      writes: [stray, { user: 'agent:other-bot', relation: 'agent', object: `grant:${id}` }],
    })
    logged.length = 0
    expect(await grants.mend()).toBe(1)
    expect(logged).toEqual([{ event: 'grant_strays_removed', grant: id, count: 2 }])
    expect(await tuplesOf(id)).toEqual(before)
    expect(await grants.mend()).toBe(0)
  })

  test.each([
    ['that ended keeps no other one and no live one', 1],
    ['that is live keeps no other live one', 3],
  ])('one %s from being mended where OpenFGA refuses its tuples', async (_, refused) => {
    const second = Math.ceil(clock.now() / 1_000) * 1_000
    const ended = [
      await granted({ until: new Date(second + 10_000) }),
      await granted({ until: new Date(second + 10_000) }),
    ]
    const live = [await granted(), await granted()]
    for (const id of live)
      await fga.write({
        writes: [{ user: `grant:${id}`, relation: 'granted_by', object: 'document:payroll' }],
      })
    const before = (await Promise.all([...ended, ...live].map(tuplesOf))).flat().length
    const oneLeft = (await Promise.all(ended.map(tuplesOf))).flat().length / 2
    clock.move(61_000)
    let count = 0
    const failing = createWith({
      ...fga,
      async write(change) {
        // Not those of the tests before.
        if ([...ended, ...live].some((id) => JSON.stringify(change).includes(id))) count += 1
        if (count === refused) throw new Error('refused')
        await fga.write(change)
      },
    })
    await expect(failing.mend()).rejects.toThrow('refused')
    expect(count).toBe(4)
    const left = (await Promise.all([...ended, ...live].map(tuplesOf))).flat().length
    expect(before - left).toBe(refused === 1 ? oneLeft + 2 : oneLeft * 2 + 1)
    await grants.mend()
    const atLast = await Promise.all([...ended, ...live].map(tuplesOf))
    expect(atLast.flat()).toHaveLength(before - oneLeft * 2 - 2)
  })
})
