import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createFga, createFgaApi } from '../../../src/authz/openfga.ts'
import type { Requester } from '../../../src/delegation/approvals/approval.ts'
import {
  type DecideDeps,
  type DecideOptions,
  type Decision,
  decideApproval,
  textMax,
} from '../../../src/delegation/approvals/decide.ts'
import { type ApprovalGrants, createApprovalGrants } from '../../../src/delegation/approvals/grants.ts'
import { answerQuestion, requestApproval } from '../../../src/delegation/approvals/request-approval.ts'
import type { RequestedAccess } from '../../../src/delegation/approvals/requested-access.ts'
import { readApprovals } from '../../../src/delegation/approvals/rows.ts'
import { digestOf, showApproval } from '../../../src/delegation/approvals/view.ts'
import { createAgents } from '../../../src/delegation/registry/agents.ts'
import { askedCall } from '../../support/approvals.ts'
import {
  type MovableClock,
  movableClock,
  openMigrated,
  ownIssuerUrl,
  publicUrl,
  putDelegation,
} from '../world.ts'

// A decision step by step, on calls and tokens: neither asks the gate or OpenFGA. With documents and the
// whole service: states.test.ts, page.test.ts, limits.test.ts, crash.test.ts.

let database: Awaited<ReturnType<typeof openMigrated>>
let clock: MovableClock
let grants: ApprovalGrants
let deps: DecideDeps
let asker: Requester
/** What somebody else does once the decision is made and before it is written down. */
let meanwhile: (() => Promise<unknown>) | undefined

beforeAll(async () => {
  database = await openMigrated()
  clock = movableClock()
  // Nobody would answer.
  const fga = createFga(createFgaApi({ apiUrl: 'http://127.0.0.1:9', timeoutMs: 1 }), 'none', () => 'none')
  const unasked = () => {
    throw new Error('Neither a call nor a token asks for documents.')
  }
  grants = createApprovalGrants({ database, fga, clock, log: () => undefined, randomBytes })
  deps = {
    database: {
      ...database,
      async transaction(work) {
        const interrupt = meanwhile
        meanwhile = undefined
        await interrupt?.()
        return database.transaction(work)
      },
    },
    sql: database,
    fga,
    gate: { open: unasked, named: unasked },
    grants,
    clock,
    publicUrl,
  }
  const agents = createAgents({ sql: database, clock })
  for (const id of ['research-bot', 'other-bot'])
    await agents.save({ id, owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: id })
})
afterAll(() => database?.close())
beforeEach(async () => {
  meanwhile = undefined
  // Far enough for every limit to be forgotten.
  clock.move(3 * 3_600_000)
  asker = await lent()
})

let count = 0
const next = () => {
  count += 1
  return count
}
async function lent(subject: `user:${string}` = 'user:anne', agent = 'research-bot'): Promise<Requester> {
  const delegation = `d_${next()}`
  await putDelegation(database, { id: delegation, subject, agent, expiresAt: at(3_600_000) })
  return { subject, agent, client: 'agent-app', delegation, txn: `t_${delegation}` }
}
const at = (ms: number) => new Date(clock.now() + ms)
const call = () => askedCall({ connection: 'github', method: 'POST', path: `/issues/${next()}` })
const token = (): RequestedAccess => ({
  kind: 'access',
  resource: `${publicUrl}/${next()}`,
  scopes: ['docs.search'],
  details: [],
})
const ask = (access: RequestedAccess = call(), as = asker, seconds = 300) =>
  requestApproval({ database, clock, randomBytes }, as, access, { seconds, front: 'ciba' })
async function read(id: string) {
  const [approval] = await readApprovals(database, 'a.id = $2', new Date(clock.now()), [id])
  if (approval === undefined) throw new Error('It is not there.')
  return approval
}
const answer = async (id: string) => answerQuestion({ database, clock }, asker, await read(id), 'So.')
const seen = async (id: string) => digestOf(await showApproval(deps, await read(id)))
const anne = () => ({ person: 'anne', subject: 'user:anne', verifiedAt: at(0) }) as const
const decide = async (
  id: string,
  decision: Decision,
  { digest, session = anne(), by = deps }: Partial<DecideOptions> & { readonly by?: DecideDeps } = {},
) =>
  decideApproval(by, { subject: asker.subject, id }, decision, {
    digest: digest ?? (await seen(id)),
    session,
  })
