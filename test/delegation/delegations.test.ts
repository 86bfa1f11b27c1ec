import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import type { Fga } from '../../src/authz/fga.ts'
import type { Lending } from '../../src/delegation/lending/delegation.ts'
import { createDelegations, type Delegations } from '../../src/delegation/lending/delegations.ts'
import { createAgents } from '../../src/delegation/registry/agents.ts'
import type { Database } from '../../src/store/sql.ts'
import { type MovableClock, movableClock, openMigrated, ownIssuerUrl } from './world.ts'
import { openFga, tuplesOf } from './world-fga.ts'

let database: Database
let clock: MovableClock
let fga: Fga
let delegations: Delegations

beforeAll(async () => {
  database = await openMigrated()
  clock = movableClock()
  fga = await openFga(database, clock)
  delegations = createDelegations({ database, fga, clock, randomBytes })
  const agents = createAgents({ sql: database, clock })
  for (const id of ['research-bot', 'helper-bot', 'off-bot']) {
    await agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: id })
  }
  await agents.disable('off-bot')
})
afterAll(() => database.close())

const inAnHour = () => new Date(clock.now() + 3_600_000)
const lending = (overrides: Partial<Lending> = {}): Lending => ({
  subject: 'user:anne',
  agent: 'research-bot',
  scope: ['collection:handbook'],
  purpose: 'tests',
  expiresAt: inAnHour(),
  ...overrides,
})

/** Throws at the given call, as a process that dies there would stop. */
function dyingFga(at: number): Fga {
  let calls = 0
  return {
    ...fga,
    async write(change) {
      calls += 1
      if (calls === at) throw new Error('killed')
      await fga.write(change)
    },
  }
}

async function reads(id: string, agent = 'research-bot'): Promise<string | undefined> {
  const answer = await fga.batchCheck(
    [
      {
        user: 'user:anne',
        relation: 'in_scope',
        object: 'collection:handbook',
        contextual: [
          { user: 'user:anne', relation: 'acting_for', object: `agent:${agent}` },
          { user: 'user:anne', relation: 'presented', object: `delegation:${id}` },
        ],
      },
    ],
    { now: clock.now() },
  )
  return answer.verdicts[0]
}

describe('lending', () => {
  test('puts exactly what was lent within the agent’s reach, by an opaque id', async () => {
    const { id, state } = await delegations.lend(lending({ subAgents: ['helper-bot'] }))
    expect(id).toMatch(/^d_[\w-]{22}$/)
    expect(state).toBe('live')
    expect(await tuplesOf(fga, id)).toEqual([
      `agent:helper-bot sub_agent delegation:${id}`,
      `agent:research-bot agent delegation:${id}`,
      `delegation:${id} delegated_to collection:handbook`,
      `user:anne delegator delegation:${id}`,
    ])
    expect(await reads(id)).toBe('allowed')
    expect(await reads(id, 'helper-bot')).toBe('allowed')
    expect(await reads(id, 'off-bot')).toBe('denied')
    expect(await delegations.isLive(id)).toBe(true)
  })

  test('ends by the clock, in the row and in OpenFGA alike', async () => {
    const { id } = await delegations.lend(lending({ expiresAt: new Date(clock.now() + 10_000) }))
    expect(await reads(id)).toBe('allowed')
    clock.move(20_000)
    expect(await reads(id)).toBe('denied')
    expect(await delegations.isLive(id)).toBe(false)
  })

  test('under the same id twice is one lending; another under that id is refused', async () => {
    const firstDelegation = await delegations.lend(lending({ id: 'd_fixed' }))
    expect(
      await delegations.lend(lending({ id: 'd_fixed', expiresAt: new Date(clock.now() + 9_000) })),
    ).toEqual(firstDelegation)
    await expect(
      delegations.lend(lending({ id: 'd_fixed', scope: ['collection:board'] })),
    ).rejects.toMatchObject({ code: 'conflict' })
    await expect(delegations.lend(lending({ id: 'd_fixed', subject: 'user:bob' }))).rejects.toMatchObject({
      code: 'conflict',
    })
  })

  test('under the same id by many at once is one lending, that stands with its tuples', async () => {
    const requested = lending({ id: 'd_at-once' })
    const made = await Promise.all(Array.from({ length: 5 }, () => delegations.lend(requested)))
    expect(new Set(made.map(({ id, state }) => `${id} ${state}`))).toEqual(new Set(['d_at-once live']))
    expect(await delegations.isLive('d_at-once')).toBe(true)
    expect(await tuplesOf(fga, 'd_at-once')).toHaveLength(3)
    expect(await reads('d_at-once')).toBe('allowed')
    const [row] = await database.query('select settled_at from delegations where id = $1', ['d_at-once'])
    expect(row).toEqual({ settled_at: null })
  })

  test('keeps at most one live standing one for a person and an agent, and lets an ended one give way', async () => {
    const end = new Date(clock.now() + 5_000)
    const firstDelegation = await delegations.lend(
      lending({ subject: 'user:stan', standing: true, expiresAt: end }),
    )
    await expect(delegations.lend(lending({ subject: 'user:stan', standing: true }))).rejects.toMatchObject({
      code: 'conflict',
    })
    clock.move(6_000)
    const second = await delegations.lend(lending({ subject: 'user:stan', standing: true }))
    expect(await delegations.current('user:stan', 'research-bot')).toMatchObject({ id: second.id })
    expect(await delegations.get(firstDelegation.id)).toMatchObject({ state: 'revoked' })
  })

  test.each<[string, Partial<Lending>, string]>([
    ['a group as the lender', { subject: 'group:eng' }, 'subject'],
    ['nothing', { scope: [] }, 'scope'],
    ['a group', { scope: ['group:eng'] }, 'scope.0'],
    ['everything', { scope: ['collection:*'] }, 'scope.0'],
    ['an unknown agent', { agent: 'stranger' }, 'agent'],
    ['a disabled agent', { agent: 'off-bot' }, 'agent'],
    ['an unknown sub-agent', { subAgents: ['stranger'] }, 'sub_agents'],
    ['a past end', { expiresAt: new Date(0) }, 'expires_at'],
    ['an end that is no time', { expiresAt: new Date(Number.NaN) }, 'expires_at'],
  ])('refuses %s and names the field', async (_, wrong, field) => {
    await expect(delegations.lend(lending(wrong))).rejects.toMatchObject({ code: 'invalid_request', field })
  })
})

