import { lookup } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import type { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { buildConnector, Client, errors } from 'undici'
import { unlessAborted } from '../kernel/with-timeout.ts'
import { isPublicAddress } from './addresses.ts'
import { type Destination, destinationOf } from './destination.ts'
import { OutboundError, type OutboundReason } from './error.ts'

/** A request to a third party. */
export interface OutboundRequest {
  /** Default GET. */
  readonly method?: string
  /**
   * `host`, `accept-encoding` and everything about the connection are set here: naming one is a bug, which
   * throws.
   */
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  readonly signal?: AbortSignal
  /** Milliseconds for all of it: name, connection, headers, body. */
  readonly timeoutMs: number
  /** Milliseconds of it until the headers have come. Default 10 seconds. */
  readonly headersTimeoutMs?: number
  /** Bytes of the body, decoded. The headers have 16 KiB. */
  readonly bytesMax: number
}

/** What a third party answered, its body read. */
export interface OutboundResponse {
  /** As it came: a redirect is an answer and is not followed. */
  readonly status: number
  /** Without `content-encoding` and `content-length`, since the body is decoded. */
  readonly headers: Headers
  readonly body: Uint8Array
}

/** Throws `OutboundError` for whatever goes wrong on the way, and nothing else but for bugs of its caller. */
export type GuardedFetch = (url: string, request: OutboundRequest) => Promise<OutboundResponse>

export interface Resolved {
  readonly address: string
  readonly family: number
}

/** How names are resolved, and which origins may have private addresses. */
export interface GuardedFetchOptions {
  /** Every address of a name. Addresses are not asked for. */
  readonly lookup: (host: string) => Promise<readonly Resolved[]>
  /**
   * Exact origins (`http://127.0.0.1:9000`) that may be http and have private addresses. None is the rule.
   */
  readonly allowedOrigins: readonly string[]
  /** Roots of trust instead of the system's, as PEM. For tests. */
  readonly ca?: string
  /** Which addresses may be connected to. For tests, where all there is is loopback. */
  readonly isPublic?: (address: string) => boolean
}

const headerBytesMax = 16_384
const ownHeaders =
  /^(host|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|expect|content-length|accept-encoding)$/i

/**
 * Requests to addresses that come from outside: SSRF ends here. A name is resolved once; if any of its
 * addresses is not public, none is used; the connection goes to those that were judged and to no others,
 * whatever the name says a moment later (DNS rebinding). TLS is verified by name whatever
 * NODE_TLS_REJECT_UNAUTHORIZED says; HTTP/1.1; proxies of the environment are not used; each request has a
 * connection of its own, so that none is used that was judged for another one. NOT checked: whether the
 * caller may ask that host at all.
 */
export function createGuardedFetch({
  lookup,
  allowedOrigins,
  ca,
  isPublic = isPublicAddress,
}: GuardedFetchOptions): GuardedFetch {
  const allowed = new Set(allowedOrigins)

  async function resolve({ host, isAllowed }: Destination, signal: AbortSignal) {
    // A connection to an address asks nobody, so nobody may answer for it here.
    const family = isIP(host)
    const addresses =
      family === 0 ? await unlessAborted(lookup(host), signal).catch(() => []) : [{ address: host, family }]
    signal.throwIfAborted()
    if (addresses.length === 0) throw new OutboundError('unreachable', { sent: false })
    if (!isAllowed && !addresses.every(({ address }) => isPublic(address)))
      throw new OutboundError('address_refused', { sent: false })
    return addresses
  }

  return async (address, request) => {
    const destination = destinationOf(address, allowed)
    if (destination === undefined) throw new OutboundError('url_refused', { sent: false })
    const clientRequest = requestOf(destination, request)
    const limits = deadlines(request)
    const progress = { sent: false }
    try {
      const addresses = await resolve(destination, limits.signal)
      const isExpected = (remote: string | undefined) =>
        remote !== undefined && (destination.isAllowed || isPublic(remote))
      await using client = clientFor(destination, { addresses, isExpected, ca, progress, ...request })
      const response = await client.request({ ...clientRequest, signal: limits.signal })
      limits.headersCame()
      return await responseOf(response, request.bytesMax)
    } catch (error) {
      throw outbound(error, limits, progress.sent)
    } finally {
      limits.clear()
    }
  }
}

interface Connection {
  readonly addresses: readonly Resolved[]
  readonly isExpected: (address: string | undefined) => boolean
  readonly ca: string | undefined
  readonly progress: { sent: boolean }
  readonly timeoutMs: number
}

function clientFor({ url }: Destination, { addresses, isExpected, ca, progress, timeoutMs }: Connection) {
  const judged: LookupFunction = (_, { all: wantsAll }, callback) => {
    const [firstAddress] = addresses
    if (wantsAll || firstAddress === undefined) callback(null, [...addresses])
    else callback(null, firstAddress.address, firstAddress.family)
  }
  const connector = buildConnector({
    lookup: judged,
    rejectUnauthorized: true,
    allowH2: false,
    maxCachedSessions: 0,
    timeout: timeoutMs,
    ...(ca !== undefined && { ca }),
  })
  const client = new Client(url.origin, {
    connect: (options, callback) =>
      connector(options, (...[error, socket]) => {
        if (error !== null) return callback(error, null)
        // Whatever the layers below made of a host: this is where we are.
        if (!isExpected(socket.remoteAddress)) {
          socket.destroy()
          return callback(new OutboundError('address_refused', { sent: false }), null)
        }
        progress.sent = true
        callback(null, socket)
      }),
    allowH2: false,
    maxHeaderSize: headerBytesMax,
    // The deadlines here are ours, which no byte that comes in puts off.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.destroy() })
}

function requestOf({ url }: Destination, { method = 'GET', headers = {}, body }: OutboundRequest) {
  const forbiddenName = Object.keys(headers).find((name) => ownHeaders.test(name))
  if (forbiddenName !== undefined)
    throw new TypeError(`The header ${forbiddenName} is not the caller’s to set.`)
  return {
    path: `${url.pathname}${url.search}`,
    method,
    // Some services refuse who does not say who they are.
    headers: { 'user-agent': 'remit', ...lowerCase(headers), 'accept-encoding': 'identity' },
    body: body ?? null,
  }
}

const lowerCase = (headers: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))

async function responseOf(
  { statusCode, headers: raw, body }: Awaited<ReturnType<Client['request']>>,
  bytesMax: number,
): Promise<OutboundResponse> {
  // A number that no Response can have.
  if (statusCode > 599) throw new OutboundError('broken', { sent: true })
  const headers = headersOf(raw)
  const bytes = await readBody(body, headers.get('content-encoding'), bytesMax)
  headers.delete('content-encoding')
  headers.delete('content-length')
  return { status: statusCode, headers, body: bytes }
}

function headersOf(raw: Readonly<Record<string, string | string[] | undefined>>): Headers {
  const headers = new Headers()
  try {
    for (const [name, value] of Object.entries(raw))
      for (const headerValue of [value ?? []].flat()) headers.append(name, headerValue)
  } catch {
    // What is thrown quotes the header.
    throw new OutboundError('broken', { sent: true })
  }
  return headers
}

interface Deadlines {
  readonly signal: AbortSignal
  headersCame(): void
  clear(): void
  /** Why the signal was aborted, if it was. */
  reason(): 'timed_out' | 'aborted' | undefined
}

function deadlines({ signal, timeoutMs, headersTimeoutMs = 10_000 }: OutboundRequest): Deadlines {
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(), timeoutMs)
  const headers = setTimeout(() => deadline.abort(), headersTimeoutMs)
  const eitherSignal = signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, signal])
  return {
    signal: eitherSignal,
    headersCame: () => clearTimeout(headers),
    clear: () => {
      clearTimeout(timer)
      clearTimeout(headers)
    },
    reason: () => (deadline.signal.aborted ? 'timed_out' : signal?.aborted ? 'aborted' : undefined),
  }
}

