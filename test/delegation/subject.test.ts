import { expect, test } from 'vitest'
import { accountKey, isKey, ownUser, subjectKey } from '../../src/delegation/registry/subject.ts'
import fc from '../support/properties.ts'

test('keeps what is plain and writes every other byte as %XX', () => {
  expect(subjectKey('anne@example.org')).toBe('anne@example.org')
  expect(subjectKey('auth0|123')).toBe('auth0%7C123')
  expect(subjectKey('a/b:c#d*%')).toBe('a%2Fb%3Ac%23d%2A%25')
  expect(subjectKey('é')).toBe('%C3%A9')
  expect(subjectKey('\0')).toBe('%00')
})

test('a long one becomes a digest, from 121 bytes on', () => {
  expect(subjectKey('a'.repeat(120))).toBe('a'.repeat(120))
  expect(subjectKey('a'.repeat(121))).toMatch(/^h\.[\w-]{43}$/)
})

test('nobody can register as somebody else’s digest', () => {
  const digest = subjectKey('a'.repeat(121)) ?? ''
  expect(subjectKey(digest)).not.toBe(digest)
  expect(subjectKey('h.smith')).toBe('h.smith')
})

test('what has no faithful bytes has no key', () => {
  expect(subjectKey('')).toBeUndefined()
  expect(subjectKey('\ud800')).toBeUndefined()
})

test('two different subs never share a key, and every key stands after user: as it is', () => {
  const sub = fc.oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }),
    fc.string({ minLength: 1, maxLength: 10 }),
  )
  fc.assert(
    fc.property(sub, sub, (one, other) => {
      const [a, b] = [subjectKey(one), subjectKey(other)]
      if (a === undefined || b === undefined) return
      expect(a === b).toBe(one === other)
      expect(a).toMatch(/^[A-Za-z0-9._@+=%-]{1,120}$/)
      if (isKey(a)) expect(ownUser(`ns/${a}`, new Set(['ns']))).toBe(`user:ns/${a}`)
      else expect(['.', '..']).toContain(a)
    }),
    { numRuns: 2_000 },
  )
})

test.each(['', 'a/b/c', '/a', 'a/', 'a b', '*', 'a%', 'a%2f', 'a#b', 'a:b', '.', '..', 'a'.repeat(121)])(
  '%j is no sub of ours',
  (sub) => {
    expect(ownUser(sub, new Set(['a']))).toBeUndefined()
    expect(isKey(sub)).toBe(false)
  },
)

test('an account elsewhere is the local person it is linked to, else itself in its namespace', () => {
  expect(accountKey('ns', 'a b', undefined)).toBe('ns/a%20b')
  expect(accountKey('ns', 'a b', 'anne')).toBe('anne')
  // What is nobody cannot be somebody by a link.
  expect(accountKey('ns', '', 'anne')).toBeUndefined()
})
