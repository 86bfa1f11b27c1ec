import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { errorFromResponse } from '../src/errors/from-response.ts'
import { kinds } from '../src/errors/kinds.ts'
import { makeError } from '../src/errors/make.ts'
import {
  ConnectionRequired,
  errorFromJSON,
  isRemitError,
  NotFound,
  type RemitError,
  Unavailable,
} from '../src/index.ts'
import { problem } from './double/double.ts'

const text = fc.string({ maxLength: 40 })
const detail = fc.record({ type: fc.constantFrom('document_access', 'trade_order'), quantity: fc.nat() })
const resume = fc.record({
  authReqId: text,
  subject: text,
  agent: text,
  digest: text,
  expiresAt: fc.nat(),
  interval: fc.nat(),
})

const entry = fc.record(
  { line: fc.nat(), id: text, code: text, field: text, detail: text },
  { requiredKeys: ['code', 'detail'] },
)
const job = fc.record({
  id: text,
  state: fc.constantFrom('done', 'failed'),
  done: fc.nat(),
  failed: fc.nat(),
  total: fc.nat(),
  withdrawn: fc.nat(),
  errors: fc.array(entry),
  notes: fc.array(entry),
})

/** Code → what its errors say beside the rest. */
const dataOf: Readonly<Record<string, fc.Arbitrary<object>>> = {
  approval_required: fc.record({ authorizationDetails: fc.array(detail) }),
  approval_denied: fc.record({ approval: text, reason: text }, { requiredKeys: [] }),
  approval_expired: fc.record({ approval: text }, { requiredKeys: [] }),
  approval_pending: fc.record(
    { resume, question: fc.record({ approval: text, text }) },
    { requiredKeys: ['resume'] },
  ),
  sign_in_required: fc.record(
    { verificationUri: text, verificationUriComplete: text, userCode: text, expiresAt: fc.nat() },
    { requiredKeys: ['verificationUri', 'userCode', 'expiresAt'] },
  ),
  connection_required: fc.record({ connectUrl: text }),
  reconnect_required: fc.record({ connectUrl: text }),
  insufficient_scope: fc.record({ scopes: fc.array(text) }),
  write_failed: fc.record({ job }),
}

const facts = fc.record(
  { message: text, status: fc.integer({ min: 100, max: 599 }), txn: text, field: text, retryAfter: fc.nat() },
  { requiredKeys: [] },
)

const anyError = fc
  .constantFrom(...Object.keys(kinds), 'invalid_request', 'invalid_grant')
  .chain((code) => fc.tuple(fc.constant(code), facts, dataOf[code] ?? fc.constant({})))
  .map(([code, said, data]) => makeError(code, said, data)!)

const plain = ({ name, code, message, status, txn, field, retryAfter, data }: RemitError) => ({
  ...{
    name,
    code,
    message,
    status,
    txn,
    field,
    retryAfter,
    data: JSON.parse(JSON.stringify(data)) as object,
  },
})

test('an error of any kind is the same after it went through JSON', () => {
  fc.assert(
    fc.property(anyError, (error) => {
      const back = errorFromJSON(JSON.parse(JSON.stringify(error)))
      expect(plain(back)).toEqual(plain(error))
      expect(back.constructor).toBe(error.constructor)
    }),
  )
})

test('what is no serialized error, or lacks what its kind says, does not become one', () => {
  for (const wrong of [
    null,
    'x',
    {},
    { remit_error: 'not_found' },
    { remit_error: 'not_found', message: 'x', status: '404' },
    { remit_error: 'connection_required', message: 'x' },
    { remit_error: 'connection_required', message: 'x', data: { connectUrl: 1 } },
    { remit_error: 'approval_pending', message: 'x', data: { resume: { authReqId: 'a' } } },
    { remit_error: 'x', message: 'x', data: [] },
  ])
    expect(() => errorFromJSON(wrong)).toThrow(TypeError)
})

