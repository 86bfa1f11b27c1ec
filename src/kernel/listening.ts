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
  const open = new Map<Socket, Set<ServerResponse>>()
  let isEnding = false
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request
    const ofSocket = (open.get(socket) ?? new Set()).add(response)
    open.set(socket, ofSocket)
    // Node says only after this event that all of a question is there.
    if (isEnding) process.nextTick(sayLast, ofSocket)
    response.once('close', () => {
      ofSocket.delete(response)
      if (ofSocket.size > 0) return
      open.delete(socket)
      if (!isEnding) return
      // What was sent and nobody has read would reset the connection, and the answer with it.
      if (request.complete) socket.destroySoon()
      else socket.end()
    })
  })
  server.listen(options.port, options.host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      isEnding = true
      for (const ofSocket of open.values()) sayLast(ofSocket)
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

/**
 * Whoever asks sends nothing more over this connection. Node closes it then at once: not where a part of the
 * question is still on its way, or another question waits behind.
 */
function sayLast(ofSocket: ReadonlySet<ServerResponse>): void {
  const [response] = ofSocket
  if (response === undefined || ofSocket.size > 1) return
  if (response.req.complete && !response.headersSent) response.setHeader('connection', 'close')
}
