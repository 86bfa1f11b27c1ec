import { setImmediate as tick } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createSharedLock } from '../../src/ingest/shared-lock.ts'

/** Work that ends when it is told to; `inside` says what is being done. */
function opened() {
  const turnstile = createSharedLock()
  const inside: string[] = []
  const ends = new Map<string, () => void>()
  return {
    inside,
    come(name: string): void {
      void turnstile.pass(name.startsWith('alone'), async () => {
        inside.push(name)
        await new Promise<void>((resolve) => ends.set(name, resolve))
        inside.splice(inside.indexOf(name), 1)
      })
    },
    async end(name: string): Promise<void> {
      ends.get(name)?.()
      await tick()
    },
  }
}

test('whoever waits is let in between two that go in alone, and those that came later keep neither out', async () => {
  const { inside, come, end } = opened()
  for (const name of ['alone 1', 'alone 2', 'alone 3', 'a', 'b']) come(name)
  await tick()
  expect(inside).toEqual(['alone 1'])
  await end('alone 1')
  expect(inside).toEqual(['a', 'b'])
  come('c')
  await end('a')
  expect(inside).toEqual(['b'])
  await end('b')
  expect(inside).toEqual(['alone 2'])
  await end('alone 2')
  expect(inside).toEqual(['c'])
  await end('c')
  expect(inside).toEqual(['alone 3'])
})
