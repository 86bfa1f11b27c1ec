import { constants, type X509Certificate } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { z } from 'zod'
import { type Listening, listening } from '../../kernel/listening.ts'
import type { Log } from '../../kernel/log.ts'
import { reasonOf } from '../../kernel/reason.ts'
import type { Answerer } from './answer.ts'
import { path, question, refusals } from './protocol.ts'
import { hasRole } from './role.ts'

/** A certificate, its key, and who signs those of the others; each the text of a PEM file. */
export interface Credentials {
  readonly cert: string
  readonly key: string
  readonly ca: string
}

/** Where API processes reach a nominator, and what answers them. */
export interface ServeOptions {
  readonly answer: Answerer
  readonly credentials: Credentials
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly log: Log
  /** Milliseconds that open requests get to end at the end. Default 10,000. */
  readonly drainMs?: number
}

// The names of 20,000 objects, and more.
const bytesMax = 8_000_000
// A process that asks keeps a few, and peers without a certificate have none for long.
const connectionsMax = 2_000

/**
 * Answers whoever shows a certificate with the role `api` of the given authority, over TLS 1.3. No ticket is
 * given: each connection shows its certificate anew.
 */
export async function serveNominator(options: ServeOptions): Promise<Listening> {
  const { answer, credentials, host, port, log, drainMs = 10_000 } = options
  const server = createServer({
    ...credentials,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    secureOptions: constants.SSL_OP_NO_TICKET,
    handshakeTimeout: 10_000,
    headersTimeout: 10_000,
    requestTimeout: 10_000,
    keepAliveTimeout: 75_000,
    connectionsCheckingInterval: 5_000,
  })
  server.maxConnections = connectionsMax
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    respond(request, answer, gone.signal).then(
      ({ status, body }) => send(response, status, body),
      (error: unknown) => {
        if (gone.signal.aborted) return
        log('nominator_failed', { reason: reasonOf(error) })
        send(response, 500, undefined)
      },
    )
  })
  return listening(server, { host, port, drainMs })
}

interface Reply {
  readonly status: number
  readonly body?: object
}

async function respond(request: IncomingMessage, answer: Answerer, signal: AbortSignal): Promise<Reply> {
  const certificate = (request.socket as TLSSocket).getPeerX509Certificate() as X509Certificate | undefined
  if (!hasRole(certificate, 'api')) return { status: 403 }
  if (request.method !== 'POST' || request.url !== path) return { status: 404 }
  const text = await textOf(request)
  const read = text === undefined ? undefined : question.safeParse(parsed(text))
  if (read === undefined) return { status: 413 }
  if (!read.success) return { status: 400, body: { problem: z.prettifyError(read.error) } }
  const answered = await answer(read.data, signal)
  return typeof answered === 'string' ? { status: refusals[answered] } : { status: 200, body: answered }
}

async function textOf(request: IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > bytesMax) return undefined
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function send(response: ServerResponse, status: number, body: object | undefined): void {
  const text = body === undefined ? '' : JSON.stringify(body)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'private, no-store',
    // Whoever has no business here does not keep a connection.
    ...(status >= 400 && status !== refusals.unready && { connection: 'close' }),
  })
  response.end(text)
}
