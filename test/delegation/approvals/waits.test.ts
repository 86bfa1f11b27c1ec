import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Requester } from '../../../src/delegation/approvals/approval.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import { describeDatabases } from '../../support/backends.ts'
import { type AskingWorld, notedGrants, openAskingWorld } from './world.ts'

describeDatabases('who waits for a person', (database) => {
  let world: AskingWorld
  let asker: Requester
  let isOpen = true
  beforeAll(async () => {
    world = await openAskingWorld({
      backend: { database, openfga: 'engine' },
      grants: () => notedGrants().maker,
      assertOpen: () => {
        if (!isOpen) throw new AppError('authorization_unavailable')
      },
    })
  })
  afterAll(() => world?.[Symbol.asyncDispose]())
  beforeEach(async () => {
    world.clock.move(3 * 3_600_000)
    asker = await world.asker()
  })

  const never = () => new AbortController().signal
  const wait = (id: string, signal = never(), requester = asker) =>
    world.approvals.wait(requester, id, signal)
  /** Until it waits: a wait that did not begin would be told how it stands, not that it changed. */
  const begun = () => delay(50)

  test('hears each change that its person makes, and is answered at once where there is nothing to wait for', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const first = wait(approval.id)
    await begun()
    await world.decide(approval, { answer: 'ask', question: 'Why?' })
    expect(await first).toMatchObject({ state: 'info_requested' })
    // It is the agent's turn.
    expect(await wait(approval.id)).toMatchObject({ state: 'info_requested' })
    await world.approvals.answer(asker, approval.id, 'So.')
    const second = wait(approval.id)
    await begun()
    await world.decide(approval, { answer: 'deny' })
    expect(await second).toMatchObject({ state: 'denied' })
    expect(await wait(approval.id)).toMatchObject({ state: 'denied' })
  })

  test('is told when its time is over', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const waiting = wait(approval.id)
    await begun()
    world.clock.move(300_000)
    expect(await waiting).toMatchObject({ state: 'expired' })
  })

  test('is answered when it goes away, and never holds a connection: all wait where one is enough to decide', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const leaving = new AbortController()
    const waiting = Array.from({ length: 15 }, () => wait(approval.id, leaving.signal))
    await begun()
    expect(await world.decide(approval, { answer: 'ask', question: 'Why?' })).toMatchObject({ ok: true })
    for (const one of await Promise.all(waiting)) expect(one).toMatchObject({ state: 'info_requested' })
    await world.approvals.answer(asker, approval.id, 'So.')
    const left = wait(approval.id, leaving.signal)
    await begun()
    leaving.abort()
    expect(await left).toMatchObject({ state: 'pending' })
  })

  test('is told nothing of anybody else’s', async () => {
    const approval = await world.ask(asker, ['board/1'])
    expect(await wait(approval.id, never(), { ...asker, client: 'other-app' })).toBeUndefined()
    expect(await wait('ap_none')).toBeUndefined()
  })

  test('is refused while it is not known who may act', async () => {
    const approval = await world.ask(asker, ['board/1'])
    const waiting = wait(approval.id)
    await begun()
    isOpen = false
    await expect(waiting).rejects.toMatchObject({ code: 'authorization_unavailable' })
    isOpen = true
  })

  test('is answered when the service stops, and so is who comes then', async () => {
    const another = await world.another()
    const approval = await world.ask(asker, ['board/1'])
    const waiting = another.wait(asker, approval.id, never())
    await begun()
    another.endWaits()
    expect(await waiting).toMatchObject({ state: 'pending' })
    expect(await another.wait(asker, approval.id, never())).toMatchObject({ state: 'pending' })
  })

  test('listeners are told of each change after it counts, and one that throws harms nobody', async () => {
    const heard: string[] = []
    using _bad = world.approvals.onChange(() => {
      throw new Error('listener')
    })
    using _good = world.approvals.onChange(({ id, state }) => void heard.push(`${id} ${state}`))
    const approval = await world.ask(asker, ['board/1'])
    await expect.poll(() => heard).toContain(`${approval.id} pending`)
    await world.decide(approval, { answer: 'deny' })
    await expect.poll(() => heard).toContain(`${approval.id} denied`)
  })
})
