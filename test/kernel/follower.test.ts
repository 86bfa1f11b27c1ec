import { expect, onTestFinished, test } from 'vitest'
import { createFollower, type FollowerOptions } from '../../src/kernel/follower.ts'

const turns = async (count = 20) => {
  for (let at = 0; at < count; at++) await Promise.resolve()
}

/** A follower on a clock of its own: `pass` moves it, and runs the poll that comes due. */
function follow(options: Partial<FollowerOptions<AsyncDisposable>> = {}) {
  const clock = { now: 0 }
  const timers = new Set<{ readonly at: number; readonly then: () => void }>()
  const said: string[] = []
  const follower = createFollower<AsyncDisposable>({
    read: async () => undefined,
    pollMs: 100,
    elapsed: () => clock.now,
    onFailed: (error, failures) => said.push(`failed ${failures}: ${(error as Error).message}`),
    onRecovered: () => said.push('recovered'),
    timer: (ms, then) => {
      const timer = { at: clock.now + ms, then }
      timers.add(timer)
      return () => void timers.delete(timer)
    },
    ...options,
  })
  onTestFinished(() => follower[Symbol.asyncDispose]())
  return {
    follower,
    said,
    /** When each timer goes off that nobody cancelled. */
    dueAt: () => [...timers].map(({ at }) => at),
    async pass(ms: number) {
      clock.now += ms
      for (const timer of [...timers].filter(({ at }) => at <= clock.now)) {
        timers.delete(timer)
        timer.then()
      }
      await turns()
    },
  }
}

test('a follower reads one at a time, and whoever asks during a read gets one that begins later', async () => {
  const reads: PromiseWithResolvers<void>[] = []
  const { follower } = follow({
    read: () => {
      const read = Promise.withResolvers<void>()
      reads.push(read)
      return read.promise
    },
  })
  const before = follower.refresh()
  await turns()
  const during = [follower.refresh(), follower.refresh()]
  await turns()
  expect(reads).toHaveLength(1)
  reads[0]?.resolve()
  await before
  await turns()
  expect(reads).toHaveLength(2)
  reads[1]?.resolve()
  await Promise.all(during)
  expect(reads).toHaveLength(2)
})

test('other work of a follower does not overlap its reads', async () => {
  const read = Promise.withResolvers<void>()
  const log: string[] = []
  const { follower } = follow({
    read: async () => {
      await read.promise
      log.push('read')
    },
  })
  const both = [follower.refresh(), follower.run(async () => void log.push('work'))]
  await turns()
  expect(log).toEqual([])
  read.resolve()
  await Promise.all(both)
  expect(log).toEqual(['read', 'work'])
})

test('a follower is as fresh as the beginning of its last read that came through', async () => {
  const outcome = { isBroken: false }
  const { follower, pass } = follow({
    read: async () => {
      if (outcome.isBroken) throw new Error('away')
    },
  })
  expect(follower.isFresh(1_000_000)).toBe(false)
  await follower.refresh()
  await pass(50)
  expect([follower.readAt, follower.isFresh(50), follower.isFresh(49)]).toEqual([0, true, false])
  outcome.isBroken = true
  await expect(follower.refresh()).rejects.toThrow('away')
  expect(follower.readAt).toBe(0)
})

test('a read that takes long leaves a follower as old as its beginning', async () => {
  const read = Promise.withResolvers<void>()
  const { follower, pass } = follow({ read: () => read.promise })
  const reading = follower.refresh()
  await turns()
  await pass(80)
  read.resolve()
  await reading
  expect([follower.readAt, follower.isFresh(79)]).toEqual([0, false])
})

test('a follower polls again so long after the end of a poll, and tells each failure and the recovery', async () => {
  const outcome = { isBroken: true }
  const { follower, said, pass, dueAt } = follow({
    read: async () => {
      if (outcome.isBroken) throw new Error('away')
    },
    retryMs: (failures) => 10 * failures,
  })
  follower.start()
  await pass(100)
  expect(dueAt()).toEqual([110])
  await pass(10)
  expect(dueAt()).toEqual([130])
  outcome.isBroken = false
  await pass(20)
  expect(dueAt()).toEqual([230])
  await pass(100)
  expect(said).toEqual(['failed 1: away', 'failed 2: away', 'recovered'])
})

