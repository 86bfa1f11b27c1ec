import { expect, test } from 'vitest'
import { cursorAt, positionIn } from '../../src/kernel/cursor.ts'
import { reasonOf } from '../../src/kernel/reason.ts'

const read = ([name, number]: readonly unknown[]) =>
  typeof name === 'string' && typeof number === 'number' ? { name, number } : undefined

test('a cursor gives back the position that it was made for, and the first page has none', () => {
  expect(positionIn(cursorAt(['ä/b', 7]), read)).toEqual({ name: 'ä/b', number: 7 })
  expect(positionIn(undefined, read)).toBeUndefined()
})

test.each([
  ['of another list', cursorAt([7, 'a'])],
  ['that is no list', Buffer.from('{"name":"a"}').toString('base64url')],
  ['that is no JSON', Buffer.from('[').toString('base64url')],
  ['that is no base64', '%%%'],
  ['that is empty', ''],
])('a cursor %s is refused by name, and begins no first page', (_, cursor) => {
  expect(() => positionIn(cursor, read)).toThrow(
    expect.objectContaining({ code: 'invalid_request', field: 'cursor' }),
  )
})

test('the reason of what was thrown is its message, and says so where it has none', () => {
  expect([reasonOf(new TypeError('no')), reasonOf('no'), reasonOf(undefined)]).toEqual([
    'no',
    'thrown value',
    'thrown value',
  ])
})
