import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Where a server listens, and how long open requests get to end at its end, in milliseconds. */
export interface ListeningOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly drainMs: number
}

/** A server that listens. Disposing of it takes no more requests and drains the open ones. */
export interface Listening extends AsyncDisposable {
  readonly port: number
}

/** Begins to listen. Rejects where the port cannot be had. */
export async function listening(server: Server, options: ListeningOptions): Promise<Listening> {
  server.listen(options.port, options.host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      server.closeIdleConnections()
      const drainTimer = setTimeout(() => server.closeAllConnections(), options.drainMs)
      await closed
      clearTimeout(drainTimer)
    },
  }
}
