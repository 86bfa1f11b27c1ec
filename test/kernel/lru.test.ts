import { expect, test } from 'vitest'
import { createLru } from '../../src/kernel/lru.ts'

const keysOf = (lru: { entries(): Iterable<readonly [string, string]> }) =>
  [...lru.entries()].map(([key]) => key)

const byBytes = (weightMax: number, entriesMax = 100) =>
  createLru<string>({ weightMax, entriesMax, weightOf: (key, value) => key.length + value.length })

test('an LRU keeps so much weight of keys and values, and the latest even where it is larger', () => {
  const lru = byBytes(10)
  for (const key of ['a', 'b']) lru.set(key, 'xxxx')
  expect(lru.get('a')).toBe('xxxx')
  lru.set('cccc', 'x')
  expect(keysOf(lru)).toEqual(['a', 'cccc'])
  expect(lru.get('b')).toBeUndefined()
  lru.set('large', 'x'.repeat(20))
  expect(keysOf(lru)).toEqual(['large'])
})

test('an LRU keeps so many values, however small they are', () => {
  const lru = byBytes(1_000_000, 3)
  for (let at = 0; at < 50; at++) lru.set(`k${at}`, `${at}`)
  expect(keysOf(lru)).toEqual(['k47', 'k48', 'k49'])
  expect(lru.size).toBe(3)
})

test('an LRU drops the value that was not used for longest: a look by peek is no use', () => {
  const lru = createLru<string>({ entriesMax: 2 })
  lru.set('a', '1')
  lru.set('b', '2')
  expect(lru.peek('a')).toBe('1')
  lru.set('c', '3')
  expect(keysOf(lru)).toEqual(['b', 'c'])
  expect(lru.get('b')).toBe('2')
  lru.set('d', '4')
  expect(keysOf(lru)).toEqual(['b', 'd'])
})

test('an LRU weighs a value anew when its key is set again, and forgets the weight of what is deleted', () => {
  const lru = byBytes(10)
  lru.set('a', 'xxxxxxxxx')
  lru.set('a', 'x')
  lru.set('b', 'xxxxxxx')
  expect(keysOf(lru)).toEqual(['a', 'b'])
  lru.delete('b')
  lru.set('c', 'xxxxxxx')
  expect(keysOf(lru)).toEqual(['a', 'c'])
  lru.clear()
  lru.set('d', 'xxxxxxxxx')
  expect(keysOf(lru)).toEqual(['d'])
})

test('an LRU tells of each value that goes, but not of one that its own key replaces', () => {
  const gone: string[] = []
  const lru = createLru<string>({ entriesMax: 2, onDrop: (value) => gone.push(value) })
  lru.set('a', '1')
  lru.set('a', '2')
  lru.set('b', '3')
  lru.set('c', '4')
  lru.delete('b')
  lru.delete('never there')
  lru.clear()
  expect(gone).toEqual(['2', '3', '4'])
})