const recorded = (id: string) =>
  database.query(
    `select event, subject, actors, client, delegation, txn, detail from decision_records
     where detail ->> 'approval' = $1 and event <> 'approval_asked' order by record_no`,
    [id],
  )
/** As the person's own, on their pages, in the thread of the question. */
const said = (event: string, detail: object) => ({
  event,
  subject: 'user:anne',
  actors: [],
  client: 'remit-pages',
  delegation: asker.delegation,
  txn: asker.txn,
  detail,
})
/** What a decision writes. */
async function written(id: string) {
  const { state, rounds, decidedAt, decidedIn, reason, answer: agreed, grant } = await read(id)
  return { state, rounds, decidedAt, decidedIn, reason, answer: agreed, grant }
}
const blocked = () =>
  database.query<{ agent: string }>(
    'select agent from approval_askers where subject = $1 and blocked_at is not null',
    [asker.subject],
  )

describe('what a person says', () => {
  test('back to the agent decides nothing, and is on record with its place among their questions', async () => {
    const { id } = await ask()
    const session = { ...anne(), signedInAt: at(-60_000), amr: ['pwd'] }
    const first = { question: 'Why?', askedAt: at(0) }
    expect(await decide(id, { answer: 'ask', question: 'Why?' }, { session })).toMatchObject({ ok: true })
    expect(await written(id)).toEqual({ state: 'info_requested', rounds: [first] })
    expect(await recorded(id)).toEqual([said('approval_info_requested', { approval: id, round: 1 })])
    clock.move(1_000)
    await answer(id)
    await decide(id, { answer: 'ask', question: 'And then?' })
    expect((await read(id)).rounds).toMatchObject([
      { ...first, answer: 'So.' },
      { question: 'And then?', askedAt: at(0) },
    ])
    expect((await recorded(id)).at(-1)).toEqual(said('approval_info_requested', { approval: id, round: 2 }))
  })

  test('back is said five times at most, and once at a time', async () => {
    const { id } = await ask()
    for (let round = 1; round <= 5; round += 1) {
      expect((await decide(id, { answer: 'ask', question: `${round}?` })).ok).toBe(true)
      expect(await decide(id, { answer: 'ask', question: 'And?' })).toEqual({
        ok: false,
        reason: 'question_open',
      })
      await answer(id)
    }
    const sixth = await decide(id, { answer: 'ask', question: '6?' })
    expect(sixth).toEqual({ ok: false, reason: 'too_many_rounds' })
    expect((await decide(id, { answer: 'deny' })).ok).toBe(true)
  })

  test('with a no is kept for the agent, and blocks nobody', async () => {
    const [bare, explained] = [await ask(), await ask()]
    expect(await decide(bare.id, { answer: 'deny' })).toEqual({ ok: true, value: await read(bare.id) })
    const denied = { state: 'denied', decidedAt: at(0), rounds: [] }
    expect(await written(bare.id)).toEqual(denied)
    const session = { ...anne(), signedInAt: at(-60_000), amr: ['pwd'] }
    await decide(explained.id, { answer: 'deny', reason: 'Not this one.', block: false }, { session })
    expect(await written(explained.id)).toEqual({ ...denied, reason: 'Not this one.' })
    for (const { id } of [bare, explained])
      expect(await recorded(id)).toEqual([said('approval_decided', { approval: id, decision: 'denied' })])
    expect(await blocked()).toEqual([])
  })

  test.each<[string, (text: string) => Decision]>([
    ['question', (question) => ({ answer: 'ask', question })],
    ['reason', (reason) => ({ answer: 'deny', reason })],
  ])('is plain and not too long: %s', async (field, decision) => {
    const { id } = await ask()
    for (const text of ['a\u202Eb', '', 'a'.repeat(textMax + 1)])
      expect(await decide(id, decision(text))).toEqual({ ok: false, reason: 'not_plain', detail: field })
    expect((await read(id)).state).toBe('pending')
    expect(await recorded(id)).toEqual([])
    expect((await decide(id, decision('a'.repeat(textMax)))).ok).toBe(true)
  })
})

