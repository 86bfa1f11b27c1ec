import { describe, expect, test } from 'vitest'
import { hostsOf } from '../../src/http/middleware/frame.ts'
import { createFace, publicUrl } from './app.ts'

describe('the frame of every answer', () => {
  test.each([
    ['an answer', '/healthz', 200],
    ['a 404', '/nowhere', 404],
    ['a 421', 'http://evil.example/healthz', 421],
    ['a 414', `/documents/${'a'.repeat(9_000)}`, 414],
  ])('forbids caches and sniffing: %s', async (_, path, status) => {
    const response = await createFace().call(path)
    expect(response.status).toBe(status)
    expect(response.headers.get('cache-control')).toBe('private, no-store')
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    expect(response.headers.get('referrer-policy')).toBe('no-referrer')
  })
})

describe('the Host header', () => {
  test.each(['localhost:8787', 'LOCALHOST:8787', '127.0.0.1:8787', '[::1]:8787'])(
    'may be %s',
    async (host) => {
      expect((await createFace().call('/healthz', { headers: { host } })).status).toBe(200)
    },
  )

  test.each([
    'evil.example',
    'localhost',
    'localhost:1',
    'localhost:8787.evil.example',
    'evil.example:8787',
    '',
  ])('may not be "%s": a page elsewhere could reach us by its own name', async (host) => {
    const response = await createFace().call('/healthz', { headers: { host } })
    expect(response.status).toBe(421)
    expect(await response.json()).toMatchObject({ code: 'misdirected_request' })
  })

  test('is checked before the token', async () => {
    const response = await createFace().call('/documents/a', {
      headers: { host: 'evil.example', authorization: '' },
    })
    expect(response.status).toBe(421)
  })

  test('of a service that is not on loopback is its public name and its address, not localhost', () => {
    expect(hostsOf('https://remit.example', '10.0.0.5', 8787)).toEqual(
      new Set(['remit.example', '10.0.0.5:8787']),
    )
  })

  test('of a service on loopback is every name of loopback, at its own port', () => {
    expect(hostsOf('http://localhost:9000', '127.0.0.1', 8787)).toEqual(
      new Set(['localhost:9000', '127.0.0.1:8787', 'localhost:8787', '[::1]:8787']),
    )
  })
})

describe('a request target', () => {
  test('of over 8,192 characters gets 414 before anything is looked at', async () => {
    const path = (length: number) =>
      `/documents/${'a'.repeat(length - publicUrl.length - '/documents/'.length)}`
    const { call } = createFace()
    const headers = { authorization: '' }
    expect((await call(path(8_193), { headers })).status).toBe(414)
    expect((await call(path(8_192), { headers })).status).toBe(401)
  })
})

describe('a body', () => {
  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    'application/jsonp',
    '',
  ])('of type "%s" gets 415', async (type) => {
    const response = await createFace().ask({ query: 'q' }, { 'content-type': type })
    expect(response.status).toBe(415)
    expect(await response.json()).toMatchObject({ code: 'unsupported_media_type' })
  })

  test.each(['application/json', 'application/json; charset=utf-8', 'Application/JSON'])(
    'may be of type "%s"',
    async (type) => {
      expect((await createFace().ask({ query: 'q' }, { 'content-type': type })).status).toBe(200)
    },
  )

  test('of over 256 KiB gets 413, whether it says its length or streams', async () => {
    const { ask, call } = createFace()
    const large = JSON.stringify({ query: 'a'.repeat(300_000) })
    const said = await ask(large, { 'content-length': String(large.length) })
    expect(said.status).toBe(413)
    expect(await said.json()).toMatchObject({ code: 'payload_too_large' })
    const init: RequestInit & { duplex: 'half' } = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: new Blob([large]).stream(),
      duplex: 'half',
    }
    expect((await call('/retrieve', init)).status).toBe(413)
  })

  test('that says two lengths, or none that is a number, is counted as it comes or refused', async () => {
    const { ask } = createFace()
    const large = JSON.stringify({ query: 'a'.repeat(300_000) })
    for (const headers of [
      { 'content-length': '10', 'transfer-encoding': 'chunked' },
      { 'content-length': 'ten' },
    ])
      expect((await ask(large, headers)).status).toBe(413)
  })

  test('may have as much as fits below that', async () => {
    const response = await createFace().ask({
      query: 'a'.repeat(8_192),
      filter: { f: { in: Array(100).fill('b'.repeat(1_000)) } },
    })
    expect(response.status).toBe(200)
  })
})

describe('the deadline', () => {
  test('is handed to the work, as a signal and as a time', async () => {
    const started = Date.now()
    let left = 0
    const { ask } = createFace({
      requestDeadlineMs: 1_000,
      retrieve: async (_, __, deadline) => {
        left = deadline.at - started
        await new Promise((_resolve, reject) =>
          deadline.signal.addEventListener('abort', () => reject(deadline.signal.reason)),
        )
        throw new Error('never reached')
      },
    })
    const response = await ask()
    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({ code: 'deadline_exceeded' })
    expect(left).toBeGreaterThanOrEqual(1_000)
    expect(Date.now() - started).toBeLessThan(8_000)
  })

  test('ends as well when the client goes away', async () => {
    const client = new AbortController()
    let aborted = false
    const { call } = createFace({
      readDocument: async (_, __, { signal }) => {
        client.abort()
        aborted = signal.aborted
        throw new DOMException('gone', 'AbortError')
      },
    })
    await call('/documents/a', { signal: client.signal })
    expect(aborted).toBe(true)
  })
})
