import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Fga, TupleKey } from '../../src/authz/fga.ts'
import { type ApprovalGrants, createApprovalGrants } from '../../src/delegation/approvals/grants.ts'
import type { GrantDraft } from '../../src/delegation/approvals/terms.ts'
import {
  type ApprovalGrant,
  endGrantsOf,
  grantTuples,
  recordEnd,
  settleGrants,
  strayTuples,
} from '../../src/delegation/lending/approval-grant.ts'
import { createAgents } from '../../src/delegation/registry/agents.ts'
import type { Database } from '../../src/store/sql.ts'
import { agree } from '../support/approvals.ts'
import { type MovableClock, movableClock, openMigrated, ownIssuerUrl, putDelegation } from './world.ts'
import { openFga } from './world-fga.ts'

// The row and the tuples of a grant. What they open: approvals/grants.test.ts.

const recordedAs = operator('t_tests')
let database: Database
let clock: MovableClock
let fga: Fga
let grants: ApprovalGrants
let delegation: string

beforeAll(async () => {
  database = await openMigrated()
  clock = movableClock()
  fga = await openFga(database, clock)
  grants = createApprovalGrants({ database, fga, clock, log: () => undefined, randomBytes })
  const agents = createAgents({ sql: database, clock })
  const id = 'research-bot'
  await agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: id })
})
afterAll(() => database?.close())
beforeEach(async () => {
  clock.move(1)
  delegation = await lent()
})

let count = 0
async function lent(): Promise<string> {
  count += 1
  const id = `d_${count}`
  const expiresAt = new Date(clock.now() + 3_600_000)
  await putDelegation(database, { id, subject: 'user:anne', agent: 'research-bot', expiresAt })
  return id
}
async function found(id: string): Promise<ApprovalGrant> {
  const grant = await grants.get(id)
  if (grant === undefined) throw new Error('It is not there.')
  return grant
}
const agreed = async (overrides: Partial<GrantDraft> = {}) =>
  found(
    await agree(
      { service: { grants: { approvalGrants: grants } }, database },
      { delegation, objects: ['document:a'], ...overrides },
    ),
  )
const preparing = () => {
  count += 1
  return grants.prepare({
    ...{ approval: `ap_${count}`, subject: 'user:anne', agent: 'research-bot', delegation },
    ...{ objects: ['document:a'], until: new Date(clock.now() + 300_000) },
  })
}
const call = { connection: 'c_1', method: 'POST', path: '/issues' }
const endAll = () =>
  database.transaction((sql) => endGrantsOf(sql, delegation, { now: new Date(clock.now()), recordedAs }))
const timesOf = async ({ id }: ApprovalGrant) => {
  const [row] = await database.query<{ ended_at: Date | null; settled_at: Date | null }>(
    'select ended_at, settled_at from approval_grants where id = $1',
    [id],
  )
  return { endedAt: row?.ended_at?.getTime(), settledAt: row?.settled_at?.getTime() }
}
async function tuplesOf({ id }: ApprovalGrant): Promise<number> {
  let tuples = 0
  for await (const page of fga.readAll())
    tuples += page.filter(({ user, object }) => [user, object].includes(`grant:${id}`)).length
  return tuples
}
const recorded = () =>
  database.query(
    `select subject, actors, client, txn, detail from decision_records
     where event = 'grant_ended' and delegation = $1 order by record_no`,
    [delegation],
  )
const said = ({ id, approval }: ApprovalGrant, reason: string) => ({
  ...{ subject: recordedAs.subject, actors: [], client: recordedAs.client, txn: 't_tests' },
  detail: { grant: id, approval, grantor: 'user:anne', agent: 'research-bot', reason },
})

describe('the tuples of a grant', () => {
  test('name its person, its agent and its objects, and end with it', async () => {
    const grant = await agreed({ objects: ['document:a', 'document:b'] })
    const object = `grant:${grant.id}`
    expect(grantTuples(grant)).toEqual([
      {
        user: 'user:anne',
        relation: 'grantor',
        object,
        condition: { name: 'until', context: { expires_at: grant.until.toISOString() } },
      },
      { user: 'agent:research-bot', relation: 'agent', object },
      { user: object, relation: 'granted_by', object: 'document:a' },
      { user: object, relation: 'granted_by', object: 'document:b' },
    ])
  })

  test('are none of a call: OpenFGA is not asked about it', async () => {
    expect(grantTuples(await agreed({ objects: [], vaultCall: call }))).toEqual([])
  })

  test.each<[string, (grant: `grant:${string}`) => TupleKey]>([
    ['another document', (grant) => ({ user: grant, relation: 'granted_by', object: 'document:payroll' })],
    ['a folder', (grant) => ({ user: grant, relation: 'granted_by', object: 'folder:board' })],
    ['a collection', (grant) => ({ user: grant, relation: 'granted_by', object: 'collection:finance' })],
    ['another agent', (object) => ({ user: 'agent:other-bot', relation: 'agent', object })],
  ])('that its row does not know are found, and those alone: %s', async (_, stray) => {
    const [grant, other] = [await agreed(), await agreed()]
    expect(await strayTuples(fga, grant)).toEqual([])
    const tuple = stray(`grant:${grant.id}`)
    await fga.write({ writes: [tuple] })
    expect(await strayTuples(fga, grant)).toEqual([tuple])
    expect(await strayTuples(fga, other)).toEqual([])
  })
})

