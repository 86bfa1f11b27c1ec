import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Requester } from '../../../src/delegation/approvals/approval.ts'
import { digestOf } from '../../../src/delegation/approvals/view.ts'
import { askedCall } from '../../support/approvals.ts'
import { describeBackends } from '../../support/backends.ts'
import { type AskingWorld, documents, notedGrants, openAskingWorld } from './world.ts'

describeBackends('an approval', (backend) => {
  const grants = notedGrants()
  let world: AskingWorld
  let asker: Requester
  beforeAll(async () => {
    world = await openAskingWorld({ backend, grants: () => grants.maker })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(async () => {
    // Far enough for every limit to be forgotten.
    world.clock.move(3 * 3_600_000)
    asker = await world.asker()
  })

  test('is asked, asked back, answered and approved, each step on record once', async () => {
    const approval = await world.ask(asker, ['board/1', 'board/2'])
    expect(approval).toMatchObject({ state: 'pending', agent: 'research-bot', rounds: [] })
    expect(await world.decide(approval, { answer: 'ask', question: 'What for?' })).toMatchObject({
      ok: true,
      value: { state: 'info_requested', rounds: [{ question: 'What for?' }] },
    })
    expect(await world.approvals.answer(asker, approval.id, 'For the report.')).toMatchObject({
      state: 'pending',
      rounds: [{ question: 'What for?', answer: 'For the report.' }],
    })
    const decided = await world.decide(approval, { answer: 'approve' })
    expect(decided).toMatchObject({ ok: true, value: { state: 'approved', grant: expect.any(String) } })
    expect(grants.activated).toContain(decided.ok && decided.value.grant)
    expect(await world.recorded(approval.id)).toEqual([
      'approval_asked',
      'approval_info_requested',
      'approval_answered',
      'approval_decided',
    ])
    const [kept] = await world.database.query<{ all: string }>(
      `select string_agg(detail::text, ' ') as all from decision_records where detail ->> 'approval' = $1`,
      [approval.id],
    )
    expect(kept?.all).toContain('board/1')
    expect(kept?.all).not.toMatch(/What for|For the report|quarterly|Minutes/)
  })

  test('keeps the person’s reason for a no, and is over for good', async () => {
    const approval = await world.ask(asker, ['board/1'])
    await world.decide(approval, { answer: 'deny', reason: 'Not this one.' })
    expect(await world.approvals.of(asker, approval.id)).toMatchObject({
      state: 'denied',
      reason: 'Not this one.',
    })
    for (const answer of ['approve', 'deny'] as const)
      expect(await world.decide(approval, { answer })).toEqual({ ok: false, reason: 'over' })
    await expect(world.approvals.answer(asker, approval.id, 'But…')).rejects.toMatchObject({
      code: 'conflict',
    })
  })

  test('ends by the clock alone, whatever the row says, and is put on record later', async () => {
    const approval = await world.ask(asker, ['board/1'], { seconds: 60 })
    const shown = await world.approvals.oneOfMine(asker.subject, approval.id)
    world.clock.move(60_000)
    expect(await world.approvals.of(asker, approval.id)).toMatchObject({ state: 'expired' })
    expect(
      await world.decide(
        approval,
        { answer: 'deny' },
        { digest: shown === undefined ? '' : digestOf(shown) },
      ),
    ).toEqual({ ok: false, reason: 'over' })
    expect(await world.recorded(approval.id)).toEqual(['approval_asked'])
    expect(await world.approvals.mend()).toBeGreaterThan(0)
    expect(await world.recorded(approval.id)).toEqual(['approval_asked', 'approval_expired'])
    expect(await world.approvals.mend()).toBe(0)
  })

  test('is over once what was lent is', async () => {
    const approval = await world.ask(asker, ['board/1'])
    await world.service.delegations.revoke(asker.delegation)
    expect(await world.decide(approval, { answer: 'approve' })).toEqual({ ok: false, reason: 'over' })
    expect(await world.approvals.mine(asker.subject)).toMatchObject({ open: [] })
  })

  test('is over once its agent is disabled', async () => {
    const other = await world.asker('anne', 'other-bot')
    const approval = await world.ask(other, ['board/1'])
    await world.service.agents.disable('other-bot')
    expect(await world.decide(approval, { answer: 'approve' })).toEqual({ ok: false, reason: 'over' })
    await expect(world.ask(other, ['board/2'])).rejects.toMatchObject({ code: 'actor_unauthorized' })
    await world.service.agents.enable('other-bot')
  })

  test('never lasts longer than what was lent', async () => {
    const approval = await world.ask(asker, ['board/1'], { seconds: 86_400 })
    expect(approval.expiresAt.getTime()).toBeLessThanOrEqual(world.clock.now() + 3_600_000)
  })

  test('is one of two decisions at once, never both', async () => {
    for (let round = 0; round < 5; round += 1) {
      world.clock.move(3_600_000)
      asker = await world.asker()
      const approval = await world.ask(asker, ['board/1'])
      const shown = await world.approvals.oneOfMine(asker.subject, approval.id)
      if (shown === undefined) throw new Error('not shown')
      const over = { digest: digestOf(shown) }
      const results = await Promise.all([
        world.decide(approval, { answer: 'approve' }, over),
        world.decide(approval, { answer: 'deny' }, over),
        world.decide(approval, { answer: 'approve' }, over),
      ])
      expect(results.filter(({ ok }) => ok)).toHaveLength(1)
      const after = await world.approvals.of(asker, approval.id)
      expect([after]).toEqual(results.flatMap((one) => (one.ok ? [one.value] : [])))
      expect(await world.recorded(approval.id)).toEqual(['approval_asked', 'approval_decided'])
    }
  })

  test('takes one of several questions at once', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const shown = await world.approvals.oneOfMine(asker.subject, approval.id)
    const over = { digest: shown === undefined ? '' : digestOf(shown) }
    const results = await Promise.all([
      ...['Why?', 'What for?', 'Which?'].map((question) =>
        world.decide(approval, { answer: 'ask', question }, over),
      ),
      world.approvals.answer(asker, approval.id, 'So.').catch(() => undefined),
    ])
    expect(results.filter((one) => one !== undefined && 'ok' in one && one.ok)).toHaveLength(1)
    const after = await world.approvals.of(asker, approval.id)
    expect(after?.rounds).toHaveLength(1)
    expect(await world.recorded(approval.id)).toEqual(
      ['approval_asked', 'approval_info_requested', 'approval_answered'].slice(
        0,
        after?.state === 'pending' ? 3 : 2,
      ),
    )
  })

  test('takes five questions, no more, and one at a time', async () => {
    const approval = await world.ask(asker, ['board/1'], { seconds: 3_000 })
    for (let round = 1; round <= 5; round += 1) {
      expect(await world.decide(approval, { answer: 'ask', question: `${round}?` })).toMatchObject({
        ok: true,
      })
      expect(await world.decide(approval, { answer: 'ask', question: 'And?' })).toEqual({
        ok: false,
        reason: 'question_open',
      })
      await world.approvals.answer(asker, approval.id, `${round}.`)
    }
    expect(await world.decide(approval, { answer: 'ask', question: '6?' })).toEqual({
      ok: false,
      reason: 'too_many_rounds',
    })
    expect((await world.approvals.of(asker, approval.id))?.rounds).toHaveLength(5)
  })

  test('is longer by the first answer, and by no other', async () => {
    const approval = await world.ask(asker, ['board/1'], { seconds: 100 })
    const end = approval.expiresAt.getTime()
    world.clock.move(50_000)
    await world.decide(approval, { answer: 'ask', question: 'Why?' })
    const once = await world.approvals.answer(asker, approval.id, 'So.')
    expect(once.expiresAt.getTime()).toBe(end + 50_000)
    await world.decide(approval, { answer: 'ask', question: 'Why then?' })
    world.clock.move(10_000)
    expect((await world.approvals.answer(asker, approval.id, 'So.')).expiresAt).toEqual(once.expiresAt)
  })

  test('takes one answer to a question of two at once', async () => {
    const approval = await world.ask(asker, ['board/1'])
    await world.decide(approval, { answer: 'ask', question: 'Why?' })
    const results = await Promise.allSettled(
      ['one', 'two', 'three'].map((text) => world.approvals.answer(asker, approval.id, text)),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  test.each([
    ['control characters', 'a\u0007b'],
    ['a direction turned around', 'a\u202Eb'],
    ['invisible characters', 'a\u200Bb'],
    ['a second line', 'a\nb'],
    ['spaces alone', '   '],
    ['more than there is room for', 'a'.repeat(1_001)],
  ])('takes no words with %s', async (_, text) => {
    const approval = await world.ask(asker, ['board/1'])
    await expect(world.ask(asker, ['board/2'], { purpose: text })).rejects.toMatchObject({
      code: 'invalid_request',
      field: 'purpose',
    })
    expect(await world.decide(approval, { answer: 'ask', question: text })).toMatchObject({
      reason: 'not_plain',
    })
    expect(await world.decide(approval, { answer: 'deny', reason: text })).toMatchObject({
      reason: 'not_plain',
    })
    await world.decide(approval, { answer: 'ask', question: 'Why?' })
    await expect(world.approvals.answer(asker, approval.id, text)).rejects.toMatchObject({ field: 'text' })
  })

  test('is there for its own asker and its own person alone', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const others = [
      { ...asker, client: 'other-app' },
      { ...asker, agent: 'other-bot' },
      { ...asker, subject: 'user:bob' as const },
      { ...asker, delegation: (await world.asker()).delegation },
    ]
    for (const other of others) {
      expect(await world.approvals.of(other, approval.id)).toBeUndefined()
      await expect(world.approvals.answer(other, approval.id, 'x')).rejects.toMatchObject({
        code: 'not_found',
      })
    }
    expect(await world.approvals.oneOfMine('user:bob', approval.id)).toBeUndefined()
    expect(await world.approvals.mine('user:bob')).toEqual({ open: [], recent: [] })
    const session = { person: 'bob', subject: 'user:bob', verifiedAt: new Date(world.clock.now()) } as const
    expect(await world.decide(approval, { answer: 'deny' }, { session })).toEqual({
      ok: false,
      reason: 'not_found',
    })
    expect((await world.approvals.mine(asker.subject)).open.map(({ id }) => id)).toEqual([approval.id])
  })

  test('cannot be asked under what is over, or was lent to another agent', async () => {
    await world.service.delegations.revoke(asker.delegation)
    await expect(world.ask(asker, ['board/1'])).rejects.toMatchObject({ code: 'actor_unauthorized' })
    const other = { ...(await world.asker()), agent: 'other-bot' }
    await expect(world.ask(other, ['board/1'])).rejects.toMatchObject({ code: 'actor_unauthorized' })
    expect(
      await world.database.query('select 1 from approvals where delegation = $1', [other.delegation]),
    ).toEqual([])
  })

  test('needs a verified person for documents and calls, and not for a no or a question', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const old = {
      session: {
        person: 'anne',
        subject: asker.subject,
        verifiedAt: new Date(world.clock.now() - 5 * 60_000 - 1),
      },
    }
    const none = { session: { person: 'anne', subject: asker.subject } }
    for (const over of [old, none]) {
      expect(await world.decide(approval, { answer: 'approve' }, over)).toEqual({
        ok: false,
        reason: 'needs_verification',
      })
      expect(await world.decide(approval, { answer: 'ask', question: 'Why?' }, over)).toMatchObject({
        ok: true,
      })
      await world.approvals.answer(asker, approval.id, 'So.')
    }
    expect(await world.decide(approval, { answer: 'deny' }, none)).toMatchObject({ ok: true })
    const call = await world.approvals.ask(
      asker,
      askedCall({ connection: 'github', method: 'POST', path: '/issues' }),
      { seconds: 300, front: 'rest' },
    )
    expect(await world.decide(call, { answer: 'approve' }, none)).toMatchObject({
      reason: 'needs_verification',
    })
    const access = await world.approvals.ask(
      asker,
      {
        kind: 'access',
        resource: 'https://broker.test',
        scopes: ['trade'],
        details: [{ type: 'trade_order' }],
      },
      { seconds: 300, front: 'ciba' },
    )
    // Another's API, which no row says otherwise of.
    expect(await world.decide(access, { answer: 'approve' }, none)).toMatchObject({
      reason: 'needs_verification',
    })
    const ours = await world.approvals.ask(
      asker,
      { kind: 'access', resource: world.config.publicUrl, scopes: ['docs.search'], details: [] },
      { seconds: 300, front: 'ciba' },
    )
    expect(await world.decide(ours, { answer: 'approve' }, none)).toMatchObject({
      ok: true,
      value: { state: 'approved' },
    })
    expect((await world.approvals.of(asker, ours.id))?.grant).toBeUndefined()
  })

  test('that was lent anew meanwhile is asked under its own delegation only', async () => {
    const other = await world.asker()
    const [one, two] = await Promise.all([
      world.ask(asker, ['board/1']),
      world.approvals.ask(other, documents(['board/1']), { seconds: 300, front: 'rest' }),
    ])
    expect(one.id).not.toBe(two.id)
  })
})
