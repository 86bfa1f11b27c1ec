import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createRouter } from '../../src/http/env.ts'
import { endAfterSleep, requireFrame } from '../../src/http/middleware/frame.ts'
import { createErrorHandler } from '../../src/http/problem.ts'

const frame = ['cache-control', 'content-type', 'referrer-policy', 'x-content-type-options']

// Timers and `performance` stand still, as they do in a sleep.
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

/** Asks something during which the machine sleeps for so long. */
async function askOver(ms: number, method = 'GET', path = '/documents/a'): Promise<Response> {
  const app = createRouter()
  app.onError(createErrorHandler({ publicUrl: 'http://localhost', log: () => undefined }))
  app.use(
    '*',
    requireFrame(
      () => 't_1',
      () => '127.0.0.1',
    ),
    endAfterSleep,
  )
  app.all('*', (c) => {
    vi.setSystemTime(Date.now() + ms)
    if (path === '/oauth/token') return RESPONSE_ALREADY_SENT
    c.header('etag', '"1"')
    c.header('set-cookie', 'session=1')
    c.header('location', '/documents/a')
    return c.json({ text: 'what may be taken away' })
  })
  return app.request(path, { method })
}

test('after a sleep the answer is held back, and nothing that came with it is told', async () => {
  const response = await askOver(3_600_000)
  expect([response.status, await response.json()]).toMatchObject([503, { code: 'deadline_exceeded' }])
  expect([...response.headers.keys()].filter((name) => name !== 'x-txn').toSorted()).toEqual(frame)
})

test('who changed something is told that it may be in', async () => {
  const response = await askOver(3_600_000, 'PUT')
  expect([response.status, await response.text()]).toEqual([
    503,
    expect.stringContaining('may have been accepted'),
  ])
})

test.each([
  ['where the clock was set forward by less than a second', 900, 'PUT', '/documents/a'],
  ['of an import, which looks again for each piece', 3_600_000, 'POST', '/imports'],
])('the answer is given %s', async (_, ms, method, path) => {
  const response = await askOver(ms, method, path)
  expect([response.status, response.headers.get('etag')]).toEqual([200, '"1"'])
})

test('what the library of the authorization server has sent is left to it', async () => {
  const response = await askOver(3_600_000, 'POST', '/oauth/token')
  expect([response.status, response.headers.has('x-hono-already-sent')]).toEqual([200, true])
})
