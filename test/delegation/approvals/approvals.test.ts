import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createFga, createFgaApi } from '../../../src/authz/openfga.ts'
import type { Approval, Requester } from '../../../src/delegation/approvals/approval.ts'
import {
  type Approvals,
  type ApprovalsDeps,
  openApprovals,
} from '../../../src/delegation/approvals/approvals.ts'
import { waitsMax } from '../../../src/delegation/approvals/changes.ts'
import type { Decision } from '../../../src/delegation/approvals/decide.ts'
import { createApprovalGrants } from '../../../src/delegation/approvals/grants.ts'
import { digestOf } from '../../../src/delegation/approvals/view.ts'
import { createAgents } from '../../../src/delegation/registry/agents.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import type { FgaObject } from '../../../src/kernel/ids.ts'
import { askedCall } from '../../support/approvals.ts'
import {
  type MovableClock,
  movableClock,
  openMigrated,
  ownIssuerUrl,
  publicUrl,
  putDelegation,
} from '../world.ts'

// What agents and people see of approvals, and what the clock does to them, on calls: nobody asks the gate or
// OpenFGA. With the whole service: states.test.ts, page.test.ts, waits.test.ts.

let database: Awaited<ReturnType<typeof openMigrated>>
let clock: MovableClock
let deps: ApprovalsDeps
let approvals: Approvals
let asker: Requester
let isOpen = true
let reads = 0
let logged: unknown[]
/** What somebody else does before the next transaction begins, or once it is committed. */
let before: (() => Promise<unknown>) | undefined
let after: (() => Promise<unknown>) | undefined

beforeAll(async () => {
  database = await openMigrated('pglite')
  clock = movableClock()
  const fga = createFga(createFgaApi({ apiUrl: 'http://127.0.0.1:9', timeoutMs: 1 }), 'none', () => 'none')
  const unasked = () => {
    throw new Error('A call asks for no documents.')
  }
  deps = {
    database: {
      ...database,
      query(text, values) {
        reads += 1
        return database.query(text, values)
      },
      async transaction(work) {
        const [first, last] = [before, after]
        before = undefined
        after = undefined
        await first?.()
        const result = await database.transaction(work)
        await last?.()
        return result
      },
    },
    sql: database,
    fga,
    gate: { open: unasked, named: unasked },
    grants: createApprovalGrants({ database, fga, clock, log: () => undefined, randomBytes }),
    clock,
    publicUrl,
    randomBytes,
    log: (event, fields) => void logged.push({ event, ...fields }),
    assertOpen() {
      if (!isOpen) throw new AppError('authorization_unavailable')
    },
  }
  approvals = await openApprovals(deps)
  const agents = createAgents({ sql: database, clock })
  for (const id of ['research-bot', 'other-bot'])
    await agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: id })
})
afterAll(async () => {
  await approvals?.[Symbol.asyncDispose]()
  await database?.close()
})
beforeEach(async () => {
  isOpen = true
  logged = []
  before = undefined
  after = undefined
  await database.query('delete from approvals')
  asker = await lent()
})

let count = 0
const next = () => {
  count += 1
  return count
}
const at = (ms: number) => new Date(clock.now() + ms)
async function lent(
  subject: FgaObject = 'user:anne',
  agent = 'research-bot',
  ms = 86_400_000,
): Promise<Requester> {
  const delegation = `d_${next()}`
  await putDelegation(database, { id: delegation, subject, agent, expiresAt: at(ms) })
  return { subject, agent, client: 'agent-app', delegation, txn: `t_${delegation}` }
}
const ask = (as = asker, seconds = 300) =>
  approvals.ask(as, askedCall({ connection: 'github', method: 'POST', path: `/issues/${next()}` }), {
    seconds,
    front: 'rest',
  })
async function decide({ id, subject }: Approval, decision: Decision) {
  const shown = await approvals.oneOfMine(subject, id)
  const decided = await approvals.decide(subject, id, decision, {
    digest: shown === undefined ? 'none' : digestOf(shown),
    session: { person: subject.slice('user:'.length), subject },
  })
  expect(decided.ok).toBe(true)
}
const askBack = (approval: Approval) => decide(approval, { answer: 'ask', question: 'Why?' })
const deny = (approval: Approval) => decide(approval, { answer: 'deny' })
const revoke = ({ delegation }: Requester) =>
  database.query(`update delegations set state = 'revoked' where id = $1`, [delegation])
const disable = (agent: string, when: Date | null) =>
  database.query('update agents set disabled_at = $2 where id = $1', [agent, when])
const change = (set: string, { id }: Approval) =>
  database.query(`update approvals set ${set}, version = version + 1 where id = $1`, [id])
