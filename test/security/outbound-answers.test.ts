import type { Socket } from 'node:net'
import { inspect } from 'node:util'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { drip, flood, head, serve, serveRaw } from '../support/hostile-server.ts'
import { limits, read, refusal } from './outbound-fetch.ts'

describe('whoever answers badly', () => {
  test.each<[string, (socket: Socket) => void, string]>([
    ['never', () => undefined, 'timed_out'],
    [
      'with headers, a byte at a time',
      (socket) => drip(socket, 'HTTP/1.1 200 OK\r\nx-slow: ', 'a'),
      'timed_out',
    ],
    [
      'with a body, a byte at a time',
      (socket) => drip(socket, head('transfer-encoding: chunked'), '1\r\na\r\n'),
      'timed_out',
    ],
    [
      'with early hints for ever',
      (socket) => drip(socket, '', 'HTTP/1.1 103 Early Hints\r\n\r\n'),
      'timed_out',
    ],
    [
      'with headers without end',
      (socket) => flood(socket, 'HTTP/1.1 200 OK\r\n', 'x-more: aaaaaaaaaaaaaaaa\r\n'),
      'too_large',
    ],
    ['with a body without end', (socket) => flood(socket, head(), 'a'.repeat(1_024)), 'too_large'],
    [
      'with chunks without end',
      (socket) => flood(socket, head('transfer-encoding: chunked'), '4\r\naaaa\r\n'),
      'too_large',
    ],
    ['with half of what it promised', (socket) => socket.end(`${head('content-length: 10')}half`), 'broken'],
    ['with something else than HTTP', (socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'), 'broken'],
    [
      'with two lengths',
      (socket) => socket.end(`${head('content-length: 1\r\ncontent-length: 2')}ab`),
      'broken',
    ],
    [
      'with a length and chunks',
      (socket) => socket.end(`${head('content-length: 3\r\ntransfer-encoding: chunked')}0\r\n\r\n`),
      'broken',
    ],
    [
      'with a status that is none',
      (socket) => socket.end('HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n'),
      'broken',
    ],
    ['by hanging up', (socket) => socket.destroy(), 'broken'],
    [
      'with another protocol',
      (socket) =>
        socket.end('HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n'),
      'broken',
    ],
  ])('%s, is given up', async (_, answer, reason) => {
    await using server = await serveRaw(answer)
    const given = (timeoutMs: number) =>
      refusal(server.origin, { allowedOrigins: [server.origin] }, { timeoutMs })
    let error = await given(reason === 'timed_out' ? 300 : 20_000)
    // On a machine that stands still for so long nothing is sent in time.
    if (reason === 'timed_out' && !error.sent) error = await given(10_000)
    expect(error).toMatchObject({ reason, sent: true })
  })

  test('with a body that takes its time is waited for, with headers that do is not', async () => {
    const options = (origin: string) => ({ allowedOrigins: [origin] })
    await using body = await serveRaw((socket) => {
      socket.write(head('content-length: 2'))
      setTimeout(() => socket.end('ok'), 4_500)
    })
    // Long enough that the headers are there, whatever else the machine does.
    const patience = { timeoutMs: 25_000, headersTimeoutMs: 4_000 }
    expect((await read(body.origin, options(body.origin), patience)).text).toBe('ok')
    await using headers = await serveRaw((socket) => drip(socket, 'HTTP/1.1 200 OK\r\nx-slow: ', 'a'))
    const hasty = { ...patience, headersTimeoutMs: 200 }
    expect((await refusal(headers.origin, options(headers.origin), hasty)).reason).toBe('timed_out')
  })

  test('by a bomb, is given up before it is unpacked, whatever it is packed in', async () => {
    const zeros = Buffer.alloc(64 * 1024 * 1024)
    const packed = { gzip: gzipSync(zeros), deflate: deflateSync(zeros), br: brotliCompressSync(zeros) }
    for (const [encoding, body] of Object.entries(packed)) {
      expect(body.byteLength).toBeLessThan(limits.bytesMax * 2)
      await using server = await serve((_, response) =>
        response.writeHead(200, { 'content-encoding': encoding }).end(body),
      )
      const before = process.memoryUsage().arrayBuffers
      const { reason } = await refusal(server.origin, { allowedOrigins: [server.origin] })
      expect([encoding, reason]).toEqual([encoding, 'too_large'])
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024)
    }
  })

  test('with a stream that decodes to nothing for ever, is given up by what came in', async () => {
    const nothing = gzipSync('')
    await using server = await serveRaw((socket) => flood(socket, head('content-encoding: gzip'), nothing))
    expect((await refusal(server.origin, { allowedOrigins: [server.origin] })).reason).toBe('too_large')
  })

  test.each([['zstd'], ['gzip, gzip'], ['compress'], ['br, gzip'], ['gzip']])(
    'with something that is not %s, or not one of the encodings that are read, is given up',
    async (encoding) => {
      await using server = await serve((_, response) =>
        response.writeHead(200, { 'content-encoding': encoding }).end('plain text'),
      )
      expect((await refusal(server.origin, { allowedOrigins: [server.origin] })).reason).toBe('broken')
    },
  )

  test('and quotes what it was sent, is not quoted in the error', async () => {
    const secret = 'a-token-of-somebody'
    for (const answer of [
      `${secret} is what you sent\r\n`,
      `HTTP/1.1 200 OK\r\n${secret} x: y\r\n\r\n`,
      `HTTP/1.1 ${secret}\r\n\r\n`,
      `${head('content-encoding: gzip')}${secret}`,
      `${head('transfer-encoding: chunked')}${secret}\r\n`,
    ]) {
      await using server = await serveRaw((socket) => socket.end(answer))
      const error = await refusal(
        server.origin,
        { allowedOrigins: [server.origin] },
        { headers: { authorization: `Bearer ${secret}` } },
      )
      expect(inspect(error, { depth: 20, showHidden: true })).not.toContain(secret)
    }
  })
})

describe('the request', () => {
  test('asks for a body that is not packed, and reads one that is packed all the same', async () => {
    for (const [encoding, pack] of [
      ['gzip', gzipSync],
      ['x-gzip', gzipSync],
      ['deflate', deflateSync],
      ['br', brotliCompressSync],
    ] as const) {
      await using server = await serve((_, response) =>
        response.writeHead(200, { 'content-encoding': encoding }).end(pack('unpacked')),
      )
      const answer = await read(server.origin, { allowedOrigins: [server.origin] })
      expect([answer.text, answer.headers.has('content-encoding')]).toEqual(['unpacked', false])
      expect(server.seen[0]?.headers).toMatchObject({ 'accept-encoding': 'identity', 'user-agent': 'remit' })
    }
  })

  test('is what was asked for, and nothing else', async () => {
    await using server = await serve((_, response) => response.end())
    await read(
      `${server.origin}/a/b?c=d#e`,
      { allowedOrigins: [server.origin] },
      { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: 'text' },
    )
    expect(server.seen).toEqual([
      {
        method: 'POST',
        url: '/a/b?c=d',
        headers: {
          host: server.origin.slice('http://'.length),
          connection: 'keep-alive',
          'user-agent': 'remit',
          'content-type': 'text/plain',
          'content-length': '4',
          'accept-encoding': 'identity',
        },
        body: 'text',
      },
    ])
  })

  test.each([
    'Host',
    'connection',
    'Transfer-Encoding',
    'content-length',
    'proxy-authorization',
    'accept-encoding',
    'expect',
    'upgrade',
  ])('cannot set %s', async (name) => {
    await using server = await serve((_, response) => response.end())
    await expect(
      read(server.origin, { allowedOrigins: [server.origin] }, { headers: { [name]: 'a' } }),
    ).rejects.toBeInstanceOf(TypeError)
    expect(server.connections()).toBe(0)
  })

  test.each([
    [{ headers: { 'x-a': 'b\r\nx-c: d' } }],
    [{ headers: { 'x-a\r\nx-c': 'd' } }],
    [{ method: 'GET / HTTP/1.1\r\nx: y\r\n\r\nGET' }],
  ])('cannot be split: %j', async (request) => {
    await using server = await serve((_, response) => response.end())
    await expect(read(server.origin, { allowedOrigins: [server.origin] }, request)).rejects.toThrow(/invalid/)
    expect(server.seen).toEqual([])
  })

  test('ends when its caller gives up, also while the name is being resolved', async () => {
    await using server = await serveRaw(() => undefined)
    const controller = new AbortController()
    const ended = refusal(server.origin, { allowedOrigins: [server.origin] }, { signal: controller.signal })
    await expect.poll(() => server.connections()).toBe(1)
    controller.abort()
    expect((await ended).reason).toBe('aborted')
    const lookup = () => new Promise<never>(() => undefined)
    const late = await refusal('https://slow.example/', { lookup }, { timeoutMs: 50 })
    expect(late).toMatchObject({ reason: 'timed_out', sent: false })
    const given = await refusal('https://slow.example/', { lookup }, { signal: AbortSignal.abort() })
    expect(given).toMatchObject({ reason: 'aborted', sent: false })
  })

  test('says of a name that nobody has, and of a port where nobody listens, that nothing was sent', async () => {
    expect(await refusal('https://nobody.example/')).toMatchObject({ reason: 'unreachable', sent: false })
    const gone = await serve((_, response) => response.end())
    await gone[Symbol.asyncDispose]()
    expect(await refusal(gone.origin, { allowedOrigins: [gone.origin] })).toMatchObject({
      reason: 'unreachable',
      sent: false,
    })
  })
})
