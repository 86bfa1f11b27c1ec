import { once } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

/** Where a server listens, and how long open requests get to end at its end, in milliseconds. */
export interface ListeningOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly drainMs: number
}

/**
 * A server that listens. Disposing of it takes no more connections, answers what is open and closes each
 * connection after its answer. What is open once `drainMs` are over is closed, also in its TLS handshake.
 */
export interface Listening extends AsyncDisposable {
  readonly port: number
}

/** Begins to listen. Rejects where the port cannot be had. */
export async function listening(server: Server, options: ListeningOptions): Promise<Listening> {
  // Node's own closeAllConnections() knows no connection whose TLS handshake is not over. Once that is over,
  // its client keeps it as long as it likes: Node closes idle connections only as the end begins.
  const sockets = new Set<Socket>()
  const open = new Set<ServerResponse>()
  let isEnding = false
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.prependListener('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    open.add(response)
    if (isEnding) sayLast(response)
    response.once('close', () => {
      open.delete(response)
      if (isEnding) socket.end()
    })
  })
  server.listen(options.port, options.host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      isEnding = true
      open.forEach(sayLast)
      // Closes the idle ones as well.
      server.close()
      const drainTimer = setTimeout(() => {
        for (const socket of sockets) socket.destroy()
      }, options.drainMs)
      await closed
      clearTimeout(drainTimer)
    },
  }
}

/** Whoever asks sends nothing more over this connection, where its head is not yet sent. */
function sayLast(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader('connection', 'close')
}
