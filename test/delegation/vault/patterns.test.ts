import { describe, expect, test } from 'vitest'
import { resolvePath } from '../../../src/delegation/vault/path.ts'
import {
  hasOverride,
  hasOverrideInBody,
  isCovered,
  isMatch,
  isMinting,
} from '../../../src/delegation/vault/patterns.ts'
import fc from '../../support/properties.ts'

function at(path: string) {
  const resolved = resolvePath(path, ['https://api.acme.example'])
  if (!resolved.ok) throw new Error(`${path} ${resolved.detail}`)
  return resolved.value
}

describe('a pattern', () => {
  test.each([
    ['/user', '/user', true],
    ['/user', '/user/', false],
    ['/user', '/users', false],
    ['/user', '/User', false],
    ['/user', '/user/keys', false],
    ['/repos/*/*/issues', '/repos/a/b/issues', true],
    ['/repos/*/*/issues', '/repos/a/issues', false],
    ['/repos/*/*/issues', '/repos/a/b/c/issues', false],
    ['/repos/*', '/repos/', false],
    ['/repos/a*', '/repos/ab', false],
    ['/repos/a*', '/repos/a*', true],
    ['/repos/**', '/repos', true],
    ['/repos/**', '/repos/', true],
    ['/repos/**', '/repos/a/b/c', true],
    ['/repos/**', '/reposa', false],
    ['/repos/**/issues', '/repos/issues', true],
    ['/repos/**/issues', '/repos/a/b/issues/1/issues', true],
    ['/repos/**/issues', '/repos/a/issues/1', false],
    ['/**', '/', true],
    ['/**', '/a/b', true],
    ['/**/a/**/b', '/x/a/y/b', true],
    ['/**/a/**/b', '/x/b/y/a', false],
    ['/a%20b', '/a%20b', false],
    ['/a b', '/a%20b', true],
    ['/files/ü', '/files/%C3%BC', true],
    ['/user', '/user?page=1', false],
    ['/user?page', '/user?page=1', true],
    ['/user?page', '/user', true],
    ['/user?page', '/user?page=1&page=2', true],
    ['/user?page', '/user?page=1&admin=1', false],
    ['/user?page', '/user?Page=1', false],
    ['/user?page', '/user?%70age=1', true],
    ['/user?page', '/user?page[]=1', false],
    ['/user?page&state', '/user?state=a&page=1', true],
    ['/user?*', '/user?anything=1&at%20all', true],
    ['/user?*', '/users?anything', false],
    ['/user?', '/user?*=1', false],
    ['/user*', '/user', false],
  ])('%s and %s: %j', (pattern, path, expected) => {
    expect(isMatch(pattern, at(path))).toBe(expected)
  })

  test('means what a slow reading of it means', () => {
    const segment = fc.constantFrom('a', 'b', 'ab')
    const part = fc.constantFrom('a', 'b', 'ab', '*', '**')
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 1, maxLength: 6 }),
        fc.array(segment, { minLength: 1, maxLength: 7 }),
        (pattern, segments) => {
          expect(isMatch(`/${pattern.join('/')}`, { segments, parameters: [] })).toBe(
            slowly(pattern, segments),
          )
        },
      ),
      { numRuns: 3_000 },
    )
  })

  test('takes no time, however many stars it has', () => {
    const pattern = `/${'**/a/'.repeat(200)}b`
    const segments = Array.from({ length: 2_000 }, () => 'a')
    // Of the processor, not by the clock: others may have it for a while.
    const before = process.threadCpuUsage()
    expect(isMatch(pattern, { segments, parameters: [] })).toBe(false)
    const { user, system } = process.threadCpuUsage(before)
    expect((user + system) / 1_000).toBeLessThan(10_000)
  })
})

describe('rules', () => {
  const rules = [
    { methods: ['GET'], paths: ['/user', '/repos/**?*'] },
    { methods: ['POST', 'PATCH'], paths: ['/repos/*/*/issues'] },
  ]
  test.each([
    ['GET', '/user', true],
    ['HEAD', '/user', true],
    ['POST', '/user', false],
    ['DELETE', '/repos/a/b', false],
    ['POST', '/repos/a/b/issues', true],
    ['POST', '/repos/a/b/issues?x=1', false],
    ['PUT', '/repos/a/b/issues', false],
    ['GET', '/repos/a/b/issues?x=1', true],
    ['get', '/user', false],
  ])('cover method, path and query together: %s %s: %j', (method, path, expected) => {
    expect(isCovered(rules, method, at(path))).toBe(expected)
  })

  test('that are none cover nothing', () => {
    expect(isCovered([], 'GET', at('/user'))).toBe(false)
    expect(isCovered([{ methods: [], paths: ['/**?*'] }], 'GET', at('/user'))).toBe(false)
  })
})

