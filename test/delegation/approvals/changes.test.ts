import { randomBytes } from 'node:crypto'
import { setTimeout as delay, setImmediate as settled } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Approval } from '../../../src/delegation/approvals/approval.ts'
import {
  type ApprovalChanges,
  createWaits,
  followApprovals,
  waitsMax,
} from '../../../src/delegation/approvals/changes.ts'
import { requestApproval } from '../../../src/delegation/approvals/request-approval.ts'
import { createAgents } from '../../../src/delegation/registry/agents.ts'
import { AppError } from '../../../src/kernel/errors.ts'
import type { Sql, SqlValue } from '../../../src/store/sql.ts'
import { askedCall } from '../../support/approvals.ts'
import { movableClock, openMigrated, ownIssuerUrl, putDelegation } from '../world.ts'

// What is heard, and who waits for it, by themselves. With the whole service: waits.test.ts.

describe('followed approvals', () => {
  let database: Awaited<ReturnType<typeof openMigrated>>
  const clock = movableClock()
  let logged: object[]
  let told: string[]
  let opened: ApprovalChanges[]
  beforeAll(async () => {
    database = await openMigrated()
    const agents = createAgents({ sql: database, clock })
    await agents.save({ id: 'bot', owner: 'user:anne', purpose: 'tests', issuer: ownIssuerUrl, sub: 'bot' })
    const expiresAt = new Date(clock.now() + 86_400_000)
    await putDelegation(database, { id: 'd_1', subject: 'user:anne', agent: 'bot', expiresAt })
  })
  afterAll(() => database?.close())
  beforeEach(() => {
    // Far enough for every limit to be forgotten.
    clock.move(3 * 3_600_000)
    logged = []
    told = []
    opened = []
  })
  afterEach(async () => {
    for (const one of opened) await one[Symbol.asyncDispose]()
  })

  async function follow(by: Parameters<typeof followApprovals>[0] = database): Promise<ApprovalChanges> {
    const changes = await followApprovals(by, (event, detail) => logged.push({ event, ...detail }))
    opened.push(changes)
    // Nobody takes those of the tests before out of the database's hearing.
    const toldNow = told
    changes.onChange((id) => toldNow.push(id))
    return changes
  }
  const asker = { subject: 'user:anne', agent: 'bot', client: 'app', delegation: 'd_1', txn: 't_1' } as const
  async function ask(): Promise<string> {
    const call = askedCall({
      connection: 'github',
      method: 'POST',
      path: `/${randomBytes(8).toString('hex')}`,
    })
    const options = { seconds: 300, front: 'rest' } as const
    return (await requestApproval({ database, clock, randomBytes }, asker, call, options)).id
  }
  const change = (id: string, sql: Sql = database) =>
    sql.query('update approvals set version = version + 1 where id = $1', [id])
  const notify = (payload: string) => database.query(`select pg_notify('remit_approvals', $1)`, [payload])

  test('are told as each change of this process is committed, until nobody wants to hear', async () => {
    const changes = await follow()
    const again: string[] = []
    const listening = changes.onChange((id) => again.push(id))
    const id = await ask()
    expect(told).toEqual([id])
    await change(id)
    expect(told).toEqual([id, id])
    const undone = database.transaction(async (sql) => {
      await change(id, sql)
      throw new Error('thought better of it')
    })
    await expect(undone).rejects.toThrow('thought better')
    expect([told, again]).toEqual([
      [id, id],
      [id, id],
    ])
    listening[Symbol.dispose]()
    await change(id)
    expect([told.length, again.length]).toEqual([3, 2])
    expect(logged).toEqual([])
  })

  test('are told once a version, however often it is heard and in which order', async () => {
    await follow()
    for (const payload of ['ap_1 9', 'ap_1 9', 'ap_1 8', 'ap_2 1', 'ap_1 10', 'ap_1 9']) await notify(payload)
    expect(told).toEqual(['ap_1', 'ap_2', 'ap_1'])
  })

  test('are not told by what does not name a version', async () => {
    await follow()
    for (const payload of ['lost', 'ap_1', 'ap_1 ', 'ap_1 x', 'ap_1 1x', 'ap_1 x1', 'ap_1 -1'])
      await notify(payload)
    expect(told).toEqual([])
    await notify('ap_1 12')
    expect(told).toEqual(['ap_1'])
  })

  test('are told to whoever watches one, of that one, and each until they do not', async () => {
    const changes = await follow()
    const heard: string[] = []
    const watch = (id: string, name: string) => changes.watch(id, () => heard.push(name))
    const [first, second, other] = [watch('ap_1', 'first'), watch('ap_1', 'second'), watch('ap_2', 'other')]
    await notify('ap_1 1')
    expect(heard.splice(0)).toEqual(['first', 'second'])
    first[Symbol.dispose]()
    await notify('ap_1 2')
    expect(heard.splice(0)).toEqual(['second'])
    second[Symbol.dispose]()
    watch('ap_1', 'third')
    // Who is gone already takes nobody along.
    second[Symbol.dispose]()
    await notify('ap_1 3')
    expect(heard.splice(0)).toEqual(['third'])
    other[Symbol.dispose]()
    await notify('ap_2 1')
    expect(heard).toEqual([])
  })

  test('are remembered by the last ten thousand that were told', async () => {
    let notice = (_: string): void => undefined
    await follow({
      openListener: undefined,
      onNotice: (listener) => {
        notice = listener
      },
    })
    for (let number = 0; number < 10_000; number += 1) notice(`ap_${number} 1`)
    notice('ap_0 1')
    expect(told).toHaveLength(10_000)
    notice('ap_new 1')
    notice('ap_0 1')
    expect(told.slice(10_000)).toEqual(['ap_new', 'ap_0'])
  })

  describe('where other processes change them, too', () => {
    interface Connection {
      readonly channel: string | undefined
      readonly heard: (payload: string) => void
      isClosed: boolean
    }
    let connections: Connection[]
    /** For which approvals each look asked. */
    let asked: unknown[]
    let failure: Error | undefined
    beforeEach(() => {
      connections = []
      asked = []
      failure = undefined
    })
    /** As native Postgres does it; of what this process commits it tells nothing by itself. */
    const followOthers = () =>
      follow({
        onNotice: () => undefined,
        async openListener(heard, channel) {
          const connection: Connection = { channel, heard, isClosed: false }
          connections.push(connection)
          return {
            async query<Row extends object>(text: string, values?: readonly SqlValue[]) {
              asked.push(values?.[0])
              if (failure !== undefined) throw failure
              return database.query<Row>(text, values)
            },
            async [Symbol.asyncDispose]() {
              connection.isClosed = true
            },
          }
        },
      })
    /** Until it has looked once more. */
    async function look(): Promise<unknown> {
      const before = asked.length
      await expect.poll(() => asked.length, { interval: 20 }).toBeGreaterThan(before)
      return asked.at(-1)
    }

    test('they are heard by a connection of its own from the start, which ends with it', async () => {
      const changes = await followOthers()
      expect(connections).toMatchObject([{ channel: 'remit_approvals', isClosed: false }])
      connections[0]?.heard('ap_1 1')
      expect(told).toEqual(['ap_1'])
      await look()
      expect([connections.length, logged]).toEqual([1, []])
      await changes[Symbol.asyncDispose]()
      expect(connections).toMatchObject([{ isClosed: true }])
      const after = asked.length
      await delay(700)
      expect(asked).toHaveLength(after)
    })

    test('those that somebody waits for are looked at, and no other', async () => {
      const changes = await followOthers()
      const [id, other] = [await ask(), await ask()]
      expect(await look()).toEqual([])
      expect(told).toEqual([])
      const heard: string[] = []
      const [first, second] = ['first', 'second'].map((name) => changes.watch(id, () => heard.push(name)))
      await expect.poll(() => told).toEqual([id])
      await change(id)
      await change(other)
      await expect.poll(() => told).toEqual([id, id])
      expect(heard).toEqual(['first', 'second', 'first', 'second'])
      first?.[Symbol.dispose]()
      await look()
      expect(await look()).toEqual([id])
      second?.[Symbol.dispose]()
      await look()
      expect(await look()).toEqual([])
      expect(told).toEqual([id, id])
    })

    test('it says once that it hears nothing, and once that it hears again, by another connection', async () => {
      await followOthers()
      failure = new Error('gone')
      for (let failed = 0; failed < 3; failed += 1) await look()
      expect(logged).toEqual([{ event: 'approvals_unheard', reason: 'gone' }])
      failure = undefined
      await expect.poll(() => logged.length).toBe(2)
      expect(logged[1]).toEqual({ event: 'approvals_heard' })
      await look()
      expect(logged).toHaveLength(2)
      const last = connections.pop()
      expect(last?.isClosed).toBe(false)
      expect(connections.map(({ isClosed }) => isClosed)).toEqual([true, true, true])
    })
  })
})