describe('revoking', () => {
  test('kills the row at once and takes every tuple along', async () => {
    const { id } = await delegations.lend(lending({ subAgents: ['helper-bot'] }))
    expect(await delegations.revoke(id)).toBe(true)
    expect(await delegations.isLive(id)).toBe(false)
    expect(await tuplesOf(fga, id)).toEqual([])
    expect(await delegations.revoke(id)).toBe(false)
    expect(await delegations.revoke('d_never')).toBe(false)
  })

  test('a crash before its tuples are gone leaves it dead, and mend() removes them', async () => {
    const { id } = await delegations.lend(lending())
    const dying = createDelegations({ database, fga: dyingFga(1), clock, randomBytes })
    await expect(dying.revoke(id)).rejects.toThrow('killed')
    expect(await delegations.isLive(id)).toBe(false)
    expect(await tuplesOf(fga, id)).not.toEqual([])
    clock.move(61_000)
    expect(await delegations.mend()).toBeGreaterThan(0)
    expect(await tuplesOf(fga, id)).toEqual([])
    expect(await delegations.mend()).toBe(0)
  })
})

describe('a lending whose caller was told that it is over', () => {
  const standing = () => lending({ subject: 'user:late', standing: true })
  const askedBy = (over: AbortSignal) => ({ ...operator('t_late'), over })
  const rows = () =>
    database.query(`select state from delegations where subject = 'user:late' order by state desc`)

  test('before anything was written leaves nothing', async () => {
    await expect(delegations.lend(standing(), askedBy(AbortSignal.abort()))).rejects.toMatchObject({
      code: 'deadline_exceeded',
    })
    expect(await rows()).toEqual([])
  })

  /** Ends the request once the tuples are written. */
  async function lendLate(requested: Lending): Promise<string> {
    const request = new AbortController()
    let id = ''
    const late: Fga = {
      ...fga,
      async write(change) {
        await fga.write(change)
        id = (change.writes ?? []).find(({ relation }) => relation === 'agent')?.object.slice(11) ?? id
        request.abort()
      },
    }
    const lentDelegation = createDelegations({ database, fga: late, clock, randomBytes }).lend(
      requested,
      askedBy(request.signal),
    )
    await expect(lentDelegation).rejects.toMatchObject({ code: 'deadline_exceeded' })
    return id
  }

  test('while its tuples were written leaves none of them, and the same again stands', async () => {
    const id = await lendLate(standing())
    expect(id).toMatch(/^d_/)
    expect(await tuplesOf(fga, id)).toEqual([])
    const { id: next } = await delegations.lend(standing())
    expect(await rows()).toEqual([{ state: 'revoked' }, { state: 'live' }])
    await delegations.revoke(next)
  })

  test('under an id of its own goes on with the same again', async () => {
    const requested = { ...standing(), id: 'd_late' }
    await lendLate(requested)
    expect((await delegations.lend(requested)).state).toBe('live')
    await delegations.revoke('d_late')
  })

  test('and who never asks again stands in the way of no other for longer than a minute', async () => {
    await lendLate({ ...standing(), id: 'd_left' })
    await expect(delegations.lend(standing())).rejects.toMatchObject({ code: 'conflict' })
    clock.move(61_000)
    expect((await delegations.lend(standing())).state).toBe('live')
    expect(await delegations.get('d_left')).toMatchObject({ state: 'revoked' })
    await delegations.mend()
    expect(await tuplesOf(fga, 'd_left')).toEqual([])
  })
})

