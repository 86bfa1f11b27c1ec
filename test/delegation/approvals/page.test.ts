import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import type { Requester } from '../../../src/delegation/approvals/approval.ts'
import type { Decision } from '../../../src/delegation/approvals/decide.ts'
import { digestOf } from '../../../src/delegation/approvals/view.ts'
import { askedCall } from '../../support/approvals.ts'
import { describeBackends } from '../../support/backends.ts'
import { type AskingWorld, notedGrants, openAskingWorld } from './world.ts'

describeBackends('what a person is shown and says yes to', (backend) => {
  const grants = notedGrants()
  let world: AskingWorld
  let asker: Requester
  beforeAll(async () => {
    world = await openAskingWorld({ backend, grants: () => grants.maker })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(async () => {
    world.clock.move(3 * 3_600_000)
    asker = await world.asker()
  })

  const shown = async (id: string) => {
    const found = await world.approvals.oneOfMine(asker.subject, id)
    if (found === undefined) throw new Error('not shown')
    return found
  }
  const approve = async (decision: Omit<Extract<Decision, { answer: 'approve' }>, 'answer'> = {}) => {
    const approval = await world.ask(asker, ['board/1', 'board/2'], { query: crypto.randomUUID() })
    const result = await world.decide(approval, { answer: 'approve', ...decision })
    return { result, grant: result.ok ? grants.prepared.at(-1) : undefined, asked: approval }
  }
  const inMs = (ms: number) => new Date(world.clock.now() + ms)

  test('names the documents that they may read, in our words, and no title of one that they may not', async () => {
    const approval = await world.ask(asker, ['board/2', 'board/4', 'board/1', 'board/none'])
    const page = await shown(approval.id)
    expect(page).toMatchObject({
      agentTitle: 'research-bot',
      lentFor: 'tests',
      purpose: 'The quarterly report',
    })
    expect(page.documents).toEqual([
      { id: 'board/1', title: 'Minutes 1', collection: 'finance', owner: 'user:bob', isSensitive: true },
      { id: 'board/2', title: 'Minutes 2', collection: 'finance', owner: 'user:bob', isSensitive: true },
    ])
    expect(JSON.stringify([page.documents, page.places])).not.toMatch(/Minutes 4|board\/4|none/)
    expect(await world.decide(approval, { answer: 'approve', documentIds: ['board/4'] })).toMatchObject({
      reason: 'not_offered',
      detail: 'documentIds',
    })
  })

  test('drops what they may no longer read, and what is no longer lent, and then is another page', async () => {
    const approval = await world.ask(asker, ['board/1', 'board/2', 'board/3'])
    const before = digestOf(await shown(approval.id))
    await world.write('user:anne blocked document:board/2')
    const page = await shown(approval.id)
    expect(page.documents.map(({ id }) => id)).toEqual(['board/1', 'board/3'])
    expect(await world.decide(approval, { answer: 'approve' }, { digest: before })).toEqual({
      ok: false,
      reason: 'changed',
    })
    await world.remove('user:anne blocked document:board/2')
    const elsewhere = await world.lend('anne', 'research-bot', 'document:board/3')
    const narrow = await world.ask({ ...asker, delegation: elsewhere }, ['board/1', 'board/3'])
    expect((await shown(narrow.id)).documents.map(({ id }) => id)).toEqual(['board/3'])
    expect(await world.decide(narrow, { answer: 'approve' })).toMatchObject({ ok: true })
    expect(grants.prepared.at(-1)?.objects).toEqual(['document:board/3'])
  })

  test('that nothing is left of cannot be said yes to, only no', async () => {
    const approval = await world.ask(asker, ['board/4'])
    expect((await shown(approval.id)).documents).toEqual([])
    expect(await world.decide(approval, { answer: 'approve' })).toMatchObject({ reason: 'not_offered' })
    expect(await world.decide(approval, { answer: 'deny' })).toMatchObject({ ok: true })
  })

  test.each([
    ['a question of theirs', () => ({ answer: 'ask', question: 'Why?' }) as const],
    ['an answer of the agent', undefined],
  ])('is another page after %s', async (_, decision) => {
    const approval = await world.ask(asker, ['board/1'])
    if (decision === undefined) await world.decide(approval, { answer: 'ask', question: 'Why?' })
    const before = digestOf(await shown(approval.id))
    if (decision === undefined) await world.approvals.answer(asker, approval.id, 'So.')
    else await world.decide(approval, decision())
    expect(await world.decide(approval, { answer: 'approve' }, { digest: before })).toMatchObject({
      reason: 'changed',
    })
    expect(grants.activated).not.toContain((await world.approvals.of(asker, approval.id))?.grant)
  })

  test('is another page after a new title, another owner, or another name of the agent', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const digests = new Set([digestOf(await shown(approval.id))])
    for (const change of [
      `update documents set title = 'Minutes 1, corrected' where id = 'board/1'`,
      `update documents set owner = 'user:carol' where id = 'board/1'`,
      `update agents set title = 'Research' where id = 'research-bot'`,
      `update delegations set purpose = 'else' where id = '${asker.delegation}'`,
    ]) {
      await world.database.query(change)
      digests.add(digestOf(await shown(approval.id)))
    }
    expect(digests.size).toBe(5)
    expect(digestOf(await shown(approval.id))).toBe(digestOf(await shown(approval.id)))
    await world.database.query(
      `update documents set title = 'Minutes 1', owner = 'user:bob' where id = 'board/1'`,
    )
    await world.database.query(`update agents set title = id where id = 'research-bot'`)
  })

  test('is by default one answer to the very question, within 15 minutes', async () => {
    const { grant, asked: approval } = await approve()
    expect(grant).toEqual({
      approval: approval.id,
      subject: 'user:anne',
      agent: 'research-bot',
      delegation: asker.delegation,
      objects: ['document:board/1', 'document:board/2'],
      queryHmac: approval.asked.kind === 'documents' ? approval.asked.queryHmac : '',
      maxUses: 1,
      until: inMs(15 * 60_000),
    })
  })

  test('is narrowed to some documents, and says so', async () => {
    const { result, grant } = await approve({ documentIds: ['board/2', 'board/2'] })
    expect(grant?.objects).toEqual(['document:board/2'])
    expect(result).toMatchObject({ ok: true, value: { answer: { documentIds: ['board/2'] } } })
  })

  test('lasts for many questions where they say so, until an end of theirs', async () => {
    const { grant } = await approve({ oneUse: false, until: inMs(60_000) })
    expect(grant).toMatchObject({ until: inMs(60_000) })
    expect(grant?.queryHmac).toBeUndefined()
    expect(grant?.maxUses).toBeUndefined()
    // Never after what was lent.
    expect((await approve({ oneUse: false, until: inMs(24 * 3_600_000) })).grant?.until).toEqual(
      (await shown((await world.ask(asker, ['board/3'])).id)).lentUntil,
    )
  })

  test('is remembered for a place that holds one of the documents and that they may know', async () => {
    const approval = await world.ask(asker, ['board/1', 'board/2'])
    expect((await shown(approval.id)).places).toEqual([
      { object: 'collection:finance', title: 'The finance', documentIds: ['board/1', 'board/2'] },
    ])
    const remember = { object: 'collection:finance' as const, until: inMs(3_000_000) }
    expect(await world.decide(approval, { answer: 'approve', remember })).toMatchObject({ ok: true })
    expect(grants.prepared.at(-1)).toMatchObject({
      objects: ['collection:finance'],
      remembered: true,
      until: remember.until,
    })
    expect(grants.prepared.at(-1)?.queryHmac).toBeUndefined()
  })

  test('is not remembered for a folder that they may not look into, nor where no document lies that they agree to', async () => {
    await world.write(
      'folder:board/open parent document:board/1',
      'folder:board/shut parent document:board/2',
      'user:anne viewer folder:board/open',
    )
    const approval = await world.ask(asker, ['board/1', 'board/2'])
    expect((await shown(approval.id)).places.map(({ object }) => object)).toEqual([
      'collection:finance',
      'folder:board/open',
    ])
    for (const [object, documentIds] of [
      ['folder:board/shut', ['board/1', 'board/2']],
      ['folder:board/open', ['board/2']],
      ['collection:handbook', ['board/1']],
      ['organization:acme', ['board/1']],
    ] as const)
      expect(
        await world.decide(approval, {
          answer: 'approve',
          documentIds,
          remember: { object, until: inMs(60_000) },
        }),
      ).toMatchObject({ reason: 'not_offered', detail: 'remember' })
    await world.remove(
      'folder:board/open parent document:board/1',
      'folder:board/shut parent document:board/2',
      'user:anne viewer folder:board/open',
    )
  })

  test.each([
    ['an end that is past', { until: -1 }],
    ['an end in two days', { until: 2 * 86_400_000 }],
    ['no time at all', { until: Number.NaN }],
    ['remembering for two months', { remember: 60 * 86_400_000 }],
    ['no document', { documentIds: [] }],
  ])(
    'cannot be %s',
    async (_, {
      until,
      remember,
      documentIds,
    }: { until?: number; remember?: number; documentIds?: string[] }) => {
      const made = grants.prepared.length
      const { result } = await approve({
        ...(until !== undefined && { until: inMs(until) }),
        ...(remember !== undefined && { remember: { object: 'collection:finance', until: inMs(remember) } }),
        ...(documentIds !== undefined && { documentIds }),
      })
      expect(result).toMatchObject({ reason: 'not_offered' })
      expect(grants.prepared).toHaveLength(made)
    },
  )

  test('binds a call to exactly what was shown, for one use, and has nothing to untick or remember', async () => {
    const call = {
      connection: 'github',
      method: 'POST',
      path: '/repos/acme/board/issues?draft=1',
      contentType: 'application/json',
      bodyDigest: 'x'.repeat(43),
    }
    const wish = { seconds: 300, front: 'rest' } as const
    const approval = await world.approvals.ask(asker, askedCall(call), wish)
    for (const more of [
      { documentIds: ['board/1'] },
      { remember: { object: 'collection:finance' as const, until: inMs(60_000) } },
    ])
      expect(await world.decide(approval, { answer: 'approve', ...more })).toMatchObject({
        reason: 'not_offered',
      })
    expect(await world.decide(approval, { answer: 'approve', oneUse: false })).toMatchObject({ ok: true })
    expect(grants.prepared.at(-1)).toMatchObject({ objects: [], vaultCall: call, maxUses: 1 })
  })

  test('shows what would be sent for as long as it is asked, and forgets it whichever way that ends', async () => {
    const wish = { seconds: 300, front: 'rest' } as const
    const text = 'Dear Bob,\nyou are fired.'
    const call = (path: string) =>
      askedCall({ connection: 'c_1', method: 'POST', path, contentType: 'text/plain' }, text)
    const ask = async (path: string) => world.approvals.ask(asker, call(path), wish)
    const approved = await ask('/1')
    const page = await shown(approved.id)
    expect(page.asked).toMatchObject({ body: text })
    // A page that showed another text is not what is decided on.
    const other = { ...page, asked: { ...call('/1'), body: 'Dear Bob,\nwelcome.' } }
    expect(digestOf(other)).not.toBe(digestOf(page))
    await world.decide(approved, { answer: 'approve' })
    const denied = await ask('/2')
    await world.decide(denied, { answer: 'deny' })
    const expired = await ask('/3')
    world.clock.move(301_000)
    await world.approvals.mend()
    const blocking = await ask('/4')
    const beside = await ask('/5')
    await world.decide(blocking, { answer: 'deny', block: true })
    const unseen = await ask('/6')
    const ids = [approved, denied, expired, blocking, beside, unseen].map(({ id }) => id)
    const rows = await world.database.query<{ state: string; row: string }>(
      'select state, to_jsonb(a)::text as row from approvals as a where id = any($1)',
      [ids],
    )
    expect(rows.map(({ state }) => state).sort()).toEqual([
      'approved',
      'denied',
      'denied',
      'denied',
      'denied',
      'expired',
    ])
    for (const { row } of rows) expect(row).not.toContain('fired')
    await world.approvals.blocks.lift(asker.subject, asker.agent, operator('t_tests'))
  })
})
