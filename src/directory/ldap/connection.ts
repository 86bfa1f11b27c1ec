import { connect as connectPlain, isIP, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import {
  BindRequest,
  BindResponse,
  ExtendedRequest,
  ExtendedResponse,
  FilterParser,
  type Message,
  MessageParser,
  type MessageResponse,
  PagedResultsControl,
  SearchEntry,
  SearchReference,
  SearchRequest,
  SearchResponse,
  StatusCodeParser,
} from 'ldapts'
import { reasonOf } from '../../kernel/reason.ts'
import { createMeter, type Meter, type ReadingBounds } from '../reading/bounds.ts'

/** An entry as the server has it. Names of attributes are in lower case, with their options. */
export interface LdapEntry {
  readonly dn: string
  readonly attributes: ReadonlyMap<string, readonly Buffer[]>
}

/** What is asked for. */
export interface LdapSearch {
  readonly base: string
  readonly scope: 'base' | 'sub'
  /** RFC 4515. */
  readonly filter: string
  readonly attributes: readonly string[]
}

/** One connection, as somebody who signed in. It ends with its first error, and is never opened anew. */
export interface LdapConnection extends AsyncDisposable {
  /**
   * Everything that fits, read to the server's own end mark: result 0 and, of pages, an empty cookie (RFC
   * 2696 §3). Throws for anything less: a limit of size or time, a referral, a page that is left out, a
   * connection that ends; and for more than the bounds of this connection.
   */
  search(search: LdapSearch, take: (entry: LdapEntry) => void): Promise<void>
}

/** Where to connect, and as whom. */
export interface LdapConnectionOptions {
  readonly host: string
  readonly port: number
  /** `none`: the caller made sure that nobody can listen. */
  readonly tls: 'ldaps' | 'starttls' | 'none'
  /** Roots of trust in place of the system's, as PEM. */
  readonly ca: string | undefined
  readonly bindDn: string
  readonly password: string
  readonly pageSize: number
  /** Of everything that it answers. */
  readonly bounds: ReadingBounds
  readonly signal: AbortSignal
}

const startTlsOid = '1.3.6.1.4.1.1466.20037'
const idleMs = 60_000
// Of one search.
const pagesMax = 100_000

/**
 * Connects and signs in by a simple bind (RFC 4513 §5.1.3), over TLS with the server's certificate checked by
 * name. Messages are ldapts's, the connection is our own: its client opens a lost connection anew without
 * signing in, ends a search at an empty page, and takes what came before TLS as part of what comes after
 * (decision 0059).
 */
export async function connectLdap(options: LdapConnectionOptions): Promise<LdapConnection> {
  const { signal, bindDn, password, pageSize, tls, bounds } = options
  const meter = createMeter(bounds)
  signal.throwIfAborted()
  // An empty password is an anonymous bind (RFC 4513 §5.1.2), which succeeds and sees less.
  if (password === '' || bindDn === '') throw new Error('Signing in needs a name and a password.')
  const first = tls === 'ldaps' ? secure(options, undefined) : connectPlain(options.port, options.host)
  let wire = openWire(first, signal, meter)
  try {
    await wire.opened(tls === 'ldaps' ? 'secureConnect' : 'connect')
    if (tls === 'starttls') {
      const answer = await wire.ask(new ExtendedRequest({ messageId: 1, oid: startTlsOid }))
      assertSuccess(answer.done, ExtendedResponse)
      // By a parser of its own: the beginning of a message that came in the clear is no part of the next.
      if (!wire.release()) throw new Error('The server sent something in the clear behind its answer.')
      wire = openWire(secure(options, first), signal, meter)
      await wire.opened('secureConnect')
    }
    assertSuccess(
      (await wire.ask(new BindRequest({ messageId: 2, dn: bindDn, password }))).done,
      BindResponse,
    )
  } catch (error) {
    wire.end()
    first.destroy()
    throw error
  }
  let messageId = 2
  const { ask } = wire

  /** One page. Answers with the cookie of the next; undefined: this was the last. */
  async function page(
    search: LdapSearch,
    cookie: Buffer | undefined,
    take: (entry: LdapEntry) => void,
  ): Promise<Buffer | undefined> {
    const value = cookie === undefined ? { size: pageSize } : { size: pageSize, cookie }
    const request = new SearchRequest({
      messageId: ++messageId,
      baseDN: search.base,
      scope: search.scope,
      filter: FilterParser.parseString(search.filter),
      attributes: [...search.attributes],
      timeLimit: 0,
      // A server that cannot give pages says so, and nothing counts.
      controls: search.scope === 'sub' ? [new PagedResultsControl({ critical: true, value })] : [],
    })
    const { done, entries, referrals } = await ask(request)
    assertSuccess(done, SearchResponse)
    if (referrals > 0) throw new Error('The server refers to another one for a part: that is not followed.')
    for (const entry of entries) take(entryOf(entry))
    if (search.scope === 'base') return undefined
    const control = (done.controls ?? []).find((one) => one instanceof PagedResultsControl)
    if (control?.value === undefined) throw new Error('The server does not say whether there is more.')
    const { cookie: next } = control.value
    return next === undefined || next.length === 0 ? undefined : next
  }

  return {
    async search(search, take) {
      let cookie: Buffer | undefined
      for (let pages = 1; ; pages += 1) {
        cookie = await page(search, cookie, take)
        if (cookie === undefined) return
        if (pages === pagesMax) throw new Error('The server does not come to an end.')
      }
    },
    [Symbol.asyncDispose]: async () => wire.end(),
  }
}

/** The certificate is checked by the registered host’s name, whatever NODE_TLS_REJECT_UNAUTHORIZED says. */
const secure = ({ host, port, ca }: LdapConnectionOptions, socket: Socket | undefined): TLSSocket =>
  connectTls({
    host,
    port,
    ...(socket !== undefined && { socket }),
    ...(isIP(host) === 0 && { servername: host }),
    ...(ca !== undefined && { ca }),
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
  })

function assertSuccess(
  answer: MessageResponse,
  kind: new (options: { messageId: number }) => MessageResponse,
): void {
  if (!(answer instanceof kind)) throw new Error('The server answered something else.')
  if (answer.status !== 0) {
    const { name, message } = StatusCodeParser.parse(answer)
    throw new Error(`The server refused: ${name}: ${message}`)
  }
}

function entryOf({ name, attributes }: SearchEntry): LdapEntry {
  const byName = new Map<string, readonly Buffer[]>()
  for (const { type, parsedBuffers } of attributes) byName.set(type.toLowerCase(), parsedBuffers)
  return { dn: name, attributes: byName }
}

interface Answer {
  readonly done: MessageResponse
  readonly entries: readonly SearchEntry[]
  readonly referrals: number
}

/** One question at a time over a socket. The first thing that goes wrong is the end of it. */
interface Wire {
  opened(event: 'connect' | 'secureConnect'): Promise<void>
  readonly ask: (request: Message) => Promise<Answer>
  /** Reads no more and leaves the socket open. False: something came that nobody asked for. */
  release(): boolean
  end(): void
}

function openWire(socket: Socket, signal: AbortSignal, meter: Meter): Wire {
  const parser = new MessageParser()
  let failure: Error | undefined
  let fail = (_: Error): void => undefined
  let receive = (_: MessageResponse): boolean => false
  // Of the message that is coming.
  let pending = 0
  const broken = (error: Error): void => {
    failure ??= error
    socket.destroy()
    fail(failure)
  }
  const onAbort = (): void => broken(new Error(reasonOf(signal.reason)))
  const onData = (data: Buffer): void => {
    pending += data.length
    const over = meter.add('bytes', data.length)
    if (over !== undefined) return broken(over)
    try {
      parser.read(data, new Map())
    } catch (error) {
      // It calls itself for each message: thousands of tiny ones at once are too deep for it.
      broken(new Error(`The server’s answer cannot be read: ${reasonOf(error)}`))
    }
    if (pending > meter.answerBytes)
      broken(new Error('The server sends a message larger than is read at once.'))
  }
  parser.on('message', (message) => {
    pending = 0
    if (failure === undefined && !receive(message))
      broken(new Error('The server sent what nobody asked for.'))
  })
  parser.on('error', (error) => broken(new Error(`The server’s answer cannot be read: ${reasonOf(error)}`)))
  socket.on('data', onData)
  socket.on('error', (error) => broken(new Error(`There is no connection: ${reasonOf(error)}`)))
  socket.on('close', () => broken(new Error('The server closed the connection.')))
  socket.setTimeout(idleMs, () => broken(new Error('The server does not answer.')))
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()

  const waiting = <T>(begin: (resolve: (value: T) => void) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      if (failure !== undefined) return reject(failure)
      fail = reject
      begin(resolve)
    })
  return {
    opened: (event) => waiting((resolve) => socket.once(event, () => resolve(undefined))),
    ask: (request) =>
      waiting((resolve) => {
        const entries: SearchEntry[] = []
        let referrals = 0
        receive = (message) => {
          if (message.messageId !== request.messageId) return false
          if (message instanceof SearchEntry) {
            entries.push(message)
            const over = meter.add('entries', 1)
            if (over !== undefined) broken(over)
            if (entries.length > meter.pageEntries)
              broken(new Error('The server sends larger pages than are read at once.'))
          } else if (message instanceof SearchReference) referrals += 1
          else {
            receive = () => false
            resolve({ done: message, entries, referrals })
          }
          return true
        }
        socket.write(request.write())
      }),
    release() {
      signal.removeEventListener('abort', onAbort)
      socket.removeListener('data', onData)
      socket.setTimeout(0)
      return failure === undefined && socket.readableLength === 0
    },
    end() {
      signal.removeEventListener('abort', onAbort)
      socket.destroy()
    },
  }
}
