import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createPgDatabase } from '../../src/store/pg.ts'
import { openPglite } from '../../src/store/pglite.ts'
import { createWatch } from '../../src/store/watch.ts'
import { administer } from '../support/administer.ts'
import { native, needsPostgres } from '../support/native.ts'

let lost: string[]
beforeEach(() => {
  lost = []
})
const onLost = (reason: string): void => {
  lost.push(reason)
}

describe('a statement', () => {
  const never = new Promise<never>(() => undefined)
  const hasRoom = async (): Promise<boolean> => false

  test('that is not answered though nothing works on it is told', async () => {
    const watch = createWatch({
      idleMs: 10,
      busyMs: 60_000,
      listens: () => Promise.resolve(),
      isFull: hasRoom,
      onLost,
    })
    void watch(never)
    await expect.poll(() => lost).toEqual(['a statement is not answered'])
  })

  test('that is worked on for too long is told', async () => {
    const watch = createWatch({ idleMs: 10, busyMs: 50, listens: () => never, isFull: hasRoom, onLost })
    void watch(never)
    await expect.poll(() => lost).toEqual(['a statement does not end'])
  })

  test('that is worked on while the disk is full is told at the first look', async () => {
    const full = { listens: () => never, isFull: async () => true, onLost }
    void createWatch({ idleMs: 10, busyMs: 60_000, ...full })(never)
    await expect.poll(() => lost).toEqual(['the disk is full'])
  })

  test('is watched on where nobody can say whether the disk is full', async () => {
    const isFull = () => Promise.reject(new Error('EIO'))
    const watch = createWatch({ idleMs: 10, busyMs: 50, listens: () => never, isFull, onLost })
    void watch(never)
    await expect.poll(() => lost).toEqual(['a statement does not end'])
  })

  test('that is answered or fails, however late, is told to nobody but who asked', async () => {
    const watch = createWatch({ idleMs: 1, busyMs: 60_000, listens: () => never, isFull: hasRoom, onLost })
    const later = (work: () => unknown) => new Promise((resolve) => setTimeout(resolve, 30)).then(work)
    await expect(watch(later(() => 'rows'))).resolves.toBe('rows')
    await expect(watch(later(() => Promise.reject(new Error('wrong'))))).rejects.toThrow('wrong')
    await later(() => undefined)
    expect(lost).toEqual([])
  })
})

describe('a statement that a standstill of the process interrupts', () => {
  /**
   * Timers by a clock of its own. What is due in a standstill comes at once after it, before anything that
   * arrived meanwhile.
   */
  function heldClock() {
    let now = 0
    let due: { readonly at: number; readonly then: () => void }[] = []
    const timer = (ms: number, then: () => void) => {
      const one = { at: now + ms, then }
      due.push(one)
      return () => {
        due = due.filter((other) => other !== one)
      }
    }
    async function fire(): Promise<void> {
      const over = due.filter(({ at }) => at <= now)
      due = due.filter(({ at }) => at > now)
      for (const { then } of over) then()
      await new Promise((resolve) => setImmediate(resolve))
    }
    return {
      timer,
      async run(ms: number) {
        for (const end = now + ms; now < end; now += 100) await fire()
        await fire()
      },
      async standStill(ms: number) {
        now += ms
        await fire()
      },
    }
  }
  const times = { idleMs: 30_000, busyMs: 600_000 }
  const hasRoom = async (): Promise<boolean> => false
  const never = new Promise<never>(() => undefined)

  test('is let be: its thread had no more time than the process', async () => {
    const clock = heldClock()
    const idle = { listens: () => Promise.resolve(), isFull: hasRoom, onLost, timer: clock.timer }
    const answer = Promise.withResolvers<string>()
    const watched = createWatch({ ...times, ...idle })(answer.promise)
    await clock.run(1_000)
    await clock.standStill(3_600_000)
    await clock.run(20_000)
    expect(lost).toEqual([])
    answer.resolve('rows')
    await expect(watched).resolves.toBe('rows')
    await clock.run(60_000)
    expect(lost).toEqual([])
  })

  test('is let be where its answer came in the standstill itself, just before the alarm', async () => {
    const clock = heldClock()
    const idle = { listens: () => Promise.resolve(), isFull: hasRoom, onLost, timer: clock.timer }
    const answer = Promise.withResolvers<string>()
    const watched = createWatch({ ...times, ...idle })(answer.promise)
    await clock.run(30_100)
    await clock.standStill(3_600_000)
    answer.resolve('rows')
    await expect(watched).resolves.toBe('rows')
    expect(lost).toEqual([])
  })

  test('is let be where it is worked on, and told all the same once it had its time', async () => {
    const clock = heldClock()
    const busy = { listens: () => never, isFull: hasRoom, onLost, timer: clock.timer }
    void createWatch({ ...times, ...busy })(never)
    await clock.run(1_000)
    await clock.standStill(3_600_000)
    await clock.run(500_000)
    expect(lost).toEqual([])
    await clock.run(200_000)
    expect(lost).toEqual(['a statement does not end'])
  })

  test('is told once nobody answered it afterwards', async () => {
    const clock = heldClock()
    const idle = { listens: () => Promise.resolve(), isFull: hasRoom, onLost, timer: clock.timer }
    void createWatch({ ...times, ...idle })(never)
    await clock.standStill(3_600_000)
    await clock.run(40_000)
    expect(lost).toEqual(['a statement is not answered'])
  })
})

describe('the embedded database', () => {
  let socketDir: string
  beforeEach(async () => {
    socketDir = await mkdtemp(join(tmpdir(), 'remit-test-'))
  })
  afterEach(() => rm(socketDir, { recursive: true, force: true }))

  async function opened() {
    const started = new Promise<Worker>((resolve) => process.once('worker', resolve))
    const database = await openPglite({ socketDir, onLost, unansweredMs: 50 })
    return { database, worker: await started }
  }

  test('is let be while it works, and closing it is no loss', async () => {
    const { database } = await opened()
    await database.query('select pg_sleep(0.5)')
    await database.close()
    expect(lost).toEqual([])
  })

  test('is told to be lost once when its thread ends', async () => {
    const { database, worker } = await opened()
    const running = database.query('select pg_sleep(60)').catch(() => undefined)
    await worker.terminate()
    await running
    expect(lost).toEqual(['its thread has ended'])
    await database.close()
  })
})

test(
  'the rollback after a statement that failed has an end too: on a full disk that is what hangs',
  needsPostgres,
  async () => {
    const name = `remit_test_${randomBytes(6).toString('hex')}`
    const own = new URL(native.databaseUrl ?? '')
    own.pathname = `/${name}`
    await administer(native.databaseUrl ?? '', `create database ${name}`)
    try {
      await administer(own.href, 'create extension vector')
      let watched = 0
      await using database = createPgDatabase({
        kind: 'postgres',
        pool: { connectionString: own.href, max: 1 },
        watch: (statement) => {
          watched += 1
          return statement
        },
      })
      await expect(database.query('select nothing')).rejects.toThrow()
      expect(watched).toBe(2)
    } finally {
      await administer(native.databaseUrl ?? '', `drop database ${name} with (force)`)
    }
  },
)
