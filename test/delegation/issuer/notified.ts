import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'

/** One request to the address at which a client wants to be told. */
export interface Told {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/**
 * A client's notification endpoint (CIBA §10.2): a server of its own on loopback, which answers as a test
 * says.
 */
export interface Notified extends AsyncDisposable {
  readonly origin: string
  readonly url: string
  readonly told: Told[]
  /** Default: 204. */
  answer: {
    readonly status: number
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: string
  }
}

export async function openNotified(): Promise<Notified> {
  const told: Told[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (part: string) => {
      body += part
    })
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request
      told.push({ method, path, headers, body })
      const { status, headers: more = {}, body: said = '' } = notified.answer
      response.writeHead(status, more).end(said)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('There is no free port.')
  const origin = `http://127.0.0.1:${address.port}`
  const notified: Notified = {
    origin,
    url: `${origin}/ciba`,
    told,
    answer: { status: 204 },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return notified
}
