import { once } from 'node:events'
import { createServer as createHttp, type RequestListener } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { createServer as createTcp, type Server, type Socket } from 'node:net'

export const head = (headers = 'connection: close') => `HTTP/1.1 200 OK\r\n${headers}\r\n\r\n`

/** Sends a little, for as long as anybody listens. */
export function drip(socket: Socket, first: string, then: string): void {
  socket.write(first)
  const timer = setInterval(() => socket.write(then), 20)
  socket.on('close', () => clearInterval(timer))
}

/** Sends as much as the other side takes. */
export function flood(socket: Socket, first: string, then: string | Uint8Array): void {
  const block = Buffer.concat(Array.from({ length: 64 }, () => Buffer.from(then)))
  const more = () => {
    while (!socket.destroyed && socket.write(block));
  }
  socket.write(first)
  socket.on('drain', more)
  more()
}

interface Seen {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: object
  readonly body: string
}

interface ServeOptions {
  readonly tls?: { readonly key: string; readonly cert: string }
  readonly host?: string
  readonly port?: number
}

export async function serve(answer: RequestListener, { tls, host, port }: ServeOptions = {}) {
  const seen: Seen[] = []
  const listener: RequestListener = (request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const { method, url, headers } = request
      seen.push({ method, url, headers, body: Buffer.concat(parts).toString() })
      answer(request, response)
    })
  }
  const server = tls === undefined ? createHttp(listener) : createHttps(tls, listener)
  return { ...(await listening(server, host, port)), seen }
}

export const serveRaw = (answer: (socket: Socket) => void) =>
  listening(
    createTcp((socket) => {
      socket.on('error', () => socket.destroy())
      socket.once('data', () => answer(socket))
    }),
  )

async function listening(server: Server, host = '127.0.0.1', wanted = 0) {
  const sockets = new Set<Socket>()
  let connections = 0
  server.on('connection', (socket: Socket) => {
    connections += 1
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(wanted, host)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The server has no port.')
  return {
    port: address.port,
    origin: `http://${host}:${address.port}`,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      if (!server.listening) return
      server.close()
      await once(server, 'close')
    },
  }
}
