import { expect, test } from 'vitest'
import { createSerialQueue } from '../../src/kernel/serial-queue.ts'

/** Work that ends when it is told to. */
function held(log: string[], name: string) {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const work = async () => {
    log.push(`${name} begins`)
    try {
      return await promise
    } finally {
      log.push(`${name} ends`)
    }
  }
  return { work, end: () => resolve(name), fail: () => reject(new Error(name)) }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

test('a serial queue runs one piece of work at a time, in the order in which it came', async () => {
  const log: string[] = []
  const queue = createSerialQueue()
  const [a, b] = [held(log, 'a'), held(log, 'b')]
  const results = [queue.run(a.work), queue.run(b.work)]
  b.end()
  await turn()
  expect(log).toEqual(['a begins'])
  a.end()
  expect(await Promise.all(results)).toEqual(['a', 'b'])
  expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends'])
})

test('a serial queue goes on after work that fails, and only its caller gets the error', async () => {
  const queue = createSerialQueue()
  const failing = queue.run(() => Promise.reject(new Error('broken')))
  const next = queue.run(async () => 'next')
  await expect(failing).rejects.toThrow('broken')
  expect(await next).toBe('next')
})

test('shared work of a serial queue begins after the call, once for all who wait for it', async () => {
  const log: string[] = []
  const queue = createSerialQueue()
  const runs = [held(log, '1'), held(log, '2')]
  let begun = 0
  const shared = queue.shared(() => runs[begun++]?.work() ?? Promise.reject(new Error('too many runs')))
  const first = shared()
  await turn()
  const later = [shared(), shared()]
  runs[0]?.end()
  runs[1]?.end()
  expect(await first).toBe('1')
  expect(await Promise.all(later)).toEqual(['2', '2'])
  expect(begun).toBe(2)
})

test('a serial queue is idle only when all that came before has ended, failed work included', async () => {
  const log: string[] = []
  const queue = createSerialQueue()
  const work = held(log, 'a')
  const failing = queue.run(work.work)
  const idle = queue.idle().then(() => log.push('idle'))
  await turn()
  expect(log).toEqual(['a begins'])
  work.fail()
  await expect(failing).rejects.toThrow('a')
  await idle
  expect(log).toEqual(['a begins', 'a ends', 'idle'])
})

test('a full serial queue refuses at once, and takes work again when some has ended', async () => {
  const log: string[] = []
  const queue = createSerialQueue({ pendingMax: 2, full: () => new Error('full') })
  const work = held(log, 'a')
  const running = [queue.run(work.work), queue.run(async () => 'b')]
  await expect(queue.run(async () => 'c')).rejects.toThrow('full')
  work.end()
  expect(await Promise.all(running)).toEqual(['a', 'b'])
  expect(await queue.run(async () => 'd')).toBe('d')
})

test('shared work that a full serial queue refused is tried again by the next call', async () => {
  const log: string[] = []
  const queue = createSerialQueue({ pendingMax: 1, full: () => new Error('full') })
  const shared = queue.shared(async () => 'done')
  const work = held(log, 'a')
  const running = queue.run(work.work)
  await expect(shared()).rejects.toThrow('full')
  work.end()
  await running
  expect(await shared()).toBe('done')
})