describe('a path that hands out credentials', () => {
  const mints = ['/token', '/**/tokens', '/user/keys/**', '/app/**']
  test.each([
    '/token',
    '/token/',
    '/TOKEN',
    '/Token?a=b',
    '/%74oken',
    '/token.json',
    '/token%20',
    '/%EF%BD%94oken', // ｔoken
    '/a/b/tokens',
    '/tokens',
    '/tokens.xml',
    '/user/keys',
    '/user/keys/',
    '/User/Keys/1',
    '/user/keys/1?x',
    '/app',
    '/app/a/b/c',
    '/app.json',
  ])('is known in every spelling: %s', (path) => {
    expect(isMinting(mints, at(path))).toBe(true)
  })

  test.each(['/', '/a', '/tokens/1', '/my/token', '/user', '/user/keysmith', '/application', '/.token'])(
    'is not taken for another: %s',
    (path) => {
      expect(isMinting(mints, at(path))).toBe(false)
    },
  )
})

test.each([
  ['/a?_method=DELETE', true],
  ['/a?x-http-method-override=PUT', true],
  ['/a?X_HTTP_Method=PUT', true],
  ['/a?%24httpMethod=PUT', true],
  ['/a?$httpHeaders=x', true],
  ['/a?access_token=x', true],
  ['/a?ACCESS_TOKEN=x', true],
  ['/a?_HttpMethod=PATCH', true],
  ['/a?_http_method=PATCH', true],
  ['/a?x-method-override=PUT', true],
  ['/a?+_method=DELETE', true],
  ['/a?%20_method=DELETE', true],
  ['/a?.method=DELETE', true],
  ['/a?_method[]=DELETE', true],
  ['/a?_method%5B%5D=DELETE', true],
  ['/a?%EF%BC%BFmethod=DELETE', true],
  ['/a?bearer_token=x', true],
  ['/a?b=_method', false],
  ['/a?my_method=x&filter[method]=y', false],
  ['/a?$filter=x&$top=1', false],
  ['/a?method=x', false],
])('a query by which a request becomes another one is known: %s: %j', (path, expected) => {
  expect(hasOverride(at(path))).toBe(expected)
})

const form = 'application/x-www-form-urlencoded'
const parts = 'multipart/form-data; boundary=b'
test.each([
  [form, '_method=DELETE', true],
  [`${form}; charset=utf-8`, 'a=b&%5Fmethod=DELETE', true],
  ['Application/X-WWW-Form-Urlencoded', 'a=b;+_method=DELETE', true],
  [form, 'a=_method&method=x', false],
  [parts, '--b\r\ncontent-disposition: form-data; name="_method"\r\n\r\nDELETE\r\n--b--', true],
  [parts, '--b\r\ncontent-disposition: form-data; name=_method\r\n\r\nDELETE\r\n--b--', true],
  [parts, `--b\r\ncontent-disposition: form-data; name*0="_met"; name*1="hod"\r\n\r\nDELETE\r\n--b--`, true],
  [
    parts,
    `--b\r\ncontent-disposition: form-data;\r\n name*0*=utf-8''%5Fmet; name*1=hod\r\n\r\nDELETE\r\n--b--`,
    true,
  ],
  [parts, '--b\r\ncontent-disposition: form-data; name="title"\r\n\r\n_method\r\n--b--', false],
  ['application/json', '{"title":"a","_method":"DELETE"}', true],
  ['application/vnd.api+json; charset=utf-8', '{"X-HTTP-Method-Override":"PUT"}', true],
  ['application/json', '{"method":"DELETE","access_token":"a","b":{"_method":"DELETE"}}', false],
  ['application/json', '["_method"]', false],
  ['application/json', '\uFEFF{"_method":"DELETE"}', true],
  ['text/json', '{"_method":"DELETE"}', true],
  ['application/a+b+json', '{"_method":"DELETE"}', true],
  ['application/json5', `{_method:'DELETE'}`, true],
  ['application/json', '{"\\u005fmethod":"DELETE",}', true],
  ['application/json', '{"title":"a method",}', false],
  ['application/json', '{"_method":', true],
  ['text/plain', '_method=DELETE', false],
  [undefined, '', false],
])('a body by which a request becomes another one is known: %s %s: %j', (type, body, expected) => {
  expect(hasOverrideInBody(type, Buffer.from(body))).toBe(expected)
})

function slowly([first, ...rest]: readonly string[], segments: readonly string[]): boolean {
  if (first === undefined) return segments.length === 0
  if (first === '**')
    return segments.some((_, index) => slowly(rest, segments.slice(index))) || slowly(rest, [])
  const [given, ...others] = segments
  return given !== undefined && (first === '*' || first === given) && slowly(rest, others)
}
