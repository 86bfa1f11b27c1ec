import type { MiddlewareHandler } from 'hono'
import { matchedRoutes } from 'hono/route'
import { ownSleptMs } from '../../kernel/elapsed.ts'
import { AppError, invalid } from '../../kernel/errors.ts'
import { type Deadline, inTime } from '../../retrieval/deadline.ts'
import type { AppContext, AppEnv } from '../env.ts'

const urlCharactersMax = 8_192

const frameHeaders: ReadonlyMap<string, string> = new Map([
  ['cache-control', 'private, no-store'],
  ['x-content-type-options', 'nosniff'],
  ['referrer-policy', 'no-referrer'],
])

/**
 * The txn of a request, before its token may bring another, whom it counts for, and the headers of every
 * answer.
 */
export function requireFrame(
  newTxn: () => string,
  clientAddress: (c: AppContext) => string,
): MiddlewareHandler<AppEnv> {
  return async function frame(c, next) {
    c.set('txn', newTxn())
    c.set('address', clientAddress(c))
    for (const [name, value] of frameHeaders) c.header(name, value)
    if (c.req.url.length > urlCharactersMax) throw new AppError('uri_too_long')
    await next()
  }
}

/** Refuses a Host that is not ours: a page elsewhere could reach a loopback service by DNS rebinding. */
export function requireHost(hosts: ReadonlySet<string>): MiddlewareHandler<AppEnv> {
  return async function host(c, next) {
    const name = c.req.header('host') ?? new URL(c.req.url).host
    if (!hosts.has(name.toLowerCase())) throw new AppError('misdirected_request')
    await next()
  }
}

/**
 * Refuses a path whose octets are no UTF-8 (RFC 3986 §2.5), naming its parameter: the router would hand it on
 * as it is spelled, and `%ff` is an id of its own.
 */
export const requireUtf8: MiddlewareHandler<AppEnv> = async function utf8(c, next) {
  const { pathname } = new URL(c.req.url)
  const invalidIndex = pathname.split('/').findIndex((segment) => !isUtf8(segment))
  if (invalidIndex < 0) return next()
  const names = matchedRoutes(c).map(({ path }) => /^:(\w+)/.exec(path.split('/')[invalidIndex] ?? '')?.[1])
  const name = names.find((name) => name !== undefined)
  if (name !== undefined) throw invalid(name, 'is not UTF-8, percent-encoded')
  await next()
}

function isUtf8(segment: string): boolean {
  try {
    decodeURIComponent(segment)
    return true
  } catch {
    return false
  }
}

/** `Host` values under which a listener is known. */
export function hostsOf(publicUrl: string, host: string, port: number): ReadonlySet<string> {
  const names = new Set([new URL(publicUrl).host, `${host}:${port}`])
  if (host === '127.0.0.1' || host === '::1' || host === 'localhost') {
    for (const loopback of ['127.0.0.1', 'localhost', '[::1]']) names.add(`${loopback}:${port}`)
  }
  return new Set([...names].map((name) => name.toLowerCase()))
}

/** Gives the request its deadline. The signal also fires when the client goes away. */
export function requireDeadline(ms: number, now: () => number): MiddlewareHandler<AppEnv> {
  return async function deadline(c, next) {
    const signal = AbortSignal.any([AbortSignal.timeout(ms), c.req.raw.signal])
    const value: Deadline = { signal, at: now() + ms, now }
    c.set('deadline', value)
    await next()
  }
}

/**
 * Ends a reading request that is not answered soon after its deadline, whatever it waits for, with a 503.
 * What was going on may go on to its own end, but nothing of it leaves.
 */
export const endInTime: MiddlewareHandler<AppEnv> = async function ending(c, next) {
  await inTime(c.get('deadline'), next())
}

// As long as what was heard of revocations is believed without asking.
const sleptMsMax = 1_000
// What stands for an answer that went out past us (`RESPONSE_ALREADY_SENT` of @hono/node-server).
const alreadySent = 'x-hono-already-sent'

/**
 * Answers nothing to a request during which the machine slept, with a 503: who may ask, and what they may
 * read, was looked at before, and no timer runs in a sleep. What it changed may be in. NOT held back: what
 * the authorization server's library has sent by itself, whose tokens are looked at wherever they are used;
 * imports, which look again for each piece and tell what became of it; and the rest of an export of the
 * record, which looks again for each page.
 */
export const endAfterSleep: MiddlewareHandler<AppEnv> = async function afterSleep(c, next) {
  const sleptBefore = ownSleptMs()
  await next()
  const isPastUs = c.res.headers.has(alreadySent) || c.req.path === '/imports'
  if (isPastUs || ownSleptMs() - sleptBefore <= sleptMsMax) return
  // Hono would send them with the error: a session's cookie, where what was read lies.
  for (const name of [...c.res.headers.keys()]) if (!frameHeaders.has(name)) c.header(name, undefined)
  throw new AppError('deadline_exceeded', reading.has(c.req.method) ? {} : { public: mayBeIn })
}

const reading: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])
// The first answers past us, by a library; the others take as long as what they bring, and tell what became
// of it.
const endsItself = (path: string): boolean =>
  path.startsWith('/oauth/') || ['/mcp', '/vault/fetch', '/imports'].includes(path)

const mayBeIn =
  'It may have been accepted all the same: look, or send it again with the same Idempotency-Key where the route takes one.'

/**
 * Ends a changing request `ms` milliseconds after all of it has arrived, whatever it waits for, with a 503
 * that says that it may be in: what was going on goes on to its own end, and what was still waiting for its
 * turn does not begin.
 */
export function endWritesInTime(ms: number): MiddlewareHandler<AppEnv> {
  return async function endingWrite(c, next) {
    const ours = new AbortController()
    c.set('over', AbortSignal.any([ours.signal, c.req.raw.signal]))
    if (reading.has(c.req.method) || endsItself(c.req.path)) return next()
    const { incoming } = (c.env ?? {}) as { incoming?: { complete?: boolean } }
    const { promise: ended, reject } = Promise.withResolvers<never>()
    const checkBody = (): void => {
      if (incoming?.complete === false) timer = setTimeout(checkBody, ms)
      else {
        // First: what others are told from here on comes after.
        ours.abort()
        reject(new AppError('deadline_exceeded', { public: mayBeIn }))
      }
    }
    let timer = setTimeout(checkBody, ms)
    try {
      await Promise.race([next(), ended])
    } finally {
      clearTimeout(timer)
    }
  }
}