describe('a crash while lending', () => {
  test('leaves nothing usable, and the same lending again completes it', async () => {
    const dying = createDelegations({ database, fga: dyingFga(1), clock, randomBytes })
    await expect(dying.lend(lending({ id: 'd_crash' }))).rejects.toThrow('killed')
    expect(await delegations.isLive('d_crash')).toBe(false)
    expect(await delegations.current('user:anne', 'research-bot')).not.toMatchObject({ id: 'd_crash' })
    expect((await delegations.lend(lending({ id: 'd_crash' }))).state).toBe('live')
  })

  test('after the tuples, is cleared up by mend() only once its maker must be gone', async () => {
    const half: Database = {
      ...database,
      transaction: (work) =>
        database.transaction((sql) =>
          work({
            async query(text, values) {
              if (text.includes(`set state = 'live'`)) throw new Error('killed')
              return sql.query(text, values)
            },
          }),
        ),
    }
    await expect(
      createDelegations({ database: half, fga, clock, randomBytes }).lend(lending({ id: 'd_half' })),
    ).rejects.toThrow('killed')
    await delegations.mend()
    expect(await delegations.get('d_half')).toMatchObject({ state: 'lending' })
    expect(await tuplesOf(fga, 'd_half')).toHaveLength(3)
    clock.move(61_000)
    await delegations.mend()
    expect(await delegations.get('d_half')).toMatchObject({ state: 'revoked' })
    expect(await tuplesOf(fga, 'd_half')).toEqual([])
  })

  test('a revocation that comes in between wins, and leaves no tuple', async () => {
    const slow: Fga = {
      ...fga,
      async write(change) {
        if (change.writes !== undefined) await delegations.revoke('d_race')
        await fga.write(change)
      },
    }
    const lentDelegation = createDelegations({ database, fga: slow, clock, randomBytes }).lend(
      lending({ id: 'd_race' }),
    )
    await expect(lentDelegation).rejects.toMatchObject({ code: 'conflict' })
    expect(await delegations.get('d_race')).toMatchObject({ state: 'revoked' })
    expect(await tuplesOf(fga, 'd_race')).toEqual([])
  })
})

test('an ended delegation’s tuples are removed by mend()', async () => {
  const { id } = await delegations.lend(lending({ expiresAt: new Date(clock.now() + 1_000) }))
  clock.move(61_000)
  await delegations.mend()
  expect(await tuplesOf(fga, id)).toEqual([])
})

test('one whose tuples OpenFGA does not take away keeps no other from being mended', async () => {
  const expiresAt = new Date(clock.now() + 1_000)
  const lent = [
    await delegations.lend(lending({ expiresAt })),
    await delegations.lend(lending({ expiresAt })),
  ]
  clock.move(61_000)
  const failing = createDelegations({ database, fga: dyingFga(1), clock, randomBytes })
  await expect(failing.mend()).rejects.toThrow('killed')
  const left = await Promise.all(lent.map(({ id }) => tuplesOf(fga, id)))
  expect(left.filter((tuples) => tuples.length > 0)).toHaveLength(1)
  expect(await delegations.mend()).toBe(1)
})