describe('a yes', () => {
  test('to a call is a grant that counts from then on, on record with it, and keeps the sign-in', async () => {
    const access = call()
    const { id } = await ask(access)
    const signedIn = { signedInAt: at(-60_000), amr: ['pwd', 'hwk'] }
    const upstream = { issuer: 'https://idp.example', sub: 'a1' }
    const session = { ...anne(), ...signedIn, upstream }
    const decided = await decide(id, { answer: 'approve' }, { session })
    expect(decided).toEqual({ ok: true, value: await read(id) })
    const { grant = 'none', ...agreed } = await written(id)
    expect(agreed).toEqual({
      state: 'approved',
      rounds: [],
      decidedAt: at(0),
      decidedIn: { ...signedIn, upstream },
      answer: access,
    })
    expect(await grants.get(grant)).toMatchObject({ approval: id, state: 'live', vaultCall: access.call })
    const records = await recorded(id)
    expect(records).toMatchObject([{ ...said('grant_made', { grant }), detail: { grant } }, {}])
    expect(records[1]).toEqual(said('approval_decided', { approval: id, decision: 'approved', grant }))
  })

  test('to a token of ours takes no verification and makes no grant', async () => {
    const { id } = await ask(token())
    const session = { person: 'anne', subject: 'user:anne' } as const
    expect((await decide(id, { answer: 'approve' }, { session })).ok).toBe(true)
    expect((await written(id)).grant).toBeUndefined()
    expect(await recorded(id)).toEqual([said('approval_decided', { approval: id, decision: 'approved' })])
  })

  test('that is more than was asked is none', async () => {
    const { id } = await ask()
    expect(await decide(id, { answer: 'approve', documentIds: ['a'] })).toEqual({
      ok: false,
      reason: 'not_offered',
      detail: 'documentIds',
    })
    expect((await read(id)).state).toBe('pending')
  })

  test.each<[string, number | undefined, boolean]>([
    ['five minutes ago', -300_000, true],
    ['a moment before that', -300_001, false],
    ['five minutes ahead, by another clock', 300_000, true],
    ['further ahead: the clock was set back', 300_001, false],
    ['never', undefined, false],
  ])(
    'to a call takes the person in front of their device, and they were last there %s',
    async (_, ms, ok) => {
      const { id } = await ask()
      const session = { ...anne(), verifiedAt: ms === undefined ? undefined : at(ms) }
      const decided = await decide(id, { answer: 'approve' }, { session })
      expect(decided).toMatchObject(ok ? { ok } : { ok, reason: 'needs_verification' })
      expect((await read(id)).state).toBe(ok ? 'approved' : 'pending')
    },
  )
})

describe('a block', () => {
  test('denies what else this agent asks of this person, each on record, and nothing of anybody else', async () => {
    const [agreed, late] = [await ask(), await ask(call(), asker, 30)]
    await decide(agreed.id, { answer: 'approve' })
    clock.move(30_000)
    const [first, second, third] = [await ask(), await ask(), await ask(token())]
    await decide(second.id, { answer: 'ask', question: 'Why?' })
    const others = [
      await ask(call(), await lent('user:anne', 'other-bot')),
      await ask(call(), await lent('user:bob')),
    ]
    expect((await decide(first.id, { answer: 'deny', block: true })).ok).toBe(true)
    for (const { id } of [first, second, third]) {
      expect(await read(id)).toMatchObject({ state: 'denied', decidedAt: at(0) })
      expect((await recorded(id)).at(-1)).toEqual(
        said('approval_decided', { approval: id, decision: 'denied' }),
      )
    }
    for (const { id } of others) expect((await read(id)).state).toBe('pending')
    // What was over before stays what it was.
    expect([(await read(agreed.id)).state, (await read(late.id)).state]).toEqual(['approved', 'expired'])
    expect([(await recorded(agreed.id)).length, await recorded(late.id)]).toEqual([2, []])
    expect(await blocked()).toEqual([{ agent: 'research-bot' }])
    const [block] = await database.query(
      `select subject, client, delegation, txn, detail from decision_records where event = 'agent_blocked'`,
      [],
    )
    const { event: _, actors: __, ...blocking } = said('', { agent: 'research-bot' })
    expect(block).toEqual(blocking)
    const unseen = await ask()
    expect(await decide(unseen.id, { answer: 'approve' })).toEqual({ ok: false, reason: 'not_found' })
    await database.query('update approval_askers set blocked_at = null', [])
  })
})

