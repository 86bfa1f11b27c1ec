import { expect, test } from 'vitest'
import { checkText } from '../../src/authz/model/check.ts'
import { readDsl } from '../../src/authz/model/dsl.ts'
import { TextError } from '../../src/authz/text-error.ts'

const nested = (depth: number): string =>
  `model\n  schema 1.1\ntype user\ntype document\n  relations\n    define a: [user]\n    define b: ${'('.repeat(depth)}a${')'.repeat(depth)}\n`

test('a model’s text that is nested deeper than anybody writes is refused before it is read', () => {
  const began = process.cpuUsage()
  expect(checkText(nested(150)).problems).toMatchObject([
    { line: 7, message: expect.stringMatching(/nested/) },
  ])
  expect(() => readDsl(nested(150))).toThrow(TextError)
  expect(process.cpuUsage(began).user).toBeLessThan(200_000)
  expect(checkText(nested(4)).problems).toEqual([])
})
