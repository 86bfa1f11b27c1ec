import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { createLimiter } from '../../../src/authz/gate/limiter.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Work that ends when told to, and says when it has begun. */
function work() {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const begun: string[] = []
  const run = (name: string) => async () => {
    begun.push(name)
    return promise
  }
  return { run, begun, end: () => resolve('done'), fail: () => reject(new Error('broken')) }
}

test('no more permits are out than there are, and what waits begins when they come back', async () => {
  const limiter = createLimiter(10)
  const first = work()
  const second = work()
  const one = limiter.run(6, undefined, first.run('one'))
  const two = limiter.run(6, undefined, second.run('two'))
  await turn()
  expect([first.begun, second.begun]).toEqual([['one'], []])
  first.end()
  expect(await one).toBe('done')
  await turn()
  expect(second.begun).toEqual(['two'])
  second.end()
  await two
})

test('never, however the requests come, are more than all permits out', async () => {
  const limiter = createLimiter(20)
  let out = 0
  let most = 0
  const sizes = Array.from({ length: 300 }, (_, index) => 1 + ((index * 7) % 20))
  await Promise.all(
    sizes.map((size) =>
      limiter.run(size, undefined, async () => {
        out += size
        most = Math.max(most, out)
        await turn()
        out -= size
      }),
    ),
  )
  expect([out, most]).toEqual([0, 20])
})

test('first come, first served: small ones do not go past a large one', async () => {
  const limiter = createLimiter(10)
  const holding = work()
  const rest = work()
  void limiter.run(5, undefined, holding.run('holds half'))
  const large = limiter.run(10, undefined, rest.run('large'))
  const small = limiter.run(1, undefined, rest.run('small'))
  await turn()
  expect(rest.begun).toEqual([])
  holding.end()
  await turn()
  expect(rest.begun).toEqual(['large'])
  rest.end()
  await Promise.all([large, small])
  expect(rest.begun).toEqual(['large', 'small'])
})

test('whoever stops waiting leaves no permit behind, and no place that others wait for', async () => {
  const limiter = createLimiter(10)
  const holding = work()
  const rest = work()
  const held = limiter.run(5, undefined, holding.run('holds half'))
  const stop = new AbortController()
  const large = limiter.run(10, stop.signal, rest.run('large'))
  const small = limiter.run(5, undefined, rest.run('small'))
  await turn()
  stop.abort(new Error('too late'))
  await expect(large).rejects.toThrow('too late')
  await turn()
  expect(rest.begun).toEqual(['small'])
  holding.end()
  rest.end()
  await Promise.all([held, small])
  // All ten are there again.
  await expect(limiter.run(10, undefined, async () => 'all')).resolves.toBe('all')
})

test('whoever is over before it asks is not let in', async () => {
  const limiter = createLimiter(1)
  const late = work()
  await expect(limiter.run(1, AbortSignal.abort(new Error('over')), late.run('late'))).rejects.toThrow('over')
  expect(late.begun).toEqual([])
})

test('work that has begun is not stopped, and nothing of it stays with its signal', async () => {
  const limiter = createLimiter(1)
  const begun = work()
  const stop = new AbortController()
  const done = limiter.run(1, stop.signal, begun.run('one'))
  await turn()
  expect([begun.begun, getEventListeners(stop.signal, 'abort')]).toEqual([['one'], []])
  stop.abort(new Error('too late'))
  begun.end()
  expect(await done).toBe('done')
})

test('work that fails gives its permits back', async () => {
  const limiter = createLimiter(3)
  const failing = work()
  const failed = limiter.run(3, undefined, failing.run('fails'))
  failing.fail()
  await expect(failed).rejects.toThrow('broken')
  await expect(limiter.run(3, undefined, async () => 'next')).resolves.toBe('next')
})

test('more than all permits count as all: it waits for everyone, and is let in', async () => {
  await expect(createLimiter(3).run(50, undefined, async () => 'in')).resolves.toBe('in')
})
