import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Listening } from '../../src/kernel/listening.ts'
import { listen } from '../../src/start.ts'
import { openWorld, type World } from '../support/world.ts'
import { sendRaw } from './raw.ts'

// Over a real socket: no client that tidies a path or a header before the service sees it.

let world: World
let server: Listening
let anne: string

beforeAll(async () => {
  world = await openWorld({ env: { REQUEST_DEADLINE_MS: '60000' } })
  await world.put({ 'a/access': { text: 'The travel budget.', access: { viewers: ['user:anne'] } } })
  anne = await world.token({ user: 'anne' })
  server = await listen({ fetch: world.service.app.fetch, host: '127.0.0.1', port: 0, drainMs: 100 })
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
  await world?.[Symbol.asyncDispose]()
})

const head = (method: string, target: string, lines: readonly string[] = [], host = 'localhost:8787') =>
  [
    `${method} ${target} HTTP/1.1`,
    `Host: ${host}`,
    `Authorization: Bearer ${anne}`,
    'Connection: close',
    ...lines,
    '',
    '',
  ].join('\r\n')

test.each([
  ['/documents/a%2Faccess', 200],
  ['/documents/a%2faccess', 200],
  // Of the pattern `/documents/{id}/access`, which takes another method, whatever is there.
  ['/documents/a/access', 405],
  // The URL standard resolves both to `/`, which leads to the readable documentation.
  ['/documents/..', 302],
  ['/documents/%2e%2e', 302],
  ['/documents/%2E%2e%2Fetc%2Fpasswd', 422],
  ['/documents/..%2F..%2Fetc%2Fpasswd', 422],
  ['/documents/../../etc/passwd', 404],
  ['/documents/a%2F..%2Faccess', 422],
  ['/documents/a%2F%2Faccess', 422],
  ['/documents/%2Fa', 422],
  ['/documents/a%2F', 422],
  ['/documents/', 404],
  ['/documents//', 404],
  ['//documents/x', 404],
  ['/documents/%zz', 422],
  ['/documents/%', 422],
  ['/documents/%25zz', 422],
  ['/documents/%00', 422],
  ['/documents/%ff', 422],
  ['/documents/a%2F%C3', 422],
  ['/documents/%25ff', 404],
  ['/nothing/%ff', 404],
  ['/documents/%c3%a4', 422],
  ['/documents/a%20b', 422],
  ['/documents/a%3Ab', 422],
  ['/documents/a%23b', 422],
  [`/documents/${'x'.repeat(200)}`, 404],
  [`/documents/${'x'.repeat(201)}`, 422],
  [`/documents/${'x'.repeat(9_000)}`, 414],
  ['/documents/a%252Faccess', 404],
  ['/documents/a;b', 422],
  ['/documents/a%5Cb', 422],
  ['/openapi.json/', 404],
  ['/docs/errors/..%2F..%2Fpackage.json', 404],
  ['/docs/errors/constructor', 404],
  ['/docs/errors/%2e%2e%2f%2e%2e%2fREADME', 404],
])('GET %s is answered %i', async (target, status) => {
  const answer = await sendRaw(server.port, head('GET', target))
  expect(answer.status).toBe(status)
  if (status >= 400) expect(answer.headers.get('content-type')).toBe('application/problem+json')
  if (status === 422) expect(JSON.parse(answer.body)).toMatchObject({ code: 'invalid_request', field: 'id' })
})

test.each([
  'evil.test',
  'localhost',
  'localhost:1',
  'localhost:8787.evil.test',
  'user@localhost:8787',
  '127.0.0.1',
  '',
  'localhost:8787, evil.test',
])('Host %j is refused on every path', async (host) => {
  for (const target of [
    '/healthz',
    '/documents/a%2Faccess',
    '/collections',
    '/openapi.json',
    'http://evil.test/collections',
  ]) {
    const { status, body } = await sendRaw(server.port, head('GET', target, [], host))
    expect([400, 421]).toContain(status)
    expect(body).not.toContain('travel')
  }
})

test('a kept connection outlasts the slowest polling, a minute', async () => {
  const { headers } = await fetch(`http://127.0.0.1:${server.port}/healthz`)
  expect(Number(/timeout=(\d+)/.exec(headers.get('keep-alive') ?? '')?.[1])).toBeGreaterThan(60)
})

test('HEAD has the status of GET and no body; it wants the same token', async () => {
  const whole = await sendRaw(server.port, head('HEAD', '/documents/a%2Faccess'))
  expect([whole.status, whole.body]).toEqual([200, ''])
  const hidden = await sendRaw(server.port, head('HEAD', '/documents/nothing'))
  expect([hidden.status, hidden.body]).toEqual([404, ''])
  const stranger = await sendRaw(
    server.port,
    head('HEAD', '/documents/a%2Faccess').replace(/Authorization.*\r\n/, ''),
  )
  expect([stranger.status, stranger.body]).toEqual([401, ''])
})

test.each(['OPTIONS', 'TRACE', 'PATCH', 'POST', 'PROPFIND'])(
  '%s where it is no method is refused',
  async (method) => {
    const { status, headers, body } = await sendRaw(
      server.port,
      head(method, '/documents/a%2Faccess', ['Origin: https://evil.test']),
    )
    expect([400, 404, 405]).toContain(status)
    expect(headers.has('access-control-allow-origin')).toBe(false)
    expect(body).not.toMatch(/travel|\.ts:|node_modules/)
  },
)

test.each([
  ['two lengths', ['Content-Type: application/json', 'Content-Length: 5', 'Content-Length: 6']],
  [
    'a length and chunks',
    ['Content-Type: application/json', 'Content-Length: 5', 'Transfer-Encoding: chunked'],
  ],
  ['a negative length', ['Content-Type: application/json', 'Content-Length: -1']],
  ['an override', ['X-HTTP-Method-Override: DELETE', 'Content-Type: application/json', 'Content-Length: 0']],
])('%s do not confuse it', async (_, lines) => {
  const { status, body } = await sendRaw(server.port, `${head('POST', '/retrieve', lines)}`)
  expect(status).toBeGreaterThanOrEqual(400)
  expect(status).toBeLessThan(500)
  expect(body).not.toMatch(/\.ts:|node_modules/)
})

test('a body that lies about its length upwards of the limit is cut off', async () => {
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
  const { status } = await sendRaw(
    server.port,
    head('POST', '/retrieve', ['Content-Type: application/json', 'Transfer-Encoding: chunked']) +
      chunk.repeat(16) +
      '0\r\n\r\n',
  )
  expect(status).toBe(413)
})

test('none of it was a failure of ours', () => {
  expect(world.logged.filter(({ event }) => event === 'request_failed')).toEqual([])
})