test('an error of another copy of the package is known by its brand, and everything else is not', () => {
  const foreign = Object.assign(new Error('x'), {
    [Symbol.for('@remit/client/error')]: true,
    code: 'not_found',
  })
  expect(isRemitError(foreign, 'not_found')).toBe(true)
  expect(isRemitError(foreign, 'rate_limited')).toBe(false)
  for (const other of [null, undefined, 'not_found', { code: 'not_found' }, new Error('not_found')])
    expect(isRemitError(other)).toBe(false)
})

describe('an answer that is no success', () => {
  const read = (response: Response, secrets: readonly string[] = []) =>
    errorFromResponse(response, { secrets, now: Date.parse('2026-11-25T00:00:00Z') })

  test('becomes the error of its code, with thread, field and when to come again', async () => {
    const error = await read(problem(429, 'rate_limited', { detail: 'Slow down.' }, { 'retry-after': '7' }))
    expect(error).toMatchObject({
      name: 'RateLimited',
      code: 'rate_limited',
      message: 'Slow down.',
      status: 429,
      txn: 't_1',
      retryAfter: 7,
    })
    expect(await read(problem(422, 'invalid_request', { field: 'top_k' }))).toMatchObject({
      name: 'RemitError',
      field: 'top_k',
    })
    const date = 'Wed, 25 Nov 2026 00:00:30 GMT'
    expect(await read(problem(503, 'search_unavailable', {}, { 'retry-after': date }))).toMatchObject({
      name: 'Unavailable',
      retryAfter: 30,
    })
  })

  test('says what to ask the person for, where to link an account, which scopes are needed', async () => {
    const authorization_details = [{ type: 'document_access', offer: 'o_1' }]
    expect(await read(problem(403, 'approval_required', { authorization_details }))).toMatchObject({
      name: 'ApprovalRequired',
      data: { authorizationDetails: authorization_details },
    })
    const connect = await read(problem(409, 'reconnect_required', { connect_url: 'https://remit.test/c/1' }))
    expect(connect).toBeInstanceOf(ConnectionRequired)
    expect(connect.data).toEqual({ connectUrl: 'https://remit.test/c/1' })
    const challenge =
      'Bearer error="insufficient_scope", scope="docs.search docs.read", resource_metadata="x"'
    expect(
      await read(problem(403, 'insufficient_scope', {}, { 'www-authenticate': challenge })),
    ).toMatchObject({ name: 'InsufficientScope', data: { scopes: ['docs.search', 'docs.read'] } })
  })

  test('of an OAuth endpoint has OAuth’s code and text', async () => {
    const body = { error: 'invalid_grant', error_description: 'grant request is invalid' }
    expect(await read(Response.json(body, { status: 400 }))).toMatchObject({
      code: 'invalid_grant',
      message: 'grant request is invalid',
      status: 400,
    })
  })

  test('that is a proxy’s page, a half of one or too much is told by its status alone', async () => {
    for (const body of ['<html>secret</html>', '{"code":', 'x'.repeat(100_000), '[]', '{"code":5}']) {
      const error = await read(new Response(body, { status: 502 }))
      expect(error).toBeInstanceOf(Unavailable)
      expect(error.message).toBe('The answer was 502.')
    }
    expect(await read(new Response('', { status: 404 }))).toBeInstanceOf(NotFound)
    // The members that its kind says are missing: nothing that a caller could rely on.
    expect(await read(problem(409, 'connection_required'))).toMatchObject({
      name: 'RemitError',
      code: 'http_409',
    })
  })

  test('never says a token, though the other side repeats it', async () => {
    const jwt = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm5lIn0.c2lnbmF0dXJl'
    const said = `You sent Bearer ${jwt}, DPoP abcdefghijk, subject_token=xyz&a=b and opaque-secret-1.`
    const error = await read(problem(401, 'invalid_token', { detail: said }), ['opaque-secret-1'])
    for (const form of [error.message, JSON.stringify(error), String(error), error.stack])
      expect(form).not.toMatch(/eyJ|abcdefghijk|xyz|opaque-secret/)
    expect(error.cause).toBeUndefined()
  })

  test('has its words whole where the token has less than eight characters', async () => {
    const detail = 'The token is invalid or expired.'
    expect((await read(problem(401, 'invalid_token', { detail }), ['x', 'expired'])).message).toBe(detail)
  })
})
