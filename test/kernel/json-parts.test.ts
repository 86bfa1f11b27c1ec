import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { hasTooManyParts, partsMax } from '../../src/kernel/json-parts.ts'

const many = partsMax + 1

test.each([
  ['lists', '['.repeat(many)],
  ['empty objects', `[${'{},'.repeat(many / 2 + 1)}{}]`],
  ['members', `{${'"a":1,'.repeat(many)}"a":1}`],
  ['numbers', `[${'1,'.repeat(many)}1]`],
  ['what stands behind a text that ends in a backslash', `["\\\\",${'1,'.repeat(many)}1]`],
])('a JSON text of too many %s is told before it is parsed', async (_, text) => {
  expect(await hasTooManyParts(text)).toBe(true)
})

test.each([
  ['just as many as are taken', `[${'1,'.repeat(partsMax - 1)}1]`],
  ['brackets and commas within a text', JSON.stringify({ text: '[{,"\\'.repeat(many) })],
  ['none', '"x"'],
])('a JSON text of %s is not', async (_, text) => {
  expect(await hasTooManyParts(text)).toBe(false)
})

test('20 MB of nothing else cost a quarter of a second of processor at most', async () => {
  const texts = ['['.repeat(20_000_000), JSON.stringify({ text: 'word "x" \n'.repeat(1_600_000) })]
  const before = process.threadCpuUsage()
  expect(await Promise.all(texts.map(hasTooManyParts))).toEqual([true, false])
  const { user, system } = process.threadCpuUsage(before)
  expect((user + system) / 1_000).toBeLessThan(250)
})

test('20 MB of one text are read in turns, between which others have theirs', async () => {
  let turns = 0
  let isRead = false
  const reading = hasTooManyParts(JSON.stringify({ text: 'x'.repeat(20_000_000) })).then((answer) => {
    isRead = true
    return answer
  })
  while (!isRead) {
    await turn()
    turns += 1
  }
  expect(await reading).toBe(false)
  expect(turns).toBeGreaterThanOrEqual(20)
})
