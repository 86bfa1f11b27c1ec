import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBoss } from '../../src/jobs/boss.ts'
import { createPgBossQueue } from '../../src/jobs/pgboss.ts'
import type { BatchHandler, Handler, Queue } from '../../src/jobs/queue.ts'
import { isInBackground } from '../../src/kernel/background.ts'
import type { Database } from '../../src/store/sql.ts'
import { openTestDatabase } from '../support/database.ts'

let database: Database
beforeAll(async () => {
  database = await openTestDatabase('pglite')
})
afterAll(() => database.close())

let count = 0
interface Running extends AsyncDisposable {
  readonly queue: Queue
  readonly errors: Error[]
  readonly name: string
}

async function open(handler: Handler, name = `queue-${++count}`, pollSeconds = 0.5): Promise<Running> {
  const errors: Error[] = []
  const queue = createPgBossQueue({ database, name, pollSeconds, onError: (error) => errors.push(error) })
  await queue.start(handler)
  return { queue, errors, name, [Symbol.asyncDispose]: () => queue.close() }
}

const send = (queue: Queue, ...keys: string[]): Promise<void> =>
  database.transaction((sql) =>
    queue.send(
      sql,
      keys.map((key, index) => ({ key, data: { key, index } })),
    ),
  )

test('runs a task within a moment of the wake-up, not at the next poll', async () => {
  const ran = Promise.withResolvers<void>()
  await using running = await open(async () => ran.resolve(), undefined, 60)
  await send(running.queue, 'a')
  const since = performance.now()
  running.queue.wake()
  await ran.promise
  expect(performance.now() - since).toBeLessThan(20_000)
})

test('what a task does lets questions go first, also where a request woke it', async () => {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  await using running = await open(async () => resolve(isInBackground()), undefined, 60)
  await send(running.queue, 'a')
  running.queue.wake()
  expect([isInBackground(), await promise]).toEqual([false, true])
})

test('refuses a task before it is prepared, and does not wait for the transaction that sends it', async () => {
  await using queue = createPgBossQueue({ database, name: 'unprepared', onError: () => undefined })
  await expect(send(queue, 'a')).rejects.toThrow('not prepared')
  await queue.prepare()
  await send(queue, 'a')
})

test('runs nothing of a transaction that was rolled back', async () => {
  const ran: unknown[] = []
  await using running = await open(async ({ key }) => void ran.push(key))
  const rolledBack = database.transaction(async (sql) => {
    await running.queue.send(sql, [{ key: 'lost', data: { key: 'lost' } }])
    throw new Error('no')
  })
  await expect(rolledBack).rejects.toThrow('no')
  await send(running.queue, 'kept')
  running.queue.wake()
  await expect.poll(() => ran).toEqual(['kept'])
})

test('runs tasks of one key in order and never two at a time, others beside them', async () => {
  const active = new Map<unknown, number>()
  const order: unknown[] = []
  let most = 0
  let overlapped = false
  await using running = await open(async ({ key, index }) => {
    active.set(key, (active.get(key) ?? 0) + 1)
    overlapped ||= (active.get(key) ?? 0) > 1
    most = Math.max(
      most,
      [...active.values()].reduce((sum, n) => sum + n, 0),
    )
    await new Promise((resolve) => setTimeout(resolve, 20))
    if (key === 'a') order.push(index)
    active.set(key, (active.get(key) ?? 0) - 1)
  })
  for (const index of [0, 1, 2, 3]) {
    await database.transaction((sql) =>
      running.queue.send(
        sql,
        ['a', `other-${index}`].map((key) => ({ key, data: { key, index } })),
      ),
    )
  }
  running.queue.wake()
  await expect.poll(() => order, { timeout: 10_000 }).toEqual([0, 1, 2, 3])
  expect(overlapped).toBe(false)
  expect(most).toBeGreaterThan(1)
})

