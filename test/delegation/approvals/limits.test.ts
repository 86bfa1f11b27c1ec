import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { operator } from '../../../src/audit/record.ts'
import type { Requester } from '../../../src/delegation/approvals/approval.ts'
import { askedCall } from '../../support/approvals.ts'
import { describeDatabases } from '../../support/backends.ts'
import { type AskingWorld, notedGrants, openAskingWorld } from './world.ts'

const limited = { code: 'rate_limited', status: 429 }

describeDatabases('against fatigue', (database) => {
  const { maker } = notedGrants()
  let world: AskingWorld
  let asker: Requester
  beforeAll(async () => {
    world = await openAskingWorld({ backend: { database, openfga: 'engine' }, grants: () => maker })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(async () => {
    world.clock.move(3 * 3_600_000)
    asker = await world.asker()
  })

  const tellAgain = (error: unknown) =>
    error instanceof Error && 'headers' in error
      ? Number((error.headers as Record<string, string>)['retry-after'])
      : Number.NaN
  const refused = (asking: Promise<unknown>) =>
    asking.then(
      () => undefined,
      (error: unknown) => error,
    )

  test('an equal question that is open is the same one, whatever its words and offer, and once however many ask', async () => {
    const [first, ...others] = await Promise.all(
      ['Why', 'Because', 'Please'].map((purpose) => world.ask(asker, ['board/2', 'board/1'], { purpose })),
    )
    const again = await world.ask(asker, ['board/1', 'board/2'])
    for (const one of [...others, again]) expect(one.id).toBe(first?.id)
    expect(await world.recorded(first?.id ?? '')).toEqual(['approval_asked'])
    const different = [
      await world.ask(asker, ['board/1']),
      await world.ask(asker, ['board/1', 'board/2'], { query: 'salaries' }),
      await world.ask(asker, ['board/1', 'board/2'], { front: 'ciba' }),
      await world.ask({ ...asker, client: 'other-app' }, ['board/1', 'board/2']),
    ]
    expect(new Set([first, ...different].map((one) => one?.id)).size).toBe(5)
  })

  test('is joined while a question of the person is open, and asked anew once it is over', async () => {
    const asked = await world.ask(asker, ['board/1'])
    await world.decide(asked, { answer: 'ask', question: 'Why?' })
    expect((await world.ask(asker, ['board/1'])).id).toBe(asked.id)
    world.clock.move(300_000)
    expect((await world.ask(asker, ['board/1'])).id).not.toBe(asked.id)
  })

  test('five are open at a time, also of those that come at once, and there is room when one is over', async () => {
    const asking = await Promise.allSettled(
      Array.from({ length: 9 }, (_, index) => world.ask(asker, ['board/1'], { query: `${index}` })),
    )
    const asked = asking.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    expect(asked).toHaveLength(5)
    for (const one of asking) if (one.status === 'rejected') expect(one.reason).toMatchObject(limited)
    const error = await refused(world.ask(asker, ['board/2']))
    expect(error).toMatchObject(limited)
    expect(tellAgain(error)).toBe(300)
    // Another agent's are counted by themselves, and so are another person's.
    await world.ask(await world.asker('anne', 'other-bot'), ['board/2'])
    await world.ask(await world.asker('bob'), ['board/2'])
    // Under another delegation it is still the same agent.
    expect(await refused(world.ask(await world.asker(), ['board/2']))).toMatchObject(limited)
    const [one] = asked
    if (one !== undefined) await world.decide(one, { answer: 'approve' })
    expect((await world.ask(asker, ['board/2'])).state).toBe('pending')
  })

  test('twenty an hour, whatever became of them', async () => {
    for (let index = 0; index < 20; index += 1) {
      const asked = await world.ask(asker, ['board/1'], { query: `${index}` })
      await world.decide(asked, { answer: 'approve' })
      world.clock.move(60_000)
    }
    const error = await refused(world.ask(asker, ['board/2']))
    expect(error).toMatchObject(limited)
    expect(tellAgain(error)).toBe(40 * 60)
    world.clock.move(40 * 60_000)
    asker = await world.asker()
    expect((await world.ask(asker, ['board/2'])).state).toBe('pending')
  })

  test('a no holds for ten minutes, for the same, for less of it, and in other words', async () => {
    const asked = await world.ask(asker, ['board/1', 'board/2'])
    await world.decide(asked, { answer: 'deny' })
    const anew = await world.asker()
    for (const again of [
      () => world.ask(asker, ['board/1', 'board/2']),
      () => world.ask(asker, ['board/2']),
      () => world.ask(asker, ['board/1', 'board/2'], { query: 'budget, please' }),
      () => world.ask(asker, ['board/1', 'board/2'], { front: 'ciba' }),
      () => world.ask(anew, ['board/1']),
    ]) {
      const unseen = await again()
      expect(unseen.state).toBe('denied')
      expect(unseen.id).not.toBe(asked.id)
      expect(await world.approvals.oneOfMine(asker.subject, unseen.id)).toBeUndefined()
      world.clock.move(60_000)
    }
    expect((await world.ask(asker, ['board/3'])).state).toBe('pending')
    expect((await world.ask(await world.asker('anne', 'other-bot'), ['board/1'])).state).toBe('pending')
    // Asking again makes it no longer.
    world.clock.move(300_000)
    expect((await world.ask(asker, ['board/1', 'board/2'])).state).toBe('pending')
  })

  test('what is denied unseen counts for the limits like anything else', async () => {
    await world.decide(await world.ask(asker, ['board/1']), { answer: 'deny' })
    for (let count = 1; count < 20; count += 1)
      expect((await world.ask(asker, ['board/1'], { query: `${count}` })).state).toBe('denied')
    expect(await refused(world.ask(asker, ['board/1']))).toMatchObject(limited)
    expect(await refused(world.ask(asker, ['board/3']))).toMatchObject(limited)
  })

  test('a no to one call or one order says nothing of another', async () => {
    const call = (path: string, body?: string) =>
      askedCall({ connection: 'github', method: 'POST', path }, body)
    const wish = { seconds: 300, front: 'rest' } as const
    const asked = await world.approvals.ask(asker, call('/issues'), wish)
    await world.decide(asked, { answer: 'deny' })
    expect((await world.approvals.ask(asker, call('/issues'), wish)).state).toBe('denied')
    // Nor is it another one where its body is shown.
    expect((await world.approvals.ask(asker, call('/issues', 'Hello'), wish)).state).toBe('denied')
    expect((await world.approvals.ask(asker, call('/pulls'), wish)).state).toBe('pending')
  })

  test('a no to a token is one to the same token for other collections: their names are the agent’s to choose', async () => {
    const wish = { seconds: 300, front: 'ciba' } as const
    const access = {
      kind: 'access',
      resource: 'https://remit.test',
      scopes: ['docs.search'],
      details: [],
    } as const
    const asked = await world.approvals.ask(asker, access, wish)
    await world.decide(asked, { answer: 'deny' })
    for (const collections of [['handbook'], ['finance', 'made-up']])
      expect((await world.approvals.ask(asker, { ...access, collections }, wish)).state).toBe('denied')
    expect((await world.approvals.ask(asker, { ...access, scopes: ['docs.read'] }, wish)).state).toBe(
      'pending',
    )
  })

  test('a blocked agent is told no like any other, nobody hears of it, and it is lifted by the person alone', async () => {
    const asked = await world.ask(asker, ['board/1'])
    const open = await world.ask(asker, ['board/2'])
    await world.decide(asked, { answer: 'deny', block: true })
    expect(await world.approvals.of(asker, open.id)).toMatchObject({ state: 'denied' })
    expect(await world.recorded(open.id)).toEqual(['approval_asked', 'approval_decided'])
    const heard: string[] = []
    using _listening = world.approvals.onChange(({ id, state }) => void heard.push(`${id} ${state}`))
    const unseen = await world.ask(asker, ['board/3'])
    const denied = await world.approvals.of(asker, open.id)
    expect(unseen.state).toBe('denied')
    expect(Object.keys(unseen).sort()).toEqual(Object.keys(denied ?? {}).sort())
    const { open: waiting, recent } = await world.approvals.mine(asker.subject)
    expect([...waiting, ...recent].map(({ id }) => id)).not.toContain(unseen.id)
    expect(await world.approvals.oneOfMine(asker.subject, unseen.id)).toBeUndefined()
    expect(await world.decide(unseen, { answer: 'approve' })).toMatchObject({ reason: 'not_found' })
    expect((await world.ask(asker, ['board/3'])).state).toBe('denied')
    expect(await world.approvals.blocks.of(asker.subject)).toMatchObject([{ agent: 'research-bot' }])
    expect(await world.approvals.blocks.of('user:bob')).toEqual([])
    expect(await world.approvals.blocks.lift('user:bob', 'research-bot', operator('t_bob'))).toBe(false)
    expect((await world.ask(await world.asker('bob'), ['board/1'])).state).toBe('pending')
    expect(await world.approvals.blocks.lift(asker.subject, 'research-bot', operator('t_anne'))).toBe(true)
    expect(await world.approvals.blocks.lift(asker.subject, 'research-bot', operator('t_anne'))).toBe(false)
    expect(await world.approvals.blocks.of(asker.subject)).toEqual([])
    // Nobody said no to that: a block tells no more of what offers stand for than a no does.
    expect((await world.ask(await world.asker(), ['board/3'])).state).toBe('pending')
    await expect.poll(() => heard.length).toBeGreaterThan(0)
  })

  test('two people who say no to everything of an agent at once do not wait for each other', async () => {
    const mine = await Promise.all([
      world.ask(asker, ['board/1']),
      world.ask(asker, ['board/2']),
      world.ask(asker, ['board/3']),
    ])
    const results = await Promise.all(mine.map((one) => world.decide(one, { answer: 'deny', block: true })))
    expect(results.filter(({ ok }) => ok)).toHaveLength(1)
    expect((await world.approvals.mine(asker.subject)).open).toEqual([])
    await world.approvals.blocks.lift(asker.subject, 'research-bot', operator('t_anne'))
  })
})
