import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { unlessAborted } from '../../src/kernel/with-timeout.ts'

test('work that fails when nobody waits for it any more ends nothing else', async () => {
  const unheard: unknown[] = []
  const hear = (reason: unknown) => void unheard.push(reason)
  process.prependListener('unhandledRejection', hear)
  try {
    const over = AbortSignal.abort(new Error('over'))
    const { promise, reject } = Promise.withResolvers<never>()
    await expect(unlessAborted(promise, over)).rejects.toThrow('over')
    reject(new Error('late'))
    await turn()
    await turn()
    expect(unheard).toEqual([])
  } finally {
    process.off('unhandledRejection', hear)
  }
})
