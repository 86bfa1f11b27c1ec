#!/usr/bin/env node
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { createEngine } from './engine.ts'

/** Serves the engine on loopback, in memory, without authentication: for development only. */
const { values } = parseArgs({
  options: { port: { type: 'string', default: '8080' }, help: { type: 'boolean', short: 'h' } },
})

if (values.help) {
  console.log(
    'remit-fga [--port 8080]\n\nServes the OpenFGA HTTP API on 127.0.0.1, in memory. For development: no authentication, nothing is kept.',
  )
  process.exit(0)
}

const engine = createEngine({ onError: (error) => console.error(error) })

const server = createServer((incoming, outgoing) => {
  respond(incoming, outgoing).catch((error: unknown) => {
    console.error(error)
    outgoing.destroy()
  })
})

async function respond(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
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

server.listen(Number(values.port), '127.0.0.1', () => {
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : values.port
  console.log(`OpenFGA API in memory on http://127.0.0.1:${port}`)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    server.close()
    server.closeAllConnections()
  })
}
