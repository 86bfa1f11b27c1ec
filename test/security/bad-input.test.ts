import { errorCodes } from '@remit/contract/errors'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { openWorld, type World } from '../support/world.ts'

let world: World
let anne: string
let loader: string
let admin: string

beforeAll(async () => {
  world = await openWorld({ env: { REQUEST_DEADLINE_MS: '60000' } })
  await world.put({
    'a/access': {
      text: 'The travel budget.',
      access: { viewers: ['user:anne'] },
      metadata: { day: '2026-02-28', year: 1, topic: 'x' },
    },
    'odd/metadata': {
      text: 'Travel.',
      access: { viewers: ['user:anne'] },
      metadata: { day: 'never', year: 'many', topic: 7 },
    },
  })
  // Declared only now: documents that came in before may hold anything.
  await world.service.ingest.saveFields(operator('test'), {
    year: 'number',
    topic: 'string',
    day: 'date',
    open: 'boolean',
  })
  await world.service.administrators.add('user:dan', ['security.write'])
  anne = await world.token({ user: 'anne' })
  loader = await world.token({ service: 'loader' })
  admin = await world.token({ user: 'dan' })
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
})

interface Refusal {
  readonly status: number
  readonly code?: string
  readonly field?: string
}

async function refusalOf(response: Response): Promise<Refusal> {
  const text = await response.text()
  const body = JSON.parse(text) as { status: number; code?: string; field?: string }
  if (response.status < 400) return { status: response.status }
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect(body.status).toBe(response.status)
  expect(Object.keys(errorCodes)).toContain(body.code)
  expect(text).not.toMatch(/\.ts:|node_modules|at .*\(/)
  const { code, field } = body
  return {
    status: response.status,
    ...(code !== undefined && { code }),
    ...(field !== undefined && { field }),
  }
}

const asks = async (body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  refusalOf(await world.call('POST', '/retrieve', { token: anne, body, headers }))

describe('a member of POST /retrieve that is wrong is named', () => {
  const lone = '\ud800'
  const wrong: readonly (readonly [string, object])[] = [
    ...[undefined, '', 1, null, ['x'], {}, 'a\0b', lone, `x${'\udc00'}`, 'x'.repeat(8_193)].map(
      (query) => ['query', { query }] as const,
    ),
    ['query', { query: 'x', embedding: [1] }],
    ...['x', {}, null, [], Array.from({ length: 4_097 }, () => 1), [0, 0], [1, 2, 3]].map(
      (embedding) => ['embedding', { embedding }] as const,
    ),
    ['embedding.0', { embedding: ['1'] }],
    ['embedding.1', { embedding: [1, null] }],
    ...[0, -1, 101, 10_000, 1.5, '10', null, [], 1e308].map(
      (top_k) => ['top_k', { query: 'x', top_k }] as const,
    ),
    ...['', 'HYBRID', 'exact', 1, null, ['vector']].map((mode) => ['mode', { query: 'x', mode }] as const),
    ['mode', { embedding: [1], mode: 'hybrid' }],
    ...['handbook', {}, null, 1].map((collections) => ['collections', { query: 'x', collections }] as const),
    ['collections', { query: 'x', collections: Array.from({ length: 101 }, () => 'a') }],
    ...[
      '',
      '..',
      'a/../b',
      'a//b',
      '/a',
      'a/',
      '%',
      '%zz',
      'a b',
      'ä',
      'x'.repeat(201),
      'a\0',
      'a:b',
      'a#b',
      1,
      null,
    ].map((id) => ['collections.1', { query: 'x', collections: ['handbook', id] }] as const),
    ...['x', [], null, 1].map((filter) => ['filter', { query: 'x', filter }] as const),
    [
      'filter',
      { query: 'x', filter: Object.fromEntries(Array.from({ length: 21 }, (_, index) => [`f${index}`, 1])) },
    ],
    ['filter.undeclared', { query: 'x', filter: { undeclared: 1 } }],
    ['filter.constructor', { query: 'x', filter: { constructor: 1 } }],
    ...[
      null,
      [],
      [1],
      {},
      { in: [] },
      { gte: null },
      { near: 1 },
      { in: [1], gte: 1 },
      { in: [[1]] },
      'many',
      true,
    ].map((year) => ['filter.year', { query: 'x', filter: { year } }] as const),
    ...[
      '2026-02-30',
      '2026-13-01',
      '0000-01-01',
      '2026-01-01T25:00Z',
      '2026-01-01T00:00+23:59',
      'now',
      'infinity',
      '1',
      5,
    ].map((day) => ['filter.day', { query: 'x', filter: { day } }] as const),
    ['filter.open', { query: 'x', filter: { open: { gte: true } } }],
    ...['a\0', lone].map((topic) => ['filter.topic', { query: 'x', filter: { topic } }] as const),
    ...['', 'STRICT', 1, null].map((consistency) => ['consistency', { query: 'x', consistency }] as const),
    ...['', 'g_', 'x', 'g_a b', 1, null].map((approval) => ['approval', { query: 'x', approval }] as const),
    ...['user', 'subject', 'principal', 'topK', 'constructor', 'toString'].map(
      (member) => [member, { query: 'x', [member]: 'user:anne' }] as const,
    ),
  ]
  test.each(wrong.map(([field, body]) => [field, JSON.stringify(body).slice(0, 80), body] as const))(
    '%s in %s',
    async (field, _, body) => {
      const refusal = await asks(body)
      expect(refusal).toMatchObject({ status: 422, code: 'invalid_request' })
      // A union is named as a whole or by its innermost member: both begin with the same name.
      expect(`${refusal.field}.`.startsWith(`${field}.`)).toBe(true)
    },
  )

  test('to those who may read nothing as well: a refusal tells nobody what there is', async () => {
    const token = await world.token({ user: 'carol' })
    for (const filter of [{ undeclared: 1 }, { year: 'many' }, { day: '2026-02-30' }]) {
      const response = await world.call('POST', '/retrieve', { token, body: { query: 'x', filter } })
      expect(await refusalOf(response)).toMatchObject({
        status: 422,
        field: `filter.${Object.keys(filter)[0]}`,
      })
    }
  })

  test('and the bounds themselves are taken', async () => {
    expect((await asks({ query: 'x', top_k: 1 })).status).toBe(200)
    expect((await asks({ query: 'é'.repeat(8_192), top_k: 100 })).status).toBe(200)
    expect(
      (await asks({ query: '😀', filter: { day: { gte: '2024-02-29', lt: '2026-12-31T23:59:59.5+14:00' } } }))
        .status,
    ).toBe(200)
  })

  test('by a filter, while documents that hold other types than declared are simply not found', async () => {
    for (const filter of [
      { day: { gte: '2020-01-01' } },
      { year: { lt: 1e308 } },
      { topic: { in: ['x', ''] } },
      { day: '2026-02-28' },
    ]) {
      const { results } = await world.retrieve(anne, { query: 'travel', filter })
      expect(results.map(({ document_id }) => document_id)).toEqual(['a/access'])
    }
  })
})

describe('a body', () => {
  test('of 1 MB is refused by size, before it is read as JSON', async () => {
    expect(await asks({ query: 'x'.repeat(1_000_000) })).toEqual({ status: 413, code: 'payload_too_large' })
    expect(await asks('x'.repeat(1_000_000))).toEqual({ status: 413, code: 'payload_too_large' })
  })

  test.each([
    'text/plain',
    'application/xml',
    'application/json5',
    'application/x-ndjson',
    'multipart/form-data; boundary=x',
    'application/x-www-form-urlencoded',
    '',
  ])('of the media type %j is refused', async (type) => {
    expect(await asks({ query: 'x' }, { 'content-type': type })).toEqual({
      status: 415,
      code: 'unsupported_media_type',
    })
  })

  const nested = '['.repeat(100_000) + ']'.repeat(100_000)
  test.each([
    ['nothing', '', 400],
    ['half of JSON', '{"query":', 400],
    ['not JSON', 'query=x', 400],
    ['a lone NUL', '\0', 400],
    ['100,000 nested arrays', nested, 422],
    ['100,000 open arrays', '['.repeat(100_000), 400],
    ['100,000 nested arrays as a member', `{"query":${nested}}`, 422],
    ['100,000 nested arrays in a filter', `{"query":"x","filter":{"year":${nested}}}`, 422],
    ['nested objects', `${'{"filter":'.repeat(20_000)}1${'}'.repeat(20_000)}`, 422],
    ['a huge number', '{"query":"x","top_k":1e999}', 422],
    ['a huge integer', `{"query":"x","top_k":${'9'.repeat(10_000)}}`, 422],
    ['a number that is no number', '{"query":"x","top_k":NaN}', 400],
    ['an array', '[{"query":"x"}]', 422],
    ['null', 'null', 422],
    ['a string', '"x"', 422],
    ['__proto__', '{"query":"x","__proto__":{"top_k":100}}', 422],
    ['__proto__ in a filter', '{"query":"x","filter":{"__proto__":1}}', 422],
    ['__proto__ written otherwise', '{"query":"x","filter":{"a":{"in":[{"\\u005f_proto__":1}]}}}', 422],
    [
      '__proto__ written otherwise where it would be dropped',
      '{"query":"x","filter":{"\\u005f_proto__":1}}',
      422,
    ],
    ['constructor in a filter', '{"query":"x","filter":{"constructor":{"prototype":1}}}', 422],
    ['an escaped lone surrogate', '{"query":"\\ud800"}', 422],
    ['an escaped NUL', '{"query":"\\u0000"}', 422],
    ['an escaped NUL in a name', '{"query":"x","a\\u0000b":1}', 422],
    ['a huge name', `{"query":"x","${'a'.repeat(100_000)}":1}`, 422],
    ['a duplicate key, of which the last counts', '{"top_k":0,"query":"x","top_k":1}', 200],
    ['a duplicate key, of which the last is wrong', '{"top_k":1,"query":"x","top_k":0}', 422],
  ])('that is %s gets its plain answer', async (_, body, status) => {
    const refusal = await asks(body)
    expect(refusal.status).toBe(status)
    if (status === 422) expect(refusal.code).toBe('invalid_request')
    expect(Object.prototype).not.toHaveProperty('top_k')
  })

  test('that is hostile in a route that writes gets its plain answer, and changes nothing', async () => {
    const tuple = { user: 'user:anne', relation: 'viewer', object: 'document:a/access' }
    const cases: readonly (readonly [string, string, string, unknown])[] = [
      [
        loader,
        'PUT',
        '/documents/x',
        `{"collection":"handbook","title":"T","text":"x","metadata":{"a":${nested}}}`,
      ],
      [loader, 'PUT', '/documents/x', { collection: 'handbook', title: 'T\0', text: 'x' }],
      [loader, 'PUT', '/documents/x', { collection: 'handbook', title: 'T', text: 'x\ud800' }],
      [loader, 'PUT', '/documents/x', { collection: 'handbook', title: 'T', text: 'x', version: 1e300 }],
      [
        loader,
        'PUT',
        '/documents/x',
        { collection: 'handbook', title: 'T', text: 'x', updated_at: '2026-02-30T00:00:00Z' },
      ],
      [
        loader,
        'PUT',
        '/documents/x',
        { collection: 'handbook', title: 'T', text: 'x', access: { viewers: ['agent:a'] } },
      ],
      [loader, 'PUT', '/documents/x', { id: 'y', collection: 'handbook', title: 'T', text: 'x' }],
      [loader, 'PUT', '/documents/a%2Faccess/access', { viewers: [`user:${'x'.repeat(500)}`] }],
      [loader, 'POST', '/access', { writes: [{ ...tuple, user: 'user:a b' }] }],
      [loader, 'POST', '/access', { writes: [{ ...tuple, user: 'anne' }] }],
      [
        loader,
        'POST',
        '/access',
        { writes: [{ ...tuple, condition: { name: 'until', context: { expires_at: 'never' } } }] },
      ],
      [
        loader,
        'POST',
        '/access',
        `{"writes":[{"user":"user:a","relation":"viewer","object":"document:x","condition":{"name":"until","context":{"a":${nested}}}}]}`,
      ],
      [
        loader,
        'POST',
        '/access',
        { writes: Array.from({ length: 101 }, (_, index) => ({ ...tuple, user: `user:p${index}` })) },
      ],
      [admin, 'PUT', '/collections/x', { title: '' }],
      [admin, 'PUT', '/collections/x', { title: 'x', writers: ['user:anne'] }],
      [admin, 'PUT', '/fields', `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`],
      [admin, 'PUT', '/fields', { a: 'text' }],
    ]
    for (const [token, method, path, body] of cases) {
      const refusal = await refusalOf(await world.call(method, path, { token, body }))
      expect([path, JSON.stringify(body).slice(0, 120), refusal.status]).toEqual([
        path,
        JSON.stringify(body).slice(0, 120),
        422,
      ])
    }
    expect((await world.call('GET', '/documents/x', { token: anne })).status).toBe(404)
  })
})

test('none of it was a failure of ours', () => {
  expect(world.logged.filter(({ event }) => event === 'request_failed')).toEqual([])
})