const erase = ({ id }: Approval) => database.query('delete from approvals where id = $1', [id])
const stateOf = async ({ id }: Approval) =>
  (await database.query<{ state: string }>('select state from approvals where id = $1', [id]))[0]?.state
/** So many, each asked a second after the one before, and over a second before it. */
const insertMany = (much: number, state: 'denied' | 'pending' = 'denied') =>
  database.query(
    `insert into approvals (id, subject, agent, client, delegation, front, asked, digest, state, created_at, expires_at,
       decided_at, txn)
     select 'ap_' || $1::text || '_' || n, $2, $3, $4, $5, 'rest', '{"kind":"access","resource":"x","details":[]}', n::text, $6,
       $7::timestamptz + n * interval '1 second', $7::timestamptz + interval '10 minutes' - n * interval '1 second',
       case when $6 = 'denied' then $7::timestamptz end, 't'
     from generate_series(1, $8::int) as n`,
    [next(), asker.subject, asker.agent, asker.client, asker.delegation, state, at(0), much],
  )
/** Everything but its own asker. */
const strangers = async (): Promise<readonly Requester[]> => [
  { ...asker, subject: 'user:bob' },
  { ...asker, agent: 'other-bot' },
  { ...asker, client: 'other-app' },
  { ...asker, delegation: (await lent()).delegation },
]
const soon = () => AbortSignal.timeout(5_000)

describe('an approval is its asker’s', () => {
  test('and looks like none to everybody else', async () => {
    const approval = await ask()
    await ask()
    expect(await approvals.of(asker, approval.id)).toEqual(approval)
    expect(approval).toMatchObject({ ...asker, state: 'pending', front: 'rest', expiresAt: at(300_000) })
    await askBack(approval)
    for (const stranger of await strangers()) {
      expect(await approvals.of(stranger, approval.id)).toBeUndefined()
      expect(await approvals.wait(stranger, approval.id, soon())).toBeUndefined()
      await expect(approvals.answer(stranger, approval.id, 'So.')).rejects.toMatchObject({
        code: 'not_found',
      })
    }
    expect(await approvals.of(asker, 'ap_none')).toBeUndefined()
    expect(await stateOf(approval)).toBe('info_requested')
  })

  test('to answer, and is given back as it stands then', async () => {
    const approval = await ask()
    await askBack(approval)
    const answered = await approvals.answer(asker, approval.id, 'So.')
    expect(answered).toMatchObject({ id: approval.id, state: 'pending', rounds: [{ answer: 'So.' }] })
    expect(answered).toEqual(await approvals.of(asker, approval.id))
  })

  test('until it is erased, also while they answer', async () => {
    const approval = await ask()
    await askBack(approval)
    after = () => erase(approval)
    await expect(approvals.answer(asker, approval.id, 'So.')).rejects.toMatchObject({ code: 'not_found' })
  })
})

describe('who waits', () => {
  /** Until all of them have looked: what changes from there on has to be heard. */
  async function waiting(
    asked: readonly (readonly [Requester, Approval])[],
    by = approvals,
    signal = soon(),
  ) {
    reads = 0
    const answers = asked.map(([as, { id }]) => by.wait(as, id, signal))
    await expect.poll(() => reads).toBeGreaterThanOrEqual(asked.length)
    // The answer to the look comes after it was asked for: it has one connection.
    await database.query('select 1')
    return answers
  }

  test('hears of the change, and of no other approval’s', async () => {
    const [approval, other] = [await ask(), await ask()]
    const [answer] = await waiting([[asker, approval]])
    await askBack(other)
    await deny(approval)
    expect(await answer).toMatchObject({ id: approval.id, state: 'denied', version: 2 })
  })

  test('is counted by person and agent: one more is answered at once, and another’s waits', async () => {
    const approval = await ask()
    const others = await Promise.all(
      [await lent('user:anne', 'other-bot'), await lent('user:bob')].map(
        async (as) => [as, await ask(as)] as const,
      ),
    )
    const leaving = new AbortController()
    let ended = 0
    const many = Array.from({ length: waitsMax }, () => [asker, approval] as const)
    const answers = await waiting([...many, ...others], approvals, leaving.signal)
    const all = Promise.all(answers.map((answer) => answer.then(() => (ended += 1))))
    expect(await approvals.wait(asker, approval.id, soon())).toMatchObject({ state: 'pending' })
    expect(ended).toBe(0)
    leaving.abort()
    await all
  })

  test('is refused while it is not known who may act', async () => {
    const approval = await ask()
    isOpen = false
    await expect(approvals.wait(asker, approval.id, soon())).rejects.toMatchObject({
      code: 'authorization_unavailable',
    })
  })

  test.each<[string, (service: Approvals) => unknown]>([
    ['is about to stop', (service) => service.endWaits()],
    ['ends', (service) => service[Symbol.asyncDispose]()],
  ])('is answered where the service %s', async (_, end) => {
    await using service = await openApprovals(deps)
    const approval = await ask()
    const never = new AbortController().signal
    const [answer] = await waiting([[asker, approval]], service, never)
    await end(service)
    const late = new Promise((resolve) => void setTimeout(resolve, 3_000, 'late'))
    expect(await Promise.race([answer, late])).toMatchObject({ id: approval.id, state: 'pending' })
  })
})

