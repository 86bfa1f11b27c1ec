import { type ErrorCode, errorCodes } from '@remit/contract/errors'
import { describe, expect, test } from 'vitest'
import { AppError } from '../../src/kernel/errors.ts'
import { createFace, publicUrl } from './app.ts'

const codes = Object.keys(errorCodes) as ErrorCode[]
const failing = (error: unknown) =>
  createFace({
    retrieve: async () => {
      throw error
    },
  })

describe('a problem', () => {
  test.each(codes)('%s has the shape of RFC 9457, its own page and its own status', async (code) => {
    const response = await failing(new AppError(code)).ask()
    const { status, title } = errorCodes[code]
    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await response.json()).toEqual({
      type: `${publicUrl}/docs/errors/${code}`,
      title,
      status,
      code,
      txn: 't_token',
    })
  })

  test('says the public half, the field and the headers, and keeps the internal half', async () => {
    const error = new AppError('invalid_request', {
      public: 'Say less.',
      internal: 'inner-word',
      field: 'filter.year',
      headers: { 'retry-after': '7' },
      cause: new Error('inner-cause'),
    })
    const response = await failing(error).ask()
    expect(response.headers.get('retry-after')).toBe('7')
    expect(await response.json()).toEqual({
      type: `${publicUrl}/docs/errors/invalid_request`,
      title: errorCodes.invalid_request.title,
      status: 422,
      detail: 'Say less.',
      code: 'invalid_request',
      field: 'filter.year',
      txn: 't_token',
    })
  })

  test('holds what the caller needs to go on', async () => {
    const members = { connect_url: 'https://remit.example/connections/requests/cr_1' }
    const response = await failing(new AppError('conflict', { members })).ask()
    expect(await response.json()).toMatchObject({ code: 'conflict', ...members })
  })

  test.each<[string, unknown]>([
    ['an error of the inside', new Error('select inner-word from decision_records')],
    ['an error with a cause', new TypeError('inner-word', { cause: new Error('inner-cause') })],
    ['an AppError with an internal half', new AppError('internal_error', { internal: 'inner-word' })],
    [
      'an error that names a status',
      Object.assign(new Error('inner-word'), { status: 418, code: 'forbidden' }),
    ],
  ])('for %s is a bare 500: no message, no stack, no path', async (_, thrown) => {
    const { ask, logged } = failing(thrown)
    const response = await ask()
    const text = await response.text()
    expect(response.status).toBe(500)
    expect(JSON.parse(text)).toEqual({
      type: `${publicUrl}/docs/errors/internal_error`,
      title: errorCodes.internal_error.title,
      status: 500,
      code: 'internal_error',
      txn: 't_token',
    })
    expect(text).not.toMatch(/inner|node_modules|\.ts|at /)
    expect(JSON.stringify(logged)).toContain('inner-word')
  })

  test('of our making is logged with its txn, one of the caller is not', async () => {
    const broken = failing(new Error('inner-word'))
    await broken.ask()
    expect(broken.logged).toMatchObject([{ event: 'request_failed', txn: 't_token', code: 'internal_error' }])
    const refused = failing(new AppError('not_found'))
    await refused.ask()
    expect(refused.logged).toEqual([])
  })

  test('for a path that is not ours is a 404 like any other', async () => {
    const response = await createFace().call('/nowhere/at/all')
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ code: 'not_found', txn: 't_1' })
  })

  test('for a path that is not ours is a page in a browser, the same for every such path', async () => {
    const [one, other] = await Promise.all(
      ['/nowhere', '/nowhere/at/<b>all'].map((path) =>
        createFace().call(path, { headers: { accept: 'text/html' } }),
      ),
    )
    expect([one?.status, other?.status]).toEqual([404, 404])
    expect(one?.headers.get('content-security-policy')).toContain("default-src 'none'")
    const text = await one?.text()
    expect(text).toContain('nothing at this address')
    expect(await other?.text()).toBe(text)
  })

  test.each(['{', '', '"query', '{"query":"a"', '\u0000', '[1,]'])(
    'for the body %j is a 400, not a 500',
    async (body) => {
      const response = await createFace().ask(body)
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ code: 'malformed_body' })
    },
  )

  test.each<[unknown, string]>([
    [{}, 'query'],
    [{ query: 'a', embedding: [1] }, 'query'],
    [{ query: '' }, 'query'],
    [{ query: 7 }, 'query'],
    [{ query: 'a'.repeat(8_193) }, 'query'],
    [{ query: 'a\u0000' }, 'query'],
    [{ query: 'a\ud800' }, 'query'],
    [{ query: 'a', top_k: 0 }, 'top_k'],
    [{ query: 'a', top_k: 10_000 }, 'top_k'],
    [{ query: 'a', top_k: 1.5 }, 'top_k'],
    [{ query: 'a', mode: 'magic' }, 'mode'],
    [{ embedding: [1], mode: 'hybrid' }, 'mode'],
    [{ embedding: [0, 0] }, 'embedding'],
    [{ query: 'a', consistency: 'loose' }, 'consistency'],
    [{ query: 'a', collections: ['..'] }, 'collections.0'],
    [{ query: 'a', collections: ['ok', 'a/../b'] }, 'collections.1'],
    [{ query: 'a', approval: 'x' }, 'approval'],
    [{ query: 'a', subject: 'user:bob' }, 'subject'],
    [{ query: 'a', filter: { f: { in: [] } } }, 'filter.f'],
    [[], 'body'],
    [null, 'body'],
    ['query', 'body'],
  ])('for %j is a 422 that names %s', async (body, field) => {
    const response = await createFace().ask(JSON.stringify(body))
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ code: 'invalid_request', field })
  })

  const conditions = 'must be a value, {in: [1 to 100 values]} or {gte, gt, lte, lt}'
  test.each([
    [{ year: null }, 'filter.year', conditions],
    [{ year: [1] }, 'filter.year', conditions],
    [{ year: { in: [] } }, 'filter.year', conditions],
    [{ year: { in: [1], gte: 1 } }, 'filter.year', conditions],
    [[], 'filter', 'must be an object'],
    [null, 'filter', 'must be an object'],
    [{ '': 1 }, 'filter.""', 'an empty name is no field'],
    [
      { ['x'.repeat(101)]: 1 },
      `filter.${'x'.repeat(101)}`,
      expect.stringMatching(/^a name has at most 100 /),
    ],
  ])('for the filter %j says what a filter is, and in whose member', async (filter, field, detail) => {
    const response = await createFace().ask({ query: 'a', filter })
    expect(await response.json()).toMatchObject({ status: 422, field, detail })
  })

  test('over 256 KiB is a 413 that names the limit', async () => {
    const response = await createFace().ask(JSON.stringify({ query: 'x'.repeat(256 * 1_024) }))
    expect(await response.json()).toMatchObject({ status: 413, detail: 'A body here has at most 256 KiB.' })
  })

  test.each(['..', '%2e%2e', '.', 'a/access'])('for %s, which is no one segment, is a 404', async (id) => {
    expect((await createFace().call(`/documents/${id}`)).status).toBe(404)
  })

  test.each(['a%2F%2e%2e', 'a%2F..', 'a%2F%2Fb', '%00', 'a%20b', '%25ZZ', 'a'.repeat(201)])(
    'for the id %s in a path is a 422 that names it',
    async (id) => {
      const response = await createFace().call(`/documents/${id}`)
      expect([response.status, ((await response.json()) as { field?: string }).field]).toEqual([422, 'id'])
    },
  )
})
