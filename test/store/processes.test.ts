import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { OperatorError } from '../../src/kernel/operator-error.ts'
import { registerAndBeat } from '../../src/start.ts'
import { type LiveProcess, registerProcess, restrict } from '../../src/store/processes.ts'
import type { Database } from '../../src/store/sql.ts'
import { describeDatabases } from '../support/backends.ts'
import { openTestDatabase } from '../support/database.ts'

const ceiling = { name: 'ceiling', since: '1.1.0' }
const newer = { version: '1.1.0', known: { ceiling: '1.1.0' } }
const older = { version: '0.9.0', known: {} }

describeDatabases('a restriction', (kind) => {
  let database: Database
  let time: number
  beforeEach(async () => {
    database = await openTestDatabase(kind)
    time = 0
  }, 60_000)
  afterEach(() => database?.close())

  const start = (which: typeof newer | typeof older): Promise<LiveProcess> =>
    registerProcess({ database, elapsed: () => time, ...which })
  const bring = () => database.transaction((sql) => restrict(sql, ceiling))
  const inForce = async () => (await database.query('select name from restrictions')).length === 1

  test('is refused in plain words while a process runs that does not know it, and comes into force after', async () => {
    await using _newer = await start(newer)
    const old = await start(older)
    await expect(bring()).rejects.toMatchObject({
      code: 'conflict',
      public:
        'Not every process knows the restriction ceiling, which Remit 1.1.0 brought. There is still 1 process of Remit 0.9.0. Replace them, then try again; one that crashed counts for 30 seconds.',
    })
    expect(await inForce()).toBe(false)
    await old[Symbol.asyncDispose]()
    await bring()
    await bring()
    expect(await inForce()).toBe(true)
  })

  test('refuses the start of a process that does not know it, and names the version to start', async () => {
    await bring()
    await expect(start(older)).rejects.toThrow(OperatorError)
    await expect(start(older)).rejects.toThrow(
      /ceiling is in force.*\(0\.9\.0\).*Start Remit 1\.1\.0 or newer/,
    )
    await using known = await start(newer)
    expect(() => known.assertLive()).not.toThrow()
  })

  test('ends a process at its next heartbeat that had counted as ended; it answers nobody meanwhile', async () => {
    await using stalled = await start(older)
    expect(() => stalled.assertLive()).not.toThrow()
    await database.query(`update processes set seen_at = now() - interval '31 seconds'`)
    time += 31_000
    await bring()
    const unavailable = expect.objectContaining({ code: 'authorization_unavailable' })
    expect(() => stalled.assertLive()).toThrow(unavailable)
    await expect(stalled.beat()).rejects.toThrow(/ceiling is in force/)
    time -= 31_000
    expect(() => stalled.assertLive()).toThrow(unavailable)
  })

  test('answers nobody after a sleep in which the others counted it as ended', async () => {
    await using asleep = await registerProcess({ database, ...newer })
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 31_000 })
    try {
      expect(() => asleep.assertLive()).toThrow(
        expect.objectContaining({ code: 'authorization_unavailable' }),
      )
      await asleep.beat()
      expect(() => asleep.assertLive()).not.toThrow()
    } finally {
      vi.useRealTimers()
    }
  })

  test('and whoever comes then has it say that it runs, long before its next heartbeat is due', async () => {
    await using asleep = await registerAndBeat(database, {
      log: () => undefined,
      onRefused: () => undefined,
    })
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 31_000 })
    const began = performance.now()
    try {
      expect(() => asleep.assertLive()).toThrow()
      await expect.poll(() => asleep.assertLive(), { timeout: 4_000, interval: 20 }).toBeUndefined()
      expect(performance.now() - began).toBeLessThan(4_500)
    } finally {
      vi.useRealTimers()
    }
  })

  test('a heartbeat keeps a process counted', async () => {
    await using old = await start(older)
    await database.query(`update processes set seen_at = now() - interval '29 seconds'`)
    time += 29_000
    await old.beat()
    time += 29_000
    expect(() => old.assertLive()).not.toThrow()
    await expect(bring()).rejects.toMatchObject({ code: 'conflict' })
  })
})