/** Tasks that run until they are let go, by key and by whose turn it is. */
function held() {
  const running = new Map<unknown, () => void>()
  const began: unknown[] = []
  const handler: Handler = async ({ key }) => {
    if (typeof key !== 'string' || !key.startsWith('slow')) return void began.push(key)
    const { promise, resolve } = Promise.withResolvers<void>()
    running.set(key, resolve)
    began.push(key)
    await promise
  }
  const letGo = (key: string): void => running.get(key)?.()
  const end = (): void => {
    for (const resolve of running.values()) resolve()
  }
  return { handler, began, letGo, end }
}

const sendFor = (queue: Queue, turn: string, ...keys: string[]): Promise<void> =>
  database.transaction((sql) =>
    queue.send(
      sql,
      keys.map((key) => ({ key, turn, data: { key } })),
    ),
  )

test('a slow task holds one place: those that were fetched with it, and those after it, do not wait', async () => {
  const { handler, began, end } = held()
  await using running = await open(handler)
  await send(running.queue, 'slow', ...Array.from({ length: 20 }, (_, index) => `quick-${index}`))
  running.queue.wake()
  await expect.poll(() => began.length).toBe(21)
  await send(running.queue, 'later')
  running.queue.wake()
  await expect.poll(() => began.at(-1)).toBe('later')
  end()
})

test('the slow tasks of one service never hold every place, and who has nothing running goes first', async () => {
  const { handler, began, letGo, end } = held()
  await using running = await open(handler)
  const many = (of: string) => Array.from({ length: 20 }, (_, index) => `slow-${of}-${index}`)
  await sendFor(running.queue, 'service:a', ...many('a'))
  running.queue.wake()
  await expect.poll(() => began.length).toBe(7)
  await sendFor(running.queue, 'service:b', ...many('b'))
  running.queue.wake()
  await expect.poll(() => began.length).toBe(8)
  expect(began.at(-1)).toMatch('slow-b')
  // Both have many that wait and are older.
  await sendFor(running.queue, 'service:c', 'c')
  await sendFor(running.queue, 'service:d', 'd')
  const isTaken = `select 1 from pgboss.job where name = $1 and singleton_key in ('c', 'd') and state = 'active'`
  await expect.poll(() => database.query(isTaken, [running.name])).toHaveLength(2)
  letGo(String(began[0]))
  await expect.poll(() => began.slice(8, 10).sort()).toEqual(['c', 'd'])
  end()
})

test('takes many tasks at each look at the queue, since a look goes over all that wait', async () => {
  let looks = 0
  const counting: Database = {
    ...database,
    query: (text, values) => {
      if (text.includes('strict_fifo_heads')) looks += 1
      return database.query(text, values)
    },
  }
  let ran = 0
  await using queue = createPgBossQueue({
    database: counting,
    name: 'many',
    onError: (error) => console.error(error),
  })
  await queue.start(async () => void ran++)
  await sendFor(queue, 'service:a', ...Array.from({ length: 320 }, (_, index) => `quick-${index}`))
  queue.wake()
  await expect.poll(() => ran, { timeout: 25_000 }).toBe(320)
  expect(looks).toBeLessThan(160)
})

/**
 * Takes tasks from whoever has them, as is done with those of a process that was not heard of for 30 seconds.
 */
const lapse = (name: string, ...keys: string[]): Promise<unknown> =>
  database.query(
    `update pgboss.job set state = 'retry', start_after = now() + interval '1 hour'
     where name = $1 and singleton_key = any($2) and state = 'active'`,
    [name, keys],
  )
const isTaken = async (name: string, key: string): Promise<boolean> =>
  (
    await database.query(
      `select 1 from pgboss.job where name = $1 and singleton_key = $2 and state = 'active'`,
      [name, key],
    )
  ).length > 0