test('a poll that is asked for early takes the place of the one that is due', async () => {
  let reads = 0
  const { follower, pass, dueAt } = follow({
    read: async () => {
      reads += 1
    },
  })
  follower.start()
  follower.start(5)
  expect(dueAt()).toEqual([5])
  await pass(5)
  expect([reads, dueAt()]).toEqual([1, [105]])
})

test('a follower that does not poll still retries when it is told to, until it comes through', async () => {
  const outcome = { isBroken: true }
  const { follower, pass, dueAt } = follow({
    pollMs: undefined,
    retryMs: () => 10,
    read: async () => {
      if (outcome.isBroken) throw new Error('away')
    },
  })
  follower.start()
  expect(dueAt()).toEqual([])
  follower.start(10)
  await pass(10)
  expect(dueAt()).toEqual([20])
  outcome.isBroken = false
  await pass(10)
  expect(dueAt()).toEqual([])
})

function connections() {
  const log: string[] = []
  const connect = async () => {
    const name = `connection ${log.filter((line) => line.endsWith('opened')).length + 1}`
    log.push(`${name} opened`)
    return {
      name,
      async [Symbol.asyncDispose]() {
        log.push(`${name} closed`)
      },
    }
  }
  return { log, connect }
}

test('a follower reads over its connection, opens another after a poll that failed, and refreshes past it', async () => {
  const { log, connect } = connections()
  const outcome = { isBroken: false }
  const { follower } = follow({
    connect,
    read: async (connection) => {
      log.push(connection === undefined ? 'read past it' : 'read over it')
      if (outcome.isBroken) throw new Error('away')
    },
  })
  await follower.poll()
  await follower.refresh()
  outcome.isBroken = true
  await follower.poll()
  outcome.isBroken = false
  await follower.poll()
  expect(log).toEqual([
    'connection 1 opened',
    'read over it',
    'read past it',
    'read over it',
    'connection 1 closed',
    'connection 2 opened',
    'read over it',
  ])
})

test('a change that is told wakes a follower; where that read fails it is told, and the connection stays', async () => {
  const { log, connect } = connections()
  const outcome = { isBroken: false }
  const { follower, said } = follow({
    connect,
    read: async () => {
      if (outcome.isBroken) throw new Error('away')
      log.push('read')
    },
  })
  await follower.poll()
  follower.wake()
  await turns()
  outcome.isBroken = true
  follower.wake()
  await turns()
  expect(log).toEqual(['connection 1 opened', 'read', 'read'])
  expect(said).toEqual(['failed 1: away'])
})

test('a change that is told while there is no connection opens one: nothing is read past it', async () => {
  const { log, connect } = connections()
  const outcome = { isBroken: false, isAway: false }
  const { follower, said } = follow({
    connect: async () => {
      if (outcome.isAway) throw new Error('cut')
      return connect()
    },
    read: async (connection) => {
      log.push(connection === undefined ? 'read past it' : 'read over it')
      if (outcome.isBroken) throw new Error('away')
    },
  })
  outcome.isBroken = true
  await follower.poll()
  outcome.isBroken = false
  outcome.isAway = true
  follower.wake()
  await turns()
  outcome.isAway = false
  follower.wake()
  await turns()
  expect(log).toEqual([
    'connection 1 opened',
    'read over it',
    'connection 1 closed',
    'connection 2 opened',
    'read over it',
  ])
  expect(said).toEqual(['failed 1: away', 'failed 2: cut'])
})

test('the end of a follower waits for what is under way, closes its connection and lets nothing begin', async () => {
  const { log, connect } = connections()
  const read = Promise.withResolvers<void>()
  const { follower, said, pass, dueAt } = follow({ connect, read: () => read.promise })
  follower.start()
  await pass(100)
  const ending = follower[Symbol.asyncDispose]().then(() => log.push('ended'))
  await turns()
  expect(log).toEqual(['connection 1 opened'])
  read.reject(new Error('cut off'))
  await ending
  expect(log).toEqual(['connection 1 opened', 'connection 1 closed', 'ended'])
  expect([said, dueAt()]).toEqual([[], []])
  follower.start(1)
  expect(dueAt()).toEqual([])
  follower.wake()
  await turns()
  expect(log).toEqual(['connection 1 opened', 'connection 1 closed', 'ended'])
})