function outbound(error: unknown, limits: Deadlines, sent: boolean): unknown {
  const endReason = limits.reason()
  if (endReason !== undefined) return new OutboundError(endReason, { sent })
  if (error instanceof OutboundError) return error
  // A header with a line break, a method that is none: a bug of the caller, said in words that quote nothing.
  if (error instanceof errors.InvalidArgumentError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
  return new OutboundError(reasonOf(error, sent), { sent, ...(code !== undefined && { code }) })
}

function reasonOf(error: unknown, sent: boolean): OutboundReason {
  if (!sent) return 'unreachable'
  return error instanceof TooLarge || error instanceof errors.HeadersOverflowError ? 'too_large' : 'broken'
}

/** A body over its limit. */
class TooLarge extends Error {}

/**
 * The whole body, decoded; throws `TooLarge` as soon as either what came or what it decodes to is over
 * `bytesMax`, so that a bomb is never held. One layer of gzip, deflate or brotli; anything else is an error.
 * We ask for none (`accept-encoding: identity`), but whoever reads an answer for what must not leave has to
 * read what it says.
 */
async function readBody(body: Readable, encoding: string | null, bytesMax: number): Promise<Uint8Array> {
  const decode = decoder(encoding)
  const chunks: Uint8Array[] = []
  const collect = async (source: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const chunk of atMost(bytesMax)(source)) chunks.push(chunk)
  }
  await (decode === undefined ? pipeline(body, collect) : pipeline(body, atMost(bytesMax), decode, collect))
  return Buffer.concat(chunks)
}

const atMost = (bytesMax: number) =>
  async function* (source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let size = 0
    for await (const chunk of source) {
      size += chunk.byteLength
      if (size > bytesMax) throw new TooLarge()
      yield chunk
    }
  }

function decoder(encoding: string | null): Transform | undefined {
  switch (encoding?.trim().toLowerCase() ?? '') {
    case '':
    case 'identity':
      return undefined
    case 'gzip':
    case 'x-gzip':
      return createGunzip()
    case 'deflate':
      return createInflate()
    case 'br':
      return createBrotliDecompress()
    default:
      throw new Error('The encoding of the body is not one that is read.')
  }
}

/** A guarded fetcher on the names that the system knows, its hosts file included. */
export const createSystemFetch = (allowedOrigins: readonly string[]): GuardedFetch =>
  createGuardedFetch({ lookup: (host) => lookup(host, { all: true }), allowedOrigins })