async function openOne(handler: Handler, beatMs: number): Promise<Running> {
  const name = `queue-${++count}`
  const errors: Error[] = []
  const onError = (error: Error) => errors.push(error)
  const queue = createPgBossQueue({ database, name, concurrency: 1, beatMs, onError })
  await queue.start(handler)
  return { queue, errors, name, [Symbol.asyncDispose]: () => queue.close() }
}

test('a task that waited here until it was given up is not begun, and those behind it are', async () => {
  const { handler, began, end } = held()
  await using running = await openOne(handler, 3_600_000)
  await send(running.queue, 'slow', 'lapsed', 'next')
  running.queue.wake()
  await expect.poll(() => began).toEqual(['slow'])
  await expect.poll(() => isTaken(running.name, 'lapsed')).toBe(true)
  await lapse(running.name, 'lapsed')
  end()
  await expect.poll(() => began).toEqual(['slow', 'next'])
  expect(running.errors).toEqual([])
  await database.query('update pgboss.job set start_after = now() where name = $1', [running.name])
  running.queue.wake()
  await expect.poll(() => began).toEqual(['slow', 'next', 'lapsed'])
})

test('a task that is given up while it runs is told, before it settles what is another’s by now', async () => {
  const told: unknown[] = []
  await using running = await openOne(
    (_, signal) =>
      new Promise((_resolve, reject) => {
        told.push('begun')
        signal.addEventListener('abort', () => {
          told.push('told')
          reject(signal.reason)
        })
      }),
    20,
  )
  await send(running.queue, 'a')
  running.queue.wake()
  await expect.poll(() => told).toEqual(['begun'])
  await lapse(running.name, 'a')
  await expect.poll(() => told).toEqual(['begun', 'told'])
  await expect
    .poll(() => running.errors.map(({ message }) => message))
    .toEqual(['This task was not heard of for too long, and is taken up anew.'])
  expect(
    await database.query('select state, retry_count from pgboss.job where name = $1', [running.name]),
  ).toEqual([{ state: 'retry', retry_count: 0 }])
})

test('a task that runs here and is taken here once more runs once', async () => {
  const began: AbortSignal[] = []
  await using running = await open(async (_, signal) => {
    began.push(signal)
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
  })
  await send(running.queue, 'a')
  running.queue.wake()
  await expect.poll(() => began.length).toBe(1)
  await database.query(`update pgboss.job set state = 'retry' where name = $1`, [running.name])
  running.queue.wake()
  await expect.poll(() => began.map(({ aborted }) => aborted)).toEqual([true, false])
})

test('tries a task again that failed, before later ones of its key', async () => {
  const ran: unknown[] = []
  await using running = await open(async ({ number }) => {
    ran.push(number)
    if (ran.length === 1) throw new Error('not yet')
  })
  for (const number of [1, 2]) {
    await database.transaction((sql) => running.queue.send(sql, [{ key: 'a', data: { number } }]))
  }
  running.queue.wake()
  await expect.poll(() => ran, { timeout: 10_000 }).toEqual([1, 1, 2])
  expect(running.errors.map(({ message }) => message)).toEqual(['not yet'])
})

test('aborts what runs at shutdown and runs it again at the next start', async () => {
  const begun = Promise.withResolvers<void>()
  const first = await open(
    (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason))
        begun.resolve()
      }),
  )
  await send(first.queue, 'a')
  first.queue.wake()
  await begun.promise
  const since = performance.now()
  await first.queue.close()
  expect(performance.now() - since).toBeLessThan(8_000)
  expect(first.errors).toEqual([])
  const ran = Promise.withResolvers<void>()
  await using second = await open(async () => ran.resolve(), first.name)
  await ran.promise
  expect(second.errors).toEqual([])
})

