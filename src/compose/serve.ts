import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'

/** A server that listens. Disposing of it drains open requests. */
export interface Listening extends AsyncDisposable {
  readonly port: number
}

/** What answers, at which address and port, and the milliseconds that open requests get at the end. */
export interface ListenOptions {
  readonly fetch: (request: Request, env: unknown) => Response | Promise<Response>
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Milliseconds that open requests get to end at close. Defaults to 10,000. */
  readonly drainMs?: number
}

/** Listens, and at disposal drains: no new requests, open ones end, then the sockets close. */
export async function listen({ fetch, host, port, drainMs = 10_000 }: ListenOptions): Promise<Listening> {
  const server = createAdaptorServer({
    fetch,
    // Slow senders may not hold a socket for ever; Node looks only every 30 s unless told.
    // A kept connection outlasts what proxies keep and the slowest polling: many clients do not send again what they
    // sent into one that was just closed, and Node's 5 s are the pause between two polls.
    serverOptions: {
      headersTimeout: 10_000,
      requestTimeout: 120_000,
      keepAliveTimeout: 75_000,
      connectionsCheckingInterval: 5_000,
    },
  }) as Server
  server.listen(port, host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      server.closeIdleConnections()
      const drainTimer = setTimeout(() => server.closeAllConnections(), drainMs)
      await closed
      clearTimeout(drainTimer)
    },
  }
}
