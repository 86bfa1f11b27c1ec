import type { IncomingMessage, Server, ServerResponse } from 'node:http'

/** How long a sender may take, and which requests are judged by their pauses. */
export interface SlowSendersOptions {
  /** Milliseconds for a whole request; of those that may take long, of waiting for more of it. */
  readonly msMax: number
  /** Milliseconds between two looks. */
  readonly lookMs: number
  /** Whether we may take long to read it, as with an import, which is read as fast as it is taken in. */
  readonly mayTakeLong: (request: IncomingMessage) => boolean
}

interface Sender {
  readonly response: ServerResponse
  readonly since: number
  bytes: number
  waitedMs: number
}

// Less than that is no sending, but holding a socket.
const bytesPerSecondMin = 1_000

/**
 * Ends requests whose senders hold a socket for too long, as Node's `requestTimeout` does, which cannot tell
 * a sender that is slow from a reader that is. What was answered before all of it came gets no more time.
 * Does NOT watch headers.
 */
export function endSlowSenders(server: Server, { msMax, lookMs, mayTakeLong }: SlowSendersOptions): void {
  const senders = new Map<IncomingMessage, Sender>()

  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { bytesRead: bytes } = request.socket
    senders.set(request, { response, since: performance.now(), bytes, waitedMs: 0 })
    request.once('close', () => senders.delete(request))
  })

  function isTooSlow(request: IncomingMessage, sender: Sender): boolean {
    const { bytesRead } = request.socket
    const sent = bytesRead - sender.bytes
    sender.bytes = bytesRead
    if (!mayTakeLong(request) || sender.response.writableEnded)
      return performance.now() - sender.since >= msMax
    const isOurs = request.isPaused() || request.readableLength > 0
    if (!isOurs && sent < (bytesPerSecondMin * lookMs) / 1_000) sender.waitedMs += lookMs
    return sender.waitedMs >= msMax
  }

  const timer = setInterval(() => {
    for (const [request, sender] of senders) {
      if (request.complete || request.socket.destroyed) senders.delete(request)
      else if (isTooSlow(request, sender)) end(request, sender)
    }
  }, lookMs).unref()
  server.once('close', () => clearInterval(timer))
}

/** As Node ends it. */
function end({ socket }: IncomingMessage, { response }: Sender): void {
  if (!response.headersSent) socket.write('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n')
  socket.destroy()
}
