import { expect, test } from 'vitest'
import { createByteLru } from '../../../src/retrieval/access-filter/byte-lru.ts'

const bounded = (bytesMax: number, entriesMax: number) =>
  createByteLru<string>({ bytesMax, entriesMax, bytesOf: (key, value) => key.length + value.length })

test('keeps so many bytes of keys and values, and the latest even where it is larger', () => {
  const kept = bounded(10, 100)
  for (const key of ['a', 'b']) kept.set(key, 'xxxx')
  expect(kept.get('a')).toBe('xxxx')
  kept.set('cccc', 'x')
  expect([...kept.values()]).toEqual(['xxxx', 'x'])
  expect(kept.get('b')).toBeUndefined()
  kept.set('large', 'x'.repeat(20))
  expect([...kept.values()]).toEqual(['x'.repeat(20)])
})

test('keeps so many values, however small they are', () => {
  const kept = bounded(1_000_000, 3)
  for (let at = 0; at < 50; at++) kept.set(`k${at}`, `${at}`)
  expect([...kept.values()]).toEqual(['47', '48', '49'])
})
