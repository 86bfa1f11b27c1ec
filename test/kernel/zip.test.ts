import { expect, test } from 'vitest'
import { readZip, writeZip, ZipError } from '../../src/kernel/zip.ts'
import fc from '../support/properties.ts'
import { deflated } from '../support/zip.ts'

test('reads back what it wrote, names and bytes', () => {
  const file = fc.record({
    name: fc.string({ minLength: 1, unit: 'grapheme' }),
    bytes: fc.uint8Array({ maxLength: 200 }),
  })
  fc.assert(
    fc.property(fc.array(file), (files) => {
      const read = readZip(writeZip(files)).map((entry) => ({ name: entry.name, bytes: entry.read(200) }))
      expect(read.map(({ name, bytes }) => [name, [...bytes]])).toEqual(
        files.map(({ name, bytes }) => [name, [...bytes]]),
      )
    }),
  )
})

function outcome<T>(work: () => T): T | unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}

test('throws only its own error for whatever bytes', () => {
  const whole = writeZip([{ name: 'a', bytes: Buffer.from('hello') }])
  const damaged = fc
    .array(fc.record({ at: fc.nat(whole.length - 1), value: fc.nat(255) }), { maxLength: 6 })
    .map((changes) => {
      const bytes = Uint8Array.from(whole)
      for (const { at, value } of changes) bytes[at] = value
      return bytes
    })
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array()), (bytes) => {
      expect(outcome(() => readZip(bytes).map((entry) => entry.read(1000).length))).toSatisfy(
        (result) =>
          result instanceof ZipError || (Array.isArray(result) && result.every((size) => size <= 1000)),
      )
    }),
    { numRuns: 500 },
  )
})

test('unpacks deflated entries, and stops a bomb that lies about its size', () => {
  const zeros = new Uint8Array(10_000_000)
  expect(readZip(deflated('z', zeros))[0]?.read(10_000_000)).toHaveLength(10_000_000)
  const [bomb] = readZip(deflated('z', zeros, 10))
  expect(bomb?.sizeDeclared).toBe(10)
  expect(() => bomb?.read(1_000_000)).toThrow(expect.objectContaining({ code: 'too_large' }))
})
