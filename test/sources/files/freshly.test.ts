import { expect, test } from 'vitest'
import { freshly } from '../../../src/sources/kinds/files/freshly.ts'

test('whoever asks while a thing is done waits for the next time it is done, and all of them for the same', async () => {
  const begun: PromiseWithResolvers<number>[] = []
  const ask = freshly(() => {
    const work = Promise.withResolvers<number>()
    begun.push(work)
    return work.promise
  })
  const first = ask()
  await Promise.resolve()
  await Promise.resolve()
  const others = [ask(), ask()]
  expect(begun).toHaveLength(1)
  begun[0]?.reject(new Error('It failed.'))
  await expect(first).rejects.toThrow('It failed.')
  await Promise.resolve()
  expect(begun).toHaveLength(2)
  begun[1]?.resolve(2)
  expect(await Promise.all(others)).toEqual([2, 2])
})
