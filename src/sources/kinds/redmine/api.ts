import { SourceUnavailable } from '@remit/connector'
import type { z } from 'zod'
import type { OutboundResponse } from '../../../outbound/guarded-fetch.ts'
import { type SourceFetch, TooLarge, Unfinished } from '../../fetch.ts'

/** Where a Redmine is, and how it is asked. */
export interface ApiDeps {
  readonly fetch: SourceFetch
  /** The API key of an administrator. */
  readonly key: string
  /** Path of Redmine at its origin, without a slash at its end: empty, or `/redmine`. */
  readonly base: string
}

export interface AskOptions {
  /** Login of an active account in whose place Redmine answers (`X-Redmine-Switch-User`). */
  readonly as?: string
  readonly signal?: AbortSignal | undefined
  /** What is found elsewhere is not there. */
  readonly isOfItem?: boolean
}

/** One page of a list. */
export interface Page<Row> {
  readonly rows: readonly Row[]
  /** How many rows the list has. */
  readonly total: number
}

/** What came of a request, and when, by the clock of whoever answered. */
export interface Answer<T> {
  readonly value: T
  /** ms; undefined: no date came with it. */
  readonly date: number | undefined
}

/**
 * Redmine failed at what was asked for: 5xx, an answer that is too large, none in time, or another than
 * expected. It is away as a whole, unless somebody finds out that it is not: see {@link Faults}.
 */
export class RequestFailed extends SourceUnavailable {
  readonly reason: FailureReason
  constructor(message: string, reason: FailureReason, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}

/** `unfinished`: nothing came in time, or not to its end. `refused`: 5xx, or what nobody expects. */
type FailureReason = 'too_large' | 'unfinished' | 'refused'

/** Most rows that Redmine gives at once. */
export const pageSize = 100
const rowsMax = 1_000_000
const attemptsMax = 3

/** Redmine's REST API (5.0), as far as it is read. */
export class RedmineApi {
  readonly #deps: ApiDeps

  constructor(dependencies: ApiDeps) {
    this.#deps = dependencies
  }

  /** @throws SourceUnavailable for anything but an answer of that shape. */
  async get<T>(path: string, shape: z.ZodType<T>, options: AskOptions = {}): Promise<Answer<T>> {
    const response = await this.#fetch(path, options)
    if (response.status !== 200) throw unavailable(path, response.status)
    return read(path, response, shape)
  }

  /** The same where there may be nothing for whoever asks: then undefined. */
  async find<T>(path: string, shape: z.ZodType<T>, options: AskOptions = {}): Promise<Answer<T> | undefined> {
    const response = await this.#fetch(path, options)
    if (nothing.has(response.status)) return undefined
    if (options.isOfItem === true && moved.has(response.status)) return undefined
    if (response.status !== 200) throw unavailable(path, response.status)
    return read(path, response, shape)
  }

  /**
   * All rows of a list. Each page begins with the last row of the one before: another one there means that
   * rows moved, so that one could have been passed over, and the list is read anew. A page that is too large
   * is asked for in smaller ones; one that fails otherwise fails the list.
   */
  async all<Row extends { readonly id: number }>(
    path: string,
    shape: z.ZodType<Page<Row>>,
    signal?: AbortSignal,
  ): Promise<readonly Row[]> {
    for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
      const rows = await this.#rows(path, shape, signal)
      if (rows !== undefined) return rows
    }
    throw new SourceUnavailable(`Redmine’s list at ${path} changed again and again while it was read.`)
  }

  /** Undefined: rows moved. */
  async #rows<Row extends { readonly id: number }>(
    path: string,
    shape: z.ZodType<Page<Row>>,
    signal: AbortSignal | undefined,
  ): Promise<readonly Row[] | undefined> {
    const rows: Row[] = []
    let size = pageSize
    while (rows.length < rowsMax) {
      const last = rows.at(-1)
      const offset = last === undefined ? 0 : rows.length - 1
      const link = `${path}${path.includes('?') ? '&' : '?'}limit=${size}&offset=${offset}`
      const page = await this.get(link, shape, { signal }).catch((error: unknown) => {
        // Two: one of them is the last row of the page before.
        if (error instanceof RequestFailed && error.reason === 'too_large' && size > 2) return undefined
        throw error
      })
      if (page === undefined) {
        size = Math.max(2, Math.floor(size / 2))
        continue
      }
      const { rows: found, total } = page.value
      if (last !== undefined && found[0]?.id !== last.id) return undefined
      const more = found.slice(last === undefined ? 0 : 1)
      rows.push(...more)
      if (rows.length === total) return rows
      if (more.length === 0 || rows.length > total) return undefined
    }
    throw new SourceUnavailable(`Redmine lists more than ${rowsMax} rows at ${path}.`)
  }

  async #fetch(path: string, { as, signal }: AskOptions): Promise<OutboundResponse> {
    const { fetch, key, base } = this.#deps
    const headers = {
      accept: 'application/json',
      'x-redmine-api-key': key,
      ...(as !== undefined && { 'x-redmine-switch-user': as }),
    }
    try {
      return await fetch(`${base}${path}`, { headers, signal })
    } catch (cause) {
      if (cause instanceof TooLarge)
        throw new RequestFailed(`Redmine’s answer is too large at ${path}.`, 'too_large', { cause })
      if (cause instanceof Unfinished)
        throw new RequestFailed(`Redmine does not answer to its end, or in time, at ${path}.`, 'unfinished', {
          cause,
        })
      throw cause
    }
  }
}

// Closed to whoever asks, not there, or there is no such account to ask for.
const nothing: ReadonlySet<number> = new Set([403, 404, 410, 412])
// A page that has another name by now.
const moved: ReadonlySet<number> = new Set([301, 302])

function unavailable(path: string, status: number): SourceUnavailable {
  if (status >= 500) return new RequestFailed(`Redmine answers ${status} at ${path}.`, 'refused')
  return new SourceUnavailable(
    status === 401 || status === 403
      ? `Redmine does not let this source in (${status} at ${path}).`
      : `Redmine answers ${status} at ${path}.`,
  )
}

function read<T>(path: string, { body, headers }: OutboundResponse, shape: z.ZodType<T>): Answer<T> {
  const parsed = shape.safeParse(jsonOf(body))
  if (!parsed.success)
    throw new RequestFailed(`Redmine answers something else than expected at ${path}.`, 'refused')
  const date = Date.parse(headers.get('date') ?? '')
  return { value: parsed.data, date: Number.isNaN(date) ? undefined : date }
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString())
  } catch {
    return undefined
  }
}