describe('nothing is decided', () => {
  test('in somebody else’s session, about what is another’s, or by another page', async () => {
    const { id } = await ask()
    const deny = { answer: 'deny' } as const
    const bob = { person: 'bob', subject: 'user:bob' } as const
    expect(await decide(id, deny, { session: bob })).toEqual({ ok: false, reason: 'not_found' })
    const options = { digest: await seen(id), session: bob }
    for (const key of [
      { subject: bob.subject, id },
      { subject: bob.subject, id: 'ap_none' },
    ])
      expect(await decideApproval(deps, key, deny, options)).toEqual({ ok: false, reason: 'not_found' })
    expect(await decide(id, deny, { digest: 'other' })).toEqual({ ok: false, reason: 'changed' })
    expect((await read(id)).state).toBe('pending')
    const digest = await seen(id)
    await decide(id, deny)
    // Also with what is shown now: no page shows it to be answered.
    for (const again of [digest, await seen(id)])
      expect(await decide(id, deny, { digest: again })).toEqual({ ok: false, reason: 'over' })
  })

  const isOver = { ok: false, reason: 'over' }
  const isChanged = { ok: false, reason: 'changed' }
  test.each<[string, (id: string) => Promise<unknown>, object]>([
    ['said no', (id) => decide(id, { answer: 'deny' }), isOver],
    ['asked back', (id) => decide(id, { answer: 'ask', question: 'Why?' }), isChanged],
    ['let its time go by', async () => clock.move(300_000), isOver],
    [
      'ended what was lent',
      () => database.query(`update delegations set state = 'revoked' where id = $1`, [asker.delegation]),
      isOver,
    ],
    [
      'erased it',
      (id) => database.query('delete from approvals where id = $1', [id]),
      { ok: false, reason: 'not_found' },
    ],
  ])('where somebody %s meanwhile: no yes counts, and no block', async (what, change, refusal) => {
    // Of what was lent a no is independent.
    const isNo = what !== 'ended what was lent'
    for (const decision of [
      { answer: 'approve' } as const,
      ...(isNo ? [{ answer: 'deny', block: true } as const] : []),
    ]) {
      const { id } = await ask()
      const digest = await seen(id)
      let prepared: string | undefined
      const by: DecideDeps = {
        ...deps,
        grants: {
          ...grants,
          async prepare(draft) {
            const grant = await grants.prepare(draft)
            prepared = grant.id
            return grant
          },
        },
      }
      meanwhile = () => change(id)
      expect(await decide(id, decision, { digest, by })).toEqual(refusal)
      const events = (await recorded(id)).map(({ event, detail }) => [event, detail])
      expect(JSON.stringify(events)).not.toMatch(/grant_made|approved/)
      expect(await blocked()).toEqual([])
      if (decision.answer === 'approve')
        expect(await grants.get(prepared ?? 'none')).toMatchObject({ state: 'preparing' })
    }
  })

  test('where its grant does not count: the question stays open', async () => {
    const { id } = await ask()
    const by: DecideDeps = { ...deps, grants: { ...grants, activateWithin: async () => false } }
    expect(await decide(id, { answer: 'approve' }, { by })).toEqual({ ok: false, reason: 'changed' })
    expect(await read(id)).toMatchObject({ state: 'pending' })
    expect(await recorded(id)).toEqual([])
  })

  test('where the database fails, and whoever decides hears of it', async () => {
    const { id } = await ask()
    meanwhile = () => Promise.reject(new Error('down'))
    await expect(decide(id, { answer: 'approve' })).rejects.toThrow('down')
    expect(await read(id)).toMatchObject({ state: 'pending' })
  })
})