describe('a wait', () => {
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

  let now: number
  let isOpen: boolean
  let current: Approval | undefined
  let looks: number
  let waits: ReturnType<typeof createWaits>
  let watching: Map<object, { readonly id: string; readonly listener: () => void }>
  beforeEach(() => {
    now = 0
    isOpen = true
    current = approval
    looks = 0
    watching = new Map()
    let asks = 0
    waits = createWaits({
      changes: {
        watch(id, listener) {
          const watch = { [Symbol.dispose]: () => void watching.delete(watch) }
          watching.set(watch, { id, listener })
          return watch
        },
      },
      clock: { now: () => now },
      assertOpen() {
        asks += 1
        if (asks > 1_000) throw new Error('It turns without end.')
        if (!isOpen) throw new AppError('authorization_unavailable')
      },
    })
  })
  afterEach(() => waits.close())

  const read = async () => {
    looks += 1
    if (looks > 100) throw new Error('It looks without end.')
    return current
  }
  const never = () => new AbortController().signal
  const wait = (signal = never(), { owner = 'anne bot', by = read } = {}) =>
    waits.until(by, { id: 'ap_1', owner }, signal)
  /** What it has come to by now, without any time passing. */
  async function soFar(waiting: Promise<unknown>): Promise<unknown> {
    await settled()
    return Promise.race([waiting, Promise.resolve('waits')])
  }
  const tell = () => {
    for (const { id, listener } of watching.values()) if (id === 'ap_1') listener()
  }

  test.each(['missing', 'info_requested', 'approved', 'denied', 'expired'] as const)(
    'is none where what it is for is %s',
    async (state) => {
      const stands = state === 'missing' ? undefined : { ...approval, state }
      current = stands
      const waiting = wait()
      expect(watching.size).toBe(1)
      expect(await soFar(waiting)).toBe(stands)
      expect([looks, watching.size]).toEqual([1, 0])
    },
  )

  test('ends as soon as a change is heard, also back to where it was, and with nothing else that is told', async () => {
    const waiting = wait()
    expect(await soFar(waiting)).toBe('waits')
    tell()
    expect(await soFar(waiting)).toBe('waits')
    expect(looks).toBe(2)
    // The person asked back, and was answered.
    current = { ...approval, version: 3 }
    tell()
    expect(await soFar(waiting)).toBe(current)
    expect([looks, watching.size]).toEqual([3, 0])
  })

  test('ends where it is not there any more', async () => {
    const waiting = wait()
    await settled()
    current = undefined
    tell()
    expect(await soFar(waiting)).toBeUndefined()
  })

  test('misses nothing that changes between its look and its rest', async () => {
    const by = async () => {
      const seen = current
      if (seen?.version === 1) {
        // Decided, and told, after the row was read and before the reader has it.
        current = { ...approval, state: 'denied', version: 2 }
        tell()
        await settled()
      }
      return seen
    }
    expect(await wait(never(), { by })).toMatchObject({ state: 'denied' })
  })

  test.each([
    ['five seconds after the last time', 60_000, 5_000],
    ['at its end', 1_000, 1_000],
  ])('looks by itself %s, and no sooner', async (_, expiresMs, lookMs) => {
    current = { ...approval, expiresAt: new Date(expiresMs) }
    const waiting = wait()
    await settled()
    now = lookMs - 1
    await delay(700)
    expect(await soFar(waiting)).toBe('waits')
    expect(looks).toBe(1)
    current = { ...current, state: 'expired' }
    now = lookMs
    expect(await waiting).toBe(current)
    expect(looks).toBe(2)
  })

  test('looks at once where the clock is set back, and five seconds later by it again', async () => {
    now = 3_600_000
    current = { ...approval, expiresAt: new Date(7_200_000) }
    const waiting = wait()
    await settled()
    now = 1_000
    await delay(700)
    expect(looks).toBe(2)
    current = { ...current, state: 'denied' }
    now = 6_000
    expect(await waiting).toBe(current)
    expect(looks).toBe(3)
  })

  test('is refused while it is not known who may act, though nothing is told and its time stands still', async () => {
    const waiting = wait()
    await settled()
    isOpen = false
    await expect(waiting).rejects.toMatchObject({ code: 'authorization_unavailable' })
    expect([looks, watching.size]).toEqual([1, 0])
  })

  test('through which the machine slept ends with a 503 where it is not known who may act since', async () => {
    const waiting = wait()
    await settled()
    now = 3_600_000
    isOpen = false
    await expect(waiting).rejects.toMatchObject({ code: 'authorization_unavailable' })
    expect(looks).toBe(1)
  })

  test('ends as it stands when its asker goes away, and no other does', async () => {
    const leaving = new AbortController()
    const [left, stays] = [wait(leaving.signal), wait()]
    await settled()
    leaving.abort()
    expect(await soFar(left)).toBe(approval)
    expect(await soFar(stays)).toBe('waits')
    expect(watching.size).toBe(1)
    expect(await soFar(wait(leaving.signal))).toBe(approval)
  })

  test('ends as it stands when the service stops, and is none from then on', async () => {
    const waiting = [wait(), wait(never(), { owner: 'bob bot' })]
    await settled()
    waits.close()
    for (const one of waiting) expect(await soFar(one)).toBe(approval)
    expect(await soFar(wait())).toBe(approval)
  })

  test('of one agent for one person beyond so many is answered at once, and others’ are not', async () => {
    const leaving = new AbortController()
    const waiting = Array.from({ length: waitsMax }, () => wait(leaving.signal))
    await settled()
    expect(await soFar(wait())).toBe(approval)
    const other = wait(never(), { owner: 'bob bot' })
    for (const one of [...waiting, other]) expect(await soFar(one)).toBe('waits')
    leaving.abort()
    await Promise.all(waiting)
    expect(await soFar(other)).toBe('waits')
    // There is room again, as often as one ends, also by an error.
    for (let count = 0; count <= waitsMax; count += 1) {
      const failing = wait()
      expect(await soFar(failing)).toBe('waits')
      isOpen = false
      tell()
      await expect(failing).rejects.toMatchObject({ code: 'authorization_unavailable' })
      isOpen = true
    }
    for (let count = 0; count < waitsMax; count += 1) expect(await soFar(wait())).toBe('waits')
    expect(await soFar(wait())).toBe(approval)
  })
})