describe('a person is shown', () => {
  const ids = (list: readonly Approval[]) => list.map(({ id }) => id)
  async function mine(subject: FgaObject = 'user:anne') {
    const { open, recent } = await approvals.mine(subject)
    return { open: ids(open), recent: ids(recent) }
  }

  test('what waits for them and what is over, each newest first, and nothing of anybody else’s', async () => {
    const soonest = await ask(await lent('user:anne', 'other-bot'), 30)
    const asked: Approval[] = []
    for (let n = 0; n < 4; n += 1) {
      clock.move(1)
      asked.push(await ask())
    }
    const [first, back, denied, last] = asked as [Approval, Approval, Approval, Approval]
    const bobs = await ask(await lent('user:bob'))
    const unseen = await ask(await lent('user:anne', 'other-bot'))
    await askBack(back)
    await deny(denied)
    await change(`state = 'denied', decided_at = created_at, blocked = true`, unseen)
    expect(await mine()).toEqual({ open: ids([last, back, first, soonest]), recent: [denied.id] })
    clock.move(30_000)
    expect(await mine()).toEqual({ open: ids([last, back, first]), recent: ids([denied, soonest]) })
    expect(await mine('user:bob')).toEqual({ open: [bobs.id], recent: [] })
  })

  test('those of one moment always in one order', async () => {
    for (let n = 0; n < 5; n += 1) await ask()
    const inOrder = await database.query<{ id: string }>('select id from approvals order by id')
    expect((await mine()).open).toEqual(inOrder.map(({ id }) => id))
  })

  test('all that waits for them, however much was asked and denied since, and the fifty newest of that', async () => {
    const open = await ask(asker, 86_400)
    await insertMany(1_000)
    const { open: waits, recent } = await mine()
    expect(waits).toEqual([open.id])
    expect(recent).toHaveLength(50)
    expect([recent[0], recent.at(-1)]).toEqual([`ap_${count}_1000`, `ap_${count}_951`])
  })

  test('of what is over that of seven days', async () => {
    const denied = await ask()
    await deny(denied)
    clock.move(7 * 86_400_000 - 1)
    expect((await mine()).recent).toEqual([denied.id])
    clock.move(1)
    expect((await mine()).recent).toEqual([])
  })

  test('how many wait for an answer of theirs, and an operator those of anybody', async () => {
    const [asked, , ending] = [await ask(), await ask(), await ask(asker, 30)]
    await ask(await lent('user:bob'))
    const over = await lent('user:anne', 'other-bot')
    const unseen = await ask(over)
    expect([await approvals.waiting('user:anne'), await approvals.waiting()]).toEqual([4, 5])
    await change('blocked = true', unseen)
    await askBack(asked)
    expect([await approvals.waiting('user:anne'), await approvals.waiting()]).toEqual([2, 3])
    clock.move(30_000)
    expect(await approvals.waiting('user:anne')).toBe(1)
    expect(await approvals.waiting('user:carol')).toBe(0)
    expect(ending.id).not.toBe(unseen.id)
  })

  test('one of theirs as their page does, and another’s or an unseen one as one that does not exist', async () => {
    const [approval, unseen] = [await ask(), await ask()]
    expect(await approvals.oneOfMine('user:anne', approval.id)).toMatchObject({
      ...{ id: approval.id, agentTitle: expect.any(String), documents: [], takesVerification: true },
    })
    expect(await approvals.oneOfMine('user:bob', approval.id)).toBeUndefined()
    expect(await approvals.oneOfMine('user:anne', 'ap_none')).toBeUndefined()
    await change('blocked = true', unseen)
    expect(await approvals.oneOfMine('user:anne', unseen.id)).toBeUndefined()
  })

  test('whom they blocked', async () => {
    const person = `user:p${next()}` as const
    await decide(await ask(await lent(person)), { answer: 'deny', block: true })
    expect(await approvals.blocks.of(person)).toMatchObject([{ agent: 'research-bot' }])
  })
})