test('takes up at start what a killed process left running', async () => {
  const name = 'abandoned'
  const first = await open(async () => undefined, name)
  await first.queue.close()
  await database.transaction((sql) => first.queue.send(sql, [{ key: 'a', data: { key: 'a' } }]))
  // What kill -9 leaves behind: a task that is active for ever, without anybody who works on it.
  await database.query(`update pgboss.job set state = 'active', started_on = now() where name = $1`, [name])
  const ran = Promise.withResolvers<unknown>()
  await using second = await open(async ({ key }) => ran.resolve(key), name)
  expect(await ran.promise).toBe('a')
  expect(second.errors).toEqual([])
})

test('a task that its handler puts off runs again with what it was given, not before its time', async () => {
  const ran: unknown[] = []
  await using running = await open(async ({ tries }, _signal, continueLater) => {
    ran.push(tries)
    if (tries === 1) continueLater({ key: 'a', data: { tries: 2 }, afterSeconds: 3_600 })
  })
  const { queue, name } = running
  await database.transaction((sql) => queue.send(sql, [{ key: 'a', data: { tries: 1 } }]))
  queue.wake()
  const waiting = (): Promise<unknown[]> =>
    database.query(
      `select round(extract(epoch from start_after - now()) / 60)::int as minutes, retry_count from pgboss.job
       where name = $1 and state = 'created'`,
      [name],
    )
  await expect.poll(() => waiting()).toEqual([{ minutes: 60, retry_count: 0 }])
  queue.wake()
  expect(ran).toEqual([1])
  await database.query('update pgboss.job set start_after = now() where name = $1', [name])
  queue.wake()
  await expect.poll(() => ran).toEqual([1, 2])
  expect(await waiting()).toEqual([])
})

