import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Requester } from '../../../src/delegation/approvals/approval.ts'
import type { GrantMaker } from '../../../src/delegation/approvals/decide.ts'
import { type ApprovalGrants, createApprovalGrants } from '../../../src/delegation/approvals/grants.ts'
import type { Principal } from '../../../src/kernel/principal.ts'
import { describeBackends } from '../../support/backends.ts'
import { type AskingWorld, openAskingWorld } from './world.ts'

/** Where a process can die between a person's yes and what comes of it. */
const places = [
  'before anything is prepared',
  'while the tuples are written',
  'once they are written',
  'in the transaction, before the grant is live',
  'in the transaction, after it',
] as const

describeBackends('a process that dies', (backend) => {
  let world: AskingWorld
  let grants: ApprovalGrants
  let asker: Requester
  let dies: (typeof places)[number] | undefined
  beforeAll(async () => {
    world = await openAskingWorld({
      backend,
      grants: ({ database, service: { fga } }): GrantMaker => {
        const die = (at: typeof dies) => {
          if (dies === at) throw new Error('killed')
        }
        grants = createApprovalGrants({
          database,
          fga: {
            ...fga,
            async write(change) {
              if (dies === 'while the tuples are written' && change.writes !== undefined) {
                await fga.write({ writes: change.writes.slice(0, 1) })
                throw new Error('killed')
              }
              await fga.write(change)
            },
          },
          clock: { now: () => clockNow() },
          log: () => undefined,
          randomBytes,
        })
        return {
          async prepare(wanted) {
            die('before anything is prepared')
            const grant = await grants.prepare(wanted)
            die('once they are written')
            return grant
          },
          async activateWithin(sql, id, by) {
            die('in the transaction, before the grant is live')
            const isLive = await grants.activateWithin(sql, id, by)
            die('in the transaction, after it')
            return isLive
          },
        }
      },
    })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(async () => {
    dies = undefined
    world.clock.move(3 * 3_600_000)
    asker = await world.asker()
  })
  const clockNow = () => world.clock.now()

  const holder = (): Principal => ({
    ...asker,
    kind: 'agent',
    actors: [`agent:${asker.agent}`],
    scopes: new Set(['docs.read']),
    authorizationDetails: [],
    expiresAt: 0,
  })
  const presentable = (named?: string) =>
    grants.presentable(holder(), { queryHmac: 'hmac of budget', named: named === undefined ? [] : [named] })
  const grantsOf = async (approval: string) =>
    world.database.query<{ id: string; state: string }>(
      'select id, state from approval_grants where approval = $1 order by created_at',
      [approval],
    )
  const opens = async (grant: string) => {
    const contextual = [
      { user: asker.subject, relation: 'acting_for', object: 'agent:research-bot' },
      { user: asker.subject, relation: 'presented', object: `delegation:${asker.delegation}` },
      { user: asker.subject, relation: 'presented', object: `grant:${grant}` },
    ] as const
    const check = {
      user: asker.subject,
      relation: 'can_read_delegated',
      object: 'document:board/1',
      contextual,
    } as const
    return (await world.service.fga.batchCheck([check], { now: world.clock.now() })).verdicts[0]
  }

  test.each(places)(
    '%s has opened nothing: the question is still there, is answered once, and what was left goes away',
    async (place) => {
      const approval = await world.ask(asker, ['board/1'])
      dies = place
      await expect(world.decide(approval, { answer: 'approve' })).rejects.toThrow('killed')
      expect(await world.approvals.of(asker, approval.id)).toMatchObject({ state: 'pending' })
      expect(await world.recorded(approval.id)).toEqual(['approval_asked'])
      for (const { id, state } of await grantsOf(approval.id)) {
        expect(state).toBe('preparing')
        expect(await presentable(id)).toEqual([])
      }
      dies = undefined
      const decided = await world.decide(approval, { answer: 'approve' })
      const grant = decided.ok ? (decided.value.grant ?? '') : ''
      expect(await presentable(grant)).toHaveLength(1)
      expect(await opens(grant)).toBe('allowed')
      world.clock.move(61_000)
      await grants.mend()
      const all = await grantsOf(approval.id)
      expect(all.filter(({ state }) => state === 'live').map(({ id }) => id)).toEqual([grant])
      for (const { id } of all.filter(({ state }) => state !== 'live')) {
        const left = world.service.fga.read({ object: `grant:${id}` })
        expect((await left[Symbol.asyncIterator]().next()).done).toBe(true)
      }
    },
  )

  test('after a yes that counts has lost nothing: who asks hears of it from the row', async () => {
    const approval = await world.ask(asker, ['board/1'])
    // Whoever was to be told is gone; another process looks.
    await world.decide(approval, { answer: 'approve' })
    const another = await world.another()
    expect(await another.wait(asker, approval.id, AbortSignal.timeout(25_000))).toMatchObject({
      state: 'approved',
      grant: expect.any(String),
    })
    expect(await world.decide(approval, { answer: 'approve' })).toEqual({ ok: false, reason: 'over' })
    expect((await grantsOf(approval.id)).filter(({ state }) => state === 'live')).toHaveLength(1)
  })

  test('leaves one grant of several decisions at once', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const results = await Promise.all(
      Array.from({ length: 4 }, () => world.decide(approval, { answer: 'approve' })),
    )
    const [decided, ...more] = results.filter(({ ok }) => ok)
    expect(more).toEqual([])
    const live = (await grantsOf(approval.id)).filter(({ state }) => state === 'live')
    expect(live.map(({ id }) => id)).toEqual([decided?.ok ? decided.value.grant : 'none'])
  })

  test('what was lent ends while its person says yes: it is a yes to nothing, and says that it is over', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const [decided] = await Promise.all([
      world.decide(approval, { answer: 'approve' }),
      world.service.delegations.revoke(asker.delegation),
    ]).catch((error: unknown) => [{ ok: false as const, reason: String(error) }])
    const grant = decided.ok ? decided.value.grant : undefined
    if (grant === undefined)
      expect(await grantsOf(approval.id).then((all) => all.map(({ state }) => state))).not.toContain('live')
    else expect(await presentable(grant)).toEqual([])
    expect((await world.approvals.mine(asker.subject)).open).toEqual([])
  })
})