describe('the row of a grant', () => {
  test('says what was agreed to, and no member that nothing was said of', async () => {
    const until = new Date(clock.now() + 60_000)
    expect(await agreed({ until })).toEqual({
      ...{ id: expect.stringMatching(/^g_/), approval: expect.stringMatching(/^ap_/) },
      ...{ subject: 'user:anne', agent: 'research-bot', delegation, objects: ['document:a'], until },
      ...{ used: 0, remembered: false, state: 'live' },
    })
    expect(await agreed({ maxUses: 3 })).toMatchObject({ maxUses: 3 })
    expect(await agreed({ queryHmac: 'this' })).toMatchObject({ queryHmac: 'this', maxUses: 1 })
    const folder = { objects: ['folder:board'], remembered: true } as const
    expect(await agreed(folder)).toMatchObject(folder)
  })

  test('keeps a call as it was asked for', async () => {
    const whole = { ...call, contentType: 'application/json', bodyDigest: 'digest' }
    for (const one of [call, whole])
      expect((await agreed({ objects: [], vaultCall: one })).vaultCall).toStrictEqual(one)
  })
})

describe('with what was lent', () => {
  test('each of its grants ends, on record, and those whose tuples are written are given back', async () => {
    const [live, unanswered] = [await agreed({ maxUses: 2 }), await preparing()]
    const elsewhere = await agreed({ delegation: await lent() })
    expect(await endAll()).toEqual([{ ...live, state: 'ended', wasLive: true }])
    for (const grant of [live, unanswered]) {
      expect((await found(grant.id)).state).toBe('ended')
      expect(await timesOf(grant)).toEqual({ endedAt: clock.now() })
    }
    expect((await found(elsewhere.id)).state).toBe('live')
    const records = await recorded()
    expect(records).toHaveLength(2)
    for (const grant of [live, unanswered]) expect(records).toContainEqual(said(grant, 'delegation_ended'))
  })

  test('one that had ended before stays as it was, and is on record once', async () => {
    const ended = await agreed()
    await grants.revoke('user:anne', ended.id, recordedAs)
    const before = await timesOf(ended)
    clock.move(1_000)
    expect(await endAll()).toEqual([])
    expect(await timesOf(ended)).toEqual(before)
    expect(await recorded()).toEqual([said(ended, 'revoked')])
  })
})

test('an end is on record under the delegation of the grant, whoever ends it', async () => {
  const grant = await agreed()
  const by = { ...recordedAs, delegation: 'd_other' }
  await recordEnd(database, by, grant, 'used_up')
  expect(await recorded()).toEqual([said(grant, 'used_up')])
})

describe('settling', () => {
  const settle = (...ended: readonly ApprovalGrant[]) =>
    settleGrants({ sql: database, fga }, ended, new Date(clock.now()))

  test('takes the tuples of those that ended along, and is written down, once and again', async () => {
    const [first, second, other] = [await agreed(), await agreed(), await agreed()]
    const whole = await tuplesOf(other)
    await settle(first, second)
    for (const grant of [first, second]) {
      expect(await tuplesOf(grant)).toBe(0)
      expect(await timesOf(grant)).toEqual({ settledAt: clock.now() })
    }
    expect([await tuplesOf(other), await timesOf(other)]).toEqual([whole, {}])
    clock.move(1_000)
    await settle(first)
    expect(await timesOf(first)).toEqual({ settledAt: clock.now() })
  })

  test('of calls asks nothing of OpenFGA', async () => {
    const grant = await agreed({ objects: [], vaultCall: call })
    const unasked = () => Promise.reject(new Error('asked'))
    await settleGrants({ sql: database, fga: { write: unasked } }, [grant], new Date(clock.now()))
    expect(await timesOf(grant)).toEqual({ settledAt: clock.now() })
  })

  test('that OpenFGA refuses is not written down', async () => {
    const grant = await agreed()
    const down = () => Promise.reject(new Error('down'))
    const settling = settleGrants({ sql: database, fga: { write: down } }, [grant], new Date(clock.now()))
    await expect(settling).rejects.toThrow('down')
    expect(await timesOf(grant)).toEqual({})
  })
})
