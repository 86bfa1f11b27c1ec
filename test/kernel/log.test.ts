import { expect, test } from 'vitest'
import { logLine } from '../../src/kernel/log.ts'

const at = new Date(0)

test('a line of the log is one line of JSON with its time, its event and its fields', () => {
  expect(logLine(at, 'index_ready', { tuples: 3, reason: 'a\nb' })).toBe(
    '{"at":"1970-01-01T00:00:00.000Z","event":"index_ready","tuples":3,"reason":"a\\nb"}',
  )
  expect(logLine(at, 'index_ready')).toBe('{"at":"1970-01-01T00:00:00.000Z","event":"index_ready"}')
})

test('what a caller gets into a field fills no log, in any field, at any depth, and however it is written', () => {
  for (const own of ['A'.repeat(100_000), '\u0001'.repeat(100_000), '\ud800'.repeat(100_000)])
    for (const fields of [
      { reason: own },
      { stack: own },
      { tuples: Array.from({ length: 1_000 }, () => own) },
      { deep: { deeper: { reason: own } } },
      { [own]: 1 },
      Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`field ${index}`, own])),
    ]) {
      const line = logLine(at, 'mcp_refused', fields)
      expect(line.length).toBeLessThan(70_000)
      expect(JSON.parse(line)).toMatchObject({ event: 'mcp_refused', at: at.toISOString() })
    }
})

test('a reason and a stack as they come are whole', () => {
  const [reason, stack] = ['r'.repeat(1_000), 's'.repeat(8_000)]
  expect(JSON.parse(logLine(at, 'request_failed', { reason, stack }))).toMatchObject({ reason, stack })
})
