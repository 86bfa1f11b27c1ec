import { describe, expect, test } from 'vitest'
import type { Principal } from '../../src/kernel/principal.ts'
import type { Question } from '../../src/retrieval/question.ts'
import { createKeyed, narrowedCollections } from '../../src/retrieval/scope.ts'

const principal: Principal = {
  kind: 'agent',
  subject: 'user:anne',
  actors: ['agent:a'],
  client: 'bot',
  scopes: new Set(['docs.search', 'docs.read']),
  authorizationDetails: [],
  delegation: 'd_1',
  txn: 't_1',
  expiresAt: 0,
}
const within = (...sets: readonly (readonly string[])[]): Principal => ({
  ...principal,
  authorizationDetails: sets.map((collections) => ({ type: 'document_access', collections })),
})

describe('the collections of a request', () => {
  test.each<[string, Principal, readonly string[] | undefined, readonly string[] | undefined]>([
    ['are not narrowed when neither side names any', within(), undefined, undefined],
    ['are those of the request where the token names none', within(), ['a', 'b'], ['a', 'b']],
    ['are those of the token where the request names none', within(['a', 'b']), undefined, ['a', 'b']],
    ['are those in both', within(['a', 'b']), ['b', 'c'], ['b']],
    ['are none when both name others', within(['a']), ['b'], []],
    ['are none when the request names none at all', within(['a']), [], []],
    ['are none when the token names none at all', within([]), ['a'], []],
    ['are none when the token names none and the request is silent', within([]), undefined, []],
    ['are those in every detail of the token', within(['a', 'b'], ['b', 'c']), undefined, ['b']],
    ['are never widened by the request', within(['a'], ['b']), ['a', 'b'], []],
  ])('%s', (_, who, asked, expected) => {
    expect(narrowedCollections(who, asked).collections).toEqual(expected)
  })
})

describe('keyed digests', () => {
  const keyed = createKeyed(new Uint8Array(32).fill(1))
  const under = { modelId: 'm', grants: [] }
  const question: Question = {
    query: 'recall cost',
    topK: 10,
    mode: 'hybrid',
    collections: ['a', 'b'],
    filter: { year: { gte: 2025, lt: 2027 }, team: { in: ['x', 'y'] } },
    consistency: 'fast',
  }

  test('of a query are the same in whatever order its members and collections come', () => {
    const same: Question = {
      filter: { team: { in: ['x', 'y'] }, year: { lt: 2027, gte: 2025 } },
      collections: ['b', 'a'],
      consistency: 'strict',
      mode: 'hybrid',
      topK: 10,
      query: 'recall cost',
    }
    expect(keyed.query(same)).toBe(keyed.query(question))
    expect(keyed.query({ ...same, approval: 'g_1' })).toBe(keyed.query(question))
  })

  test.each<[string, Partial<Question>]>([
    ['query', { query: 'recall costs' }],
    ['top_k', { topK: 11 }],
    ['mode', { mode: 'keyword' }],
    ['collections', { collections: ['a'] }],
    ['collections, none instead of some', { collections: [] }],
    ['filter value', { filter: { ...question.filter, year: { gte: 2024, lt: 2027 } } }],
    ['filter value of another type', { filter: { ...question.filter, year: { gte: '2025', lt: 2027 } } }],
    ['filter field', { filter: { years: 2025 } }],
  ])('of a query differ by its %s', (_, change) => {
    expect(keyed.query({ ...question, ...change })).not.toBe(keyed.query(question))
  })

  test('of a query tell words from a vector', () => {
    const { query: _, ...silent } = question
    const byVector = { ...silent, embedding: Float32Array.of(1, 0) }
    expect(keyed.query(byVector)).not.toBe(keyed.query(silent))
    expect(keyed.query({ ...silent, embedding: Float32Array.of(0, 1) })).not.toBe(keyed.query(byVector))
  })

  test('cannot be made without the key, and hold nothing of the words', () => {
    const other = createKeyed(new Uint8Array(32).fill(2))
    expect(other.query(question)).not.toBe(keyed.query(question))
    expect(other.scope(principal, under)).not.toBe(keyed.scope(principal, under))
    expect(keyed.query(question)).toMatch(/^[A-Za-z0-9_-]{43}$/)
  })

  test('of a scope are the same in whatever order scopes and collections come', () => {
    const one = { ...within(['a', 'b']), scopes: new Set(['docs.read', 'docs.search'] as const) }
    const two = { ...within(['b', 'a']), scopes: new Set(['docs.search', 'docs.read'] as const) }
    expect(keyed.scope(one, under)).toBe(keyed.scope(two, under))
  })

  test('of a scope do not depend on the request: txn, client and end of the token', () => {
    const later = { ...principal, txn: 't_2', expiresAt: 99, client: 'other' }
    expect(keyed.scope(later, under)).toBe(keyed.scope(principal, under))
  })

  test.each<[string, Principal, object]>([
    ['person', { ...principal, subject: 'user:bob' }, {}],
    ['agent', { ...principal, actors: ['agent:b'] }, {}],
    ['chain of agents', { ...principal, actors: ['agent:a', 'agent:b'] }, {}],
    ['delegation', { ...principal, delegation: 'd_2' }, {}],
    ['scopes', { ...principal, scopes: new Set(['docs.search']) }, {}],
    ['narrowing', within(['a']), {}],
    ['narrowing to nothing', within([]), {}],
    ['model', principal, { modelId: 'm2' }],
    ['grant', principal, { grants: ['g_1'] }],
  ])('of a scope differ by %s', (_, who, more) => {
    expect(keyed.scope(who, { ...under, ...more })).not.toBe(keyed.scope(principal, under))
  })
})