describe('a listener', () => {
  test('is told of each change as it stands, until it listens no more; one that fails is logged', async () => {
    const heard: string[] = []
    using _thrower = approvals.onChange(() => {
      throw new Error('thrown')
    })
    using _rejecter = approvals.onChange(() => Promise.reject(new Error('rejected')))
    const listening = approvals.onChange(({ id, state }) => void heard.push(`${id} ${state}`))
    await ask(await lent('user:bob'))
    await expect.poll(() => heard.length).toBe(1)
    heard.length = 0
    logged = []
    const approval = await ask()
    await expect.poll(() => heard).toEqual([`${approval.id} pending`])
    await expect.poll(() => logged.length).toBe(2)
    const untold = (reason: string) => ({ event: 'approval_untold', reason: expect.stringContaining(reason) })
    expect(logged).toEqual(expect.arrayContaining([untold('thrown'), untold('rejected')]))
    listening[Symbol.dispose]()
    logged = []
    await deny(approval)
    await expect.poll(() => logged.length).toBe(2)
    expect(heard).toEqual([`${approval.id} pending`])
  })
})

describe('mending', () => {
  const expired = () =>
    database.query<{ approval: string }>(
      `select subject, actors, client, delegation, txn, detail ->> 'approval' as approval from decision_records
       where event = 'approval_expired' and detail ->> 'approval' = any(select id from approvals) order by record_no`,
    )
  const mended = async () => (await expired()).map(({ approval }) => approval)
  const said = (by: Requester, { id }: Approval) => ({
    ...{ subject: by.subject, actors: [`agent:${by.agent}`], client: by.client },
    ...{ delegation: by.delegation, txn: by.txn, approval: id },
  })

  test('writes down once, in the asker’s name, what is over by its time', async () => {
    const [long, late, early] = [await ask(), await ask(asker, 60), await ask(asker, 30)]
    await askBack(early)
    const decided = await ask(asker, 30)
    await deny(decided)
    clock.move(59_999)
    expect(await approvals.mend()).toBe(1)
    clock.move(1)
    expect(await approvals.mend()).toBe(1)
    expect(await approvals.mend()).toBe(0)
    expect(await expired()).toEqual([said(asker, early), said(asker, late)])
    expect([await stateOf(long), await stateOf(decided)]).toEqual(['pending', 'denied'])
    expect(await database.query('select version from approvals where id = $1', [late.id])).toEqual([
      { version: 2 },
    ])
  })

  test('does so at once where what was lent is over, or its agent is disabled', async () => {
    const [ended, short] = [await lent(), await lent('user:anne', 'research-bot', 300_000)]
    const disabled = await lent('user:anne', 'other-bot')
    const [first, second, third, standing] = [
      await ask(ended),
      await ask(short),
      await ask(disabled),
      await ask(),
    ]
    await change(`expires_at = expires_at + interval '1 hour'`, second)
    await change(`expires_at = expires_at + interval '1 hour'`, standing)
    await revoke(ended)
    await disable('other-bot', at(0))
    clock.move(300_000)
    expect(await approvals.mend()).toBe(3)
    await disable('other-bot', null)
    expect((await mended()).sort()).toEqual([first.id, second.id, third.id].sort())
    expect(await stateOf(standing)).toBe('pending')
  })

  // As many transactions as there are.
  test('goes through all of them, however many, the first to end first', { timeout: 120_000 }, async () => {
    await insertMany(201, 'pending')
    clock.move(3_600_000)
    expect(await approvals.mend()).toBe(201)
    expect(await mended()).toEqual(Array.from({ length: 201 }, (_, n) => `ap_${count}_${201 - n}`))
  })

  test.each([
    ['decides', `state = 'denied', decided_at = created_at`, 'denied'],
    ['prolongs', `expires_at = expires_at + interval '1 hour'`, 'pending'],
  ])('leaves what somebody %s meanwhile, and counts it not', async (_, set, state) => {
    const approval = await ask()
    clock.move(300_000)
    before = () => change(set, approval)
    expect(await approvals.mend()).toBe(0)
    expect(await stateOf(approval)).toBe(state)
    expect(await mended()).toEqual([])
  })

  test('forgets what has been over for ninety days, and nothing before it is written down', async () => {
    const [denied, open, overdue] = [await ask(), await ask(), await ask(asker, 30)]
    await deny(denied)
    clock.move(300_000 + 90 * 86_400_000)
    const fresh = await ask(await lent())
    await deny(fresh)
    const states = () => Promise.all([denied, open, overdue, fresh].map(stateOf))
    expect(await approvals.mend()).toBe(2)
    expect(await states()).toEqual(['denied', 'expired', 'expired', 'denied'])
    clock.move(1)
    expect(await approvals.mend()).toBe(0)
    expect(await states()).toEqual([undefined, undefined, undefined, 'denied'])
  })
})