test('a task that is another’s by now is not put off as well', async () => {
  const [begun, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  await using running = await openOne(async (_data, _signal, continueLater) => {
    begun.resolve()
    await goesOn.promise
    continueLater({ key: 'a', data: {}, afterSeconds: 3_600 })
  }, 3_600_000)
  await send(running.queue, 'a')
  running.queue.wake()
  await begun.promise
  await lapse(running.name, 'a')
  goesOn.resolve()
  await running.queue.close()
  expect(await database.query('select state from pgboss.job where name = $1', [running.name])).toEqual([
    { state: 'retry' },
  ])
})

test('two queues share one pg-boss, which outlives either of them', async () => {
  await using boss = createBoss({ database, onError: (error) => console.error(error) })
  const ran: string[] = []
  const start = async (name: string) => {
    const queue = createPgBossQueue({ database, boss, name, onError: (error) => console.error(error) })
    await queue.start(async () => void ran.push(name))
    return queue
  }
  await using first = await start('first-of-two')
  await using second = await start('second-of-two')
  await first.close()
  await send(second, 'a')
  second.wake()
  await expect.poll(() => ran).toEqual(['second-of-two'])
})

async function openBatches(
  handler: BatchHandler,
  tasksMax: number,
  beatMs = 3_600_000,
  isNobodys?: (error: unknown) => boolean,
): Promise<Running> {
  const name = `queue-${++count}`
  const errors: Error[] = []
  const onError = (error: Error) => errors.push(error)
  const queue = createPgBossQueue({ database, name, beatMs, retryPauseSecondsMax: 0, onError })
  await queue.startBatches(handler, tasksMax, isNobodys)
  return { queue, errors, name, [Symbol.asyncDispose]: () => queue.close() }
}

const keysOf = (batch: readonly object[]): string[] =>
  batch.map((task) => ('key' in task ? String(task.key) : ''))

describe('a queue of batches', () => {
  const many = (of: string, length: number) => Array.from({ length }, (_, index) => `${of}-${index}`)

  test('hands over tasks of one turn together, so many at most and never of two', async () => {
    const batches: string[][] = []
    await using running = await openBatches(async (batch) => void batches.push(keysOf(batch)), 5)
    await sendFor(running.queue, 'service:a', ...many('a', 25))
    await sendFor(running.queue, 'service:b', ...many('b', 3))
    running.queue.wake()
    await expect.poll(() => batches.flat().length, { timeout: 10_000 }).toBe(28)
    expect(Math.max(...batches.map(({ length }) => length))).toBe(5)
    expect(batches.filter((batch) => new Set(batch.map(([first]) => first)).size > 1)).toEqual([])
    expect(new Set(batches.flat()).size).toBe(28)
  })

  test('tries those that failed together again one by one, so that one keeps no other out', async () => {
    const batches: string[][] = []
    const over: string[] = []
    await using running = await openBatches(async (batch) => {
      const keys = keysOf(batch)
      batches.push(keys)
      if (keys.includes('a-3') && batches.length < 8) throw new Error('of one of them')
      over.push(...keys)
    }, 10)
    await sendFor(running.queue, 'service:a', ...many('a', 5))
    running.queue.wake()
    await expect.poll(() => new Set(over).size, { timeout: 10_000 }).toBe(5)
    const [first, ...later] = batches
    expect(first).toHaveLength(5)
    expect(later.filter(({ length }) => length > 1)).toEqual([])
  })

  test('tries those that failed by nobody’s fault together again, until one fails otherwise', async () => {
    const batches: string[][] = []
    await using running = await openBatches(
      async (batch) => {
        batches.push(keysOf(batch))
        if (batches.length <= 2) throw new Error('away')
        if (batches.length === 3) throw new Error('of one of them')
      },
      10,
      undefined,
      (error) => error instanceof Error && error.message === 'away',
    )
    await sendFor(running.queue, 'service:a', ...many('a', 5))
    running.queue.wake()
    await expect.poll(() => batches.length, { timeout: 10_000 }).toBe(8)
    expect(batches.map(({ length }) => length)).toEqual([5, 5, 5, 1, 1, 1, 1, 1])
  })

  test('spreads what waits over the places that are free for it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const batches: string[][] = []
    await using running = await openBatches((batch) => {
      batches.push(keysOf(batch))
      return promise
    }, 70)
    await sendFor(running.queue, 'service:a', ...many('a', 70))
    running.queue.wake()
    await expect.poll(() => batches.flat().length, { timeout: 10_000 }).toBe(70)
    expect(batches.map(({ length }) => length)).toEqual([10, 10, 10, 10, 10, 10, 10])
    resolve()
  })

  test('ends those that are done while another of the batch goes on, and fails no more than that one', async () => {
    const held = Promise.withResolvers<void>()
    const batches: string[][] = []
    await using running = await openBatches(async (batch, { done }) => {
      batches.push(keysOf(batch))
      if (batches.length > 1) return
      await done(batch.slice(1))
      await held.promise
      throw new Error('of the first')
    }, 10)
    await sendFor(running.queue, 'service:a', ...many('a', 4))
    running.queue.wake()
    const states = () =>
      database.query(
        'select state, count(*)::int as tasks from pgboss.job where name = $1 group by state order by state',
        [running.name],
      )
    await expect.poll(states, { timeout: 10_000 }).toEqual([
      { state: 'active', tasks: 1 },
      { state: 'completed', tasks: 3 },
    ])
    held.resolve()
    await expect.poll(() => batches.length, { timeout: 10_000 }).toBe(2)
    expect(batches[1]).toEqual(batches[0]?.slice(0, 1))
  })

  test('tells a batch whose task is given up, and begins none of it that lapsed before', async () => {
    const told = Promise.withResolvers<unknown>()
    const batches: string[][] = []
    await using running = await openBatches(
      (batch, { signal }) => {
        batches.push(keysOf(batch))
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            told.resolve(signal.reason)
            reject(signal.reason)
          })
        })
      },
      10,
      20,
    )
    await sendFor(running.queue, 'service:a', ...many('a', 3))
    running.queue.wake()
    await expect.poll(() => batches.length).toBe(1)
    await lapse(running.name, 'a-1')
    expect(String(await told.promise)).toContain('is taken up anew')
  })
})
