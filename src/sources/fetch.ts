import { SourceUnavailable } from '@remit/connector'
import { ownElapsed } from '../kernel/elapsed.ts'
import { OutboundError } from '../outbound/error.ts'
import type { GuardedFetch, OutboundResponse } from '../outbound/guarded-fetch.ts'

/** A request to the source's own origin. */
export interface SourceRequest {
  /** Default GET. */
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly signal?: AbortSignal | undefined
  /** Bytes of the answer's body at most. Default 50 MB. */
  readonly bytesMax?: number
}

/**
 * Asks the source: `path` begins with a slash, and whatever it says, the request goes to the source's origin.
 * An answer of any status is given but for 429, and for 503 with a time to come again; redirects are not
 * followed. A 503 without one is asked for again a little, and then is the answer: it may be that path's own.
 *
 * @throws SourceUnavailable where nobody answers, the source says to come later, or a path leads elsewhere;
 * TooLarge, which is none of these, where the answer is.
 */
export type SourceFetch = (path: string, request?: SourceRequest) => Promise<OutboundResponse>

/** The source asked us to come again later: the reading stops as it stands until then. */
export class Throttled extends SourceUnavailable {
  /** Seconds to wait. */
  readonly afterSeconds: number
  constructor(afterSeconds: number) {
    super(`The source asks to come again in ${afterSeconds} seconds.`)
    this.afterSeconds = afterSeconds
  }
}

/** Nothing came in time, or not to its end. To one that asks for less the source may answer. */
export class Unfinished extends SourceUnavailable {}

/** More came than may. It is that of what was asked for alone. */
export class TooLarge extends Error {}

/** What {@link createSourceFetch} works with. */
export interface SourceFetchDeps {
  readonly outbound: GuardedFetch
  /** Scheme, host and port: the only ones that are asked. */
  readonly origin: string
  /** Requests a minute: more wait for their turn. */
  readonly perMinute: number
  readonly now: () => number
  /** By which a turn comes, in milliseconds. Default: this process's (kernel/elapsed.ts). */
  readonly elapsed?: () => number
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** Fires when the reading is over. */
  readonly signal: AbortSignal
}

/** How much was asked, for the record of a source. */
export interface SourceFetchCounts {
  requests: number
  throttled: number
}

const timeoutMs = 60_000
const bytesMaxDefault = 50_000_000
// What is waited for within a reading. Longer is for the next one: its lease and its memory are free
// meanwhile.
const waitSecondsMax = 30
const triesMax = 5
const triesOfOneMax = 3

/** The only way out that a source has. */
export function createSourceFetch(dependencies: SourceFetchDeps): {
  readonly fetch: SourceFetch
  readonly counts: SourceFetchCounts
} {
  const { outbound, origin, perMinute, now, elapsed = ownElapsed, sleep } = dependencies
  const counts: SourceFetchCounts = { requests: 0, throttled: 0 }
  const everyMs = 60_000 / perMinute
  let nextAt = 0

  async function turn(signal: AbortSignal): Promise<void> {
    const at = Math.max(elapsed(), nextAt)
    nextAt = at + everyMs
    const waitMs = at - elapsed()
    if (waitMs > 0) await sleep(waitMs, signal)
  }

  async function ask(path: string, request: SourceRequest, signal: AbortSignal): Promise<OutboundResponse> {
    const { method, headers, body, bytesMax = bytesMaxDefault } = request
    counts.requests += 1
    try {
      return await outbound(urlOf(origin, path), {
        ...(method !== undefined && { method }),
        ...(headers !== undefined && { headers }),
        ...(body !== undefined && { body }),
        signal,
        timeoutMs,
        headersTimeoutMs: timeoutMs,
        bytesMax,
      })
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof OutboundError)) throw error
      const { reason } = error
      if (reason === 'too_large')
        throw new TooLarge(`The source’s answer is too large: it may have ${bytesMax} bytes.`, {
          cause: error,
        })
      const Kind = reason === 'timed_out' || reason === 'broken' ? Unfinished : SourceUnavailable
      throw new Kind(`The source does not answer (${reason}).`, { cause: error })
    }
  }

  return {
    counts,
    async fetch(path, request = {}) {
      const signal =
        request.signal === undefined
          ? dependencies.signal
          : AbortSignal.any([dependencies.signal, request.signal])
      for (let attempt = 1; ; attempt += 1) {
        await turn(signal)
        const response = await ask(path, request, signal)
        if (response.status !== 429 && response.status !== 503) return response
        counts.throttled += 1
        const told = retryAfterOf(response.headers, now())
        if (response.status === 503 && told === undefined && attempt >= triesOfOneMax) return response
        const seconds = told ?? 2 ** attempt
        if (seconds > waitSecondsMax || attempt === triesMax) throw new Throttled(seconds)
        // All of the source's requests wait, not only this one.
        nextAt = Math.max(nextAt, elapsed() + seconds * 1_000)
      }
    },
  }
}

/**
 * As the parser of URLs reads it, which also makes the request: `//elsewhere` and `\\elsewhere` lead
 * elsewhere.
 */
function urlOf(origin: string, path: string): string {
  const url = URL.parse(path, origin)
  if (!path.startsWith('/') || url === null || url.origin !== origin)
    throw new SourceUnavailable(`This is no path at ${origin}.`)
  return url.href
}

const daySeconds = 86_400

/** Seconds, or a date (RFC 9110 §10.2.3), a day at most; undefined where it says nothing that can be read. */
function retryAfterOf(headers: Headers, now: number): number | undefined {
  const text = headers.get('retry-after')
  if (text === null) return undefined
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - now) / 1_000
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 1), daySeconds) : undefined
}
