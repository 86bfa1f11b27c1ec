import { request as send } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Listening } from '../../src/kernel/listening.ts'
import { listen } from '../../src/start.ts'

let server: Listening
beforeAll(async () => {
  server = await listen({
    fetch: async (request) => {
      const { pathname } = new URL(request.url)
      if (pathname === '/refused') return new Response('no', { status: 401 })
      let bytes = 0
      for await (const part of request.body ?? []) {
        bytes += part.length
        if (request.headers.has('slow-reader')) await pause(20)
      }
      return new Response(String(bytes))
    },
    host: '127.0.0.1',
    port: 0,
    drainMs: 100,
    senderMsMax: 1_000,
  })
})
afterAll(() => server[Symbol.asyncDispose]())

interface Sending {
  readonly path: string
  /** Sent at once; left out: a byte now and then, for ever. */
  readonly bytes?: number
  readonly headers?: Readonly<Record<string, string>>
}

/** The status, and whether the connection was cut. */
async function outcomeOf({ path, bytes, headers = {} }: Sending) {
  const { promise, resolve } = Promise.withResolvers<{ status: number | undefined; body: string }>()
  let status: number | undefined
  let body = ''
  const request = send({ port: server.port, method: 'POST', path, headers }, (response) => {
    status = response.statusCode
    response.setEncoding('utf8').on('data', (part) => (body += part))
    response.once('end', () => bytes !== undefined && resolve({ status, body }))
  })
  request.once('close', () => resolve({ status, body }))
  request.on('error', () => undefined)
  const drip = setInterval(() => bytes === undefined && request.write('x'), 100)
  if (bytes !== undefined) request.end(Buffer.alloc(bytes))
  try {
    return await Promise.race([promise, pause(15_000).then(() => 'still open')])
  } finally {
    clearInterval(drip)
    request.destroy()
  }
}

test('a sender that drips its request byte by byte is cut off', async () => {
  expect(await outcomeOf({ path: '/documents' })).toMatchObject({ status: 408 })
}, 30_000)

test('an import that is sent at once is read to its end, however long we take', async () => {
  const since = performance.now()
  expect(
    await outcomeOf({ path: '/imports?mode=snapshot', bytes: 8_000_000, headers: { 'slow-reader': '1' } }),
  ).toEqual({ status: 200, body: '8000000' })
  expect(performance.now() - since).toBeGreaterThan(1_500)
}, 60_000)

test('any other request gets its time in all, however long we take', async () => {
  expect(
    await outcomeOf({ path: '/documents', bytes: 8_000_000, headers: { 'slow-reader': '1' } }),
  ).toMatchObject({ status: 408 })
}, 60_000)

test('a sender whose import stands still, or drips, is cut off', async () => {
  expect(await outcomeOf({ path: '/imports' })).toMatchObject({ status: 408 })
}, 30_000)

test('an import that was answered already gets no more time', async () => {
  expect(await outcomeOf({ path: '/refused' })).toEqual({ status: 401, body: 'no' })
}, 30_000)
