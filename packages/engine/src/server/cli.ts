#!/usr/bin/env node
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { createEngine } from './engine.ts'

const usage =
  'remit-fga [--port 8080]\n\nServes the OpenFGA HTTP API on 127.0.0.1, in memory. For development: no authentication, nothing is kept.'

/** Serves the engine on loopback, in memory, without authentication: for development only. */
const { port: requestedPort, help } = readArguments()
if (help) {
  console.log(usage)
  process.exit(0)
}

const engine = createEngine({ onError: (error) => console.error(error) })

const server = createServer((incoming, outgoing) => {
  respond(incoming, outgoing).catch((error: unknown) => {
    console.error(error)
    outgoing.destroy()
  })
})

function readArguments(): { readonly port: number; readonly help: boolean } {
  try {
    const { values } = parseArgs({
      options: { port: { type: 'string', default: '8080' }, help: { type: 'boolean', short: 'h' } },
    })
    if (!/^\d{1,5}$/.test(values.port) || Number(values.port) > 65_535)
      throw new Error(`--port ${values.port} is no port`)
    return { port: Number(values.port), help: values.help === true }
  } catch (error) {
    fail(`${error instanceof Error ? error.message : 'unknown'}\n\n${usage}`)
  }
}

function fail(message: string): never {
  console.error(message)
  process.exit(2)
}

// A page in this machine's browser may make its own name lead here.
const isOurs = (host: string | undefined): boolean =>
  host !== undefined && /^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/i.test(host)

async function respond(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  if (!isOurs(incoming.headers.host)) {
    outgoing.writeHead(421).end()
    return
  }
  const hasBody = incoming.method !== 'GET' && incoming.method !== 'HEAD'
  const body = hasBody ? { body: Readable.toWeb(incoming), duplex: 'half' as const } : {}
  const request = new Request(`http://127.0.0.1${incoming.url ?? '/'}`, {
    method: incoming.method ?? 'GET',
    ...body,
  })
  const response = await engine.fetch(request)
  outgoing.writeHead(response.status, Object.fromEntries(response.headers))
  if (response.body === null) outgoing.end()
  else await pipeline(Readable.fromWeb(response.body), outgoing)
}

server.on('error', (error) => fail(`Cannot listen on 127.0.0.1:${requestedPort}: ${error.message}`))
server.listen(requestedPort, '127.0.0.1', () => {
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : requestedPort
  console.log(`OpenFGA API in memory on http://127.0.0.1:${port}`)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    server.close()
    server.closeAllConnections()
  })
}
