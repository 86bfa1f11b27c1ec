import { once } from 'node:events'
import { Agent, createServer, type RequestListener, request, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { connect, type Socket } from 'node:net'
import { connect as connectSecurely } from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import { listening } from '../../src/kernel/listening.ts'
import { certificateFor } from '../support/certificate.ts'

const host = '127.0.0.1'

/** A TCP connection that the server has accepted, and over which nothing was sent. */
async function silent(server: ReturnType<typeof createServer>, port: number): Promise<Socket> {
  const accepted = once(server, 'connection')
  const socket = connect(port, host).on('error', () => undefined)
  onTestFinished(() => void socket.destroy())
  await accepted
  return socket
}

/** Answers when it is told to. */
function held() {
  const { promise: told, resolve: tell } = Promise.withResolvers<void>()
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
  const listener: RequestListener = (asked, response) => {
    if (asked.url === '/streamed') response.write('one')
    begin()
    void told.then(() => response.end('two'))
  }
  return { listener, tell, begun }
}

async function secondsOf(work: () => PromiseLike<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return (performance.now() - began) / 1000
}

// What a kept connection lasts: a test that waits for it ends by its own time.
const keepAliveTimeout = 75_000

test('ends when its time is over, though the TLS handshake of a connection ends later', async () => {
  const server = createSecureServer({ ...certificateFor('127.0.0.1'), keepAliveTimeout })
  const listener = await listening(server, { host, port: 0, drainMs: 0 })
  const socket = await silent(server, listener.port)
  const seconds = await secondsOf(async () => {
    const ended = listener[Symbol.asyncDispose]()
    connectSecurely({ socket, rejectUnauthorized: false }).on('error', () => undefined)
    await ended
  })
  expect(seconds).toBeLessThan(5)
})

test.each(['/', '/streamed'])(
  'an answer that was open when the server began to end comes whole, and nothing waits after it (%s)',
  async (path) => {
    const { listener, tell, begun } = held()
    const server = createServer({ keepAliveTimeout }, listener)
    const { port, [Symbol.asyncDispose]: end } = await listening(server, { host, port: 0, drainMs: 20_000 })
    using agent = Object.assign(new Agent({ keepAlive: true }), {
      [Symbol.dispose]: () => agent.destroy(),
    })
    const answered = once(request({ host, port, path, agent }).end(), 'response')
    await begun
    const seconds = await secondsOf(async () => {
      const ended = end()
      tell()
      const [response] = await answered
      expect(response.headers.connection).toBe(path === '/' ? 'close' : 'keep-alive')
      let text = ''
      for await (const part of response) text += part
      expect(text).toBe(path === '/' ? 'two' : 'onetwo')
      await ended
    })
    expect(seconds).toBeLessThan(10)
  },
)

test('answers what comes over a connection that it had accepted before it began to end, and closes it', async () => {
  const { listener, tell } = held()
  tell()
  const server = createServer({ keepAliveTimeout }, listener)
  const { port, [Symbol.asyncDispose]: end } = await listening(server, { host, port: 0, drainMs: 20_000 })
  const socket = await silent(server, port)
  // Half of a request: such a connection is not idle.
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n')
  await new Promise((resolve) => setTimeout(resolve, 100))
  const seconds = await secondsOf(async () => {
    const ended = end()
    socket.write('\r\n')
    let text = ''
    for await (const part of socket) text += part
    expect(text).toMatch(/^HTTP\/1\.1 200 .*\r\nconnection: close\r\n.*two/is)
    await ended
  })
  expect(seconds).toBeLessThan(10)
})

test('an answer that comes before its question was all sent is read whole', async () => {
  const server = createServer({ keepAliveTimeout }, (asked, response) => {
    asked.on('error', () => undefined)
    setTimeout(() => response.writeHead(413, { 'content-length': 20 }).end('z'.repeat(20)), 100)
  })
  const { port, [Symbol.asyncDispose]: end } = await listening(server, { host, port: 0, drainMs: 2_000 })
  const socket = await silent(server, port)
  socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 60000000\r\n\r\n')
  socket.write(Buffer.alloc(8_000_000))
  const asked = once(server, 'request')
  await asked
  const ended = end()
  // Whoever sends reads a moment later.
  await new Promise((resolve) => setTimeout(resolve, 400))
  let text = ''
  socket.on('data', (part) => {
    text += part
  })
  await expect.poll(() => text).toMatch(/^HTTP\/1\.1 413 .*z{20}$/s)
  await ended
})

test.each(['/', '/streamed'])(
  'both of two questions on one connection are answered, and then it is closed, whoever keeps its half open (%s)',
  async (path) => {
    const open: ServerResponse[] = []
    const server = createServer({ keepAliveTimeout }, (asked, response) => {
      if (asked.url === '/streamed') response.write('one')
      open.push(response)
    })
    const { port, [Symbol.asyncDispose]: end } = await listening(server, { host, port: 0, drainMs: 20_000 })
    const socket = connect({ host, port, allowHalfOpen: true })
    onTestFinished(() => void socket.destroy())
    let text = ''
    socket.on('data', (part) => {
      text += part
    })
    const question = (url: string) => `GET ${url} HTTP/1.1\r\nhost: x\r\n\r\n`
    socket.write(question(path) + question('/second'))
    await expect.poll(() => open.length).toBe(2)
    const seconds = await secondsOf(async () => {
      const ended = end()
      open[0]?.end('FIRST')
      await new Promise((resolve) => setTimeout(resolve, 100))
      open[1]?.end('SECOND')
      await ended
    })
    await expect.poll(() => text).toMatch(/FIRST.*SECOND/s)
    expect(seconds).toBeLessThan(10)
  },
)

test('closes what has no answer once the time of open requests is over', async () => {
  const { listener, begun } = held()
  const server = createServer({ keepAliveTimeout }, listener)
  const { port, [Symbol.asyncDispose]: end } = await listening(server, { host, port: 0, drainMs: 200 })
  const failed = once(request({ host, port, agent: false }).end(), 'error')
  await begun
  expect(await secondsOf(end)).toBeGreaterThan(0.15)
  const [error] = await failed
  expect(error.code).toBe('ECONNRESET')
})
