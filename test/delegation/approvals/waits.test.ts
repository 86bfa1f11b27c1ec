import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Approval, Requester } from '../../../src/delegation/approvals/approval.ts'
import { createWaits, waitsMax } from '../../../src/delegation/approvals/changes.ts'
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

describe('a wait', () => {
  const clock = { now: () => 0 }
  const approval = {
    id: 'ap_1',
    subject: 'user:anne',
    agent: 'bot',
    client: 'app',
    delegation: 'd_1',
    asked: { kind: 'access', resource: 'https://x.test', scopes: [], details: [] },
    front: 'rest',
    state: 'pending',
    rounds: [],
    createdAt: new Date(0),
    expiresAt: new Date(60_000),
    txn: 't_1',
    version: 1,
  } as const satisfies Approval

  test('through which the machine slept ends with a 503 where it is not known who may act since', async () => {
    let now = 0
    let isHeard = true
    const waits = createWaits({
      changes: { watch: () => ({ [Symbol.dispose]: () => undefined }) },
      clock: { now: () => now },
      assertOpen() {
        if (!isHeard) throw new AppError('authorization_unavailable')
      },
    })
    let looks = 0
    const read = async (): Promise<Approval> => {
      looks += 1
      return looks === 1 ? approval : { ...approval, state: 'approved', version: 2 }
    }
    const waiting = waits.until(read, { id: 'ap_1', owner: 'x' }, AbortSignal.timeout(25_000))
    await expect.poll(() => looks).toBe(1)
    await delay(20)
    now = 3_600_000
    isHeard = false
    await expect(waiting).rejects.toMatchObject({ code: 'authorization_unavailable' })
    expect(looks).toBe(1)
  })

  test('misses nothing that changes between its look and its rest', async () => {
    let tell = (): void => undefined
    const waits = createWaits({
      changes: {
        watch(_, listener) {
          tell = listener
          return { [Symbol.dispose]: () => undefined }
        },
      },
      clock,
      assertOpen: () => undefined,
    })
    let current: Approval = approval
    const read = async () => {
      const seen = current
      if (seen.version === 1) {
        // Decided, and told, after the row was read and before the reader has it.
        current = { ...approval, state: 'denied', version: 2 }
        tell()
        await delay(1)
      }
      return seen
    }
    const found = await waits.until(read, { id: 'ap_1', owner: 'x' }, AbortSignal.timeout(25_000))
    expect(found).toMatchObject({ state: 'denied' })
  })

  test('of one agent for one person beyond so many is answered at once, and others’ are not', async () => {
    const changes = { watch: () => ({ [Symbol.dispose]: () => undefined }) }
    const waits = createWaits({ changes, clock, assertOpen: () => undefined })
    const stop = new AbortController()
    let ended = 0
    const waiting = Array.from({ length: waitsMax }, () =>
      waits
        .until(async () => approval, { id: 'ap_1', owner: 'anne bot' }, stop.signal)
        .then(() => {
          ended += 1
        }),
    )
    await delay(1)
    expect(await waits.until(async () => approval, { id: 'ap_1', owner: 'anne bot' }, stop.signal)).toBe(
      approval,
    )
    const other = waits
      .until(async () => approval, { id: 'ap_1', owner: 'bob bot' }, stop.signal)
      .then(() => {
        ended += 1
      })
    await delay(1)
    expect(ended).toBe(0)
    stop.abort()
    await Promise.all([...waiting, other])
    expect(ended).toBe(waitsMax + 1)
  })
})
