import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { firstIssue } from '../../src/kernel/validation-message.ts'

const schema = z.strictObject({
  name: z.string().min(1).max(3),
  size: z.coerce.number().int().min(0).max(64),
  part: z.number().gt(0),
  kind: z.enum(['a', 'b']),
  list: z.array(z.string()).max(1),
  on: z.boolean(),
  at: z.iso.datetime({ offset: true }),
  content: z.base64(),
  own: z.string('must be a word of ours'),
})

const right = {
  name: 'a',
  size: 1,
  part: 1,
  kind: 'a',
  list: [],
  on: true,
  at: '2026-11-01T00:00:00Z',
  content: '',
  own: '',
}

function wrong(changed: object): string {
  const { error } = schema.safeParse({ ...right, ...changed })
  if (error === undefined) return 'right'
  const { path, says } = firstIssue(error)
  return `${path.join('.')} ${says}`
}

describe('what is wrong with what was sent', () => {
  test.each<[object, string]>([
    [{}, 'right'],
    [{ name: undefined }, 'name is missing'],
    [{ name: 7 }, 'name must be a string'],
    [{ name: '' }, 'name must have at least 1 character'],
    [{ name: 'abcd' }, 'name must have at most 3 characters'],
    [{ size: 'two' }, 'size must be a number'],
    [{ size: '1.5' }, 'size must be a whole number'],
    [{ size: '-1' }, 'size must be at least 0'],
    [{ size: '65' }, 'size must be at most 64'],
    [{ part: 0 }, 'part must be more than 0'],
    [{ kind: 'c' }, 'kind must be one of a, b'],
    [{ list: 'a' }, 'list must be a list'],
    [{ list: [7] }, 'list.0 must be a string'],
    [{ list: ['a', 'b'] }, 'list must have at most 1 member'],
    [{ on: 'yes' }, 'on must be true or false'],
    [{ at: '2026-11-01' }, 'at must be a time with its zone, such as 2026-11-01T00:00:00Z'],
    [{ content: 'JVBERi0…' }, 'content must be base64'],
    [{ own: 7 }, 'own must be a word of ours'],
  ])('%j: says what it takes', (changed, says) => {
    expect(wrong(changed)).toBe(says)
  })

  test('a misspelt name is named before the one that is missing for it', () => {
    expect(wrong({ name: undefined, naem: 'a' })).toBe('naem This member is not known.')
  })

  test.each([
    ['a\0b', 'a⟨U+0000⟩b'],
    ['a\u202Eb', 'a⟨U+202E⟩b'],
    ['a\uD800', 'a⟨U+D800⟩'],
    ['x'.repeat(1_000), 'x'.repeat(200)],
  ])('a name that its sender made up can be stored and read: %j', (name, shown) => {
    expect(wrong({ [name]: 1 })).toBe(`${shown} This member is not known.`)
  })
})
