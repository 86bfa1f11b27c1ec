import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach } from 'vitest'
import { createRemoteEmbedder, type RemoteEmbedderOptions } from '../../src/embed/remote.ts'

export interface Body {
  readonly model: string
  readonly input: readonly string[]
  readonly dimensions?: number
  readonly encoding_format: string
}
export type Handler = (body: Body, response: ServerResponse, request: IncomingMessage) => void

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

/** A real HTTP server on loopback that speaks `POST /v1/embeddings`. */
export async function endpoint(handler: Handler, options: Partial<RemoteEmbedderOptions> = {}) {
  const bodies: Body[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const body: Body = JSON.parse(Buffer.concat(parts).toString())
      bodies.push(body)
      if (request.url !== '/v1/embeddings') response.writeHead(404).end()
      else handler(body, response, request)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const embedder = createRemoteEmbedder({
    baseUrl: `http://127.0.0.1:${port}/v1`,
    model: 'double',
    dimensions: 3,
    ...options,
  })
  closers.push(async () => {
    await embedder[Symbol.asyncDispose]()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { embedder, bodies }
}

export const json = (response: ServerResponse, status: number, value: unknown, headers = {}) =>
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))

export const answer = (response: ServerResponse, vectors: readonly (readonly unknown[])[]) =>
  json(response, 200, {
    object: 'list',
    model: 'double',
    data: vectors.map((embedding, index) => ({ object: 'embedding', index, embedding })),
    usage: { prompt_tokens: 1, total_tokens: 1 },
  })

/** One number of each vector tells which text it is for. */
export const byText: Handler = (body, response) =>
  answer(
    response,
    body.input.map((text) => [text.length, 3, 4]),
  )
