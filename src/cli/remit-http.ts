import { setTimeout as sleep } from 'node:timers/promises'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import { signInHint } from './sign-ins.ts'

/** Gives a token that still counts for a while; asked before each request. */
export type TokenSource = () => Promise<string>

/** Requests to the service as one person or client. */
export interface RemitHttp {
  /** Sends a request with a token, again after 429 and 503 as Retry-After says (six tries). */
  send(path: string, init: () => RequestInit): Promise<Response>
}

export interface RemitHttpDeps {
  /** Address of the service, without a trailing slash. */
  readonly url: string
  readonly token: TokenSource
  readonly fetch: Fetch
}

const triesMax = 6
const pauseMsMax = 30_000

/** Tries again, a few times, what the service refuses for now. */
export function createRemitHttp({ url, token, fetch }: RemitHttpDeps): RemitHttp {
  async function send(path: string, init: () => RequestInit, attempt = 1): Promise<Response> {
    const request = init()
    const headers = new Headers(request.headers)
    headers.set('authorization', `Bearer ${await token()}`)
    const response = await fetch(`${url}${path}`, { ...request, headers, redirect: 'error' })
    if ((response.status !== 429 && response.status !== 503) || attempt === triesMax) return response
    await response.body?.cancel()
    await sleep(pauseMs(response.headers.get('retry-after'), attempt))
    return send(path, init, attempt + 1)
  }

  return { send: (path, init) => send(path, init) }
}

function pauseMs(retryAfter: string | null, attempt: number): number {
  const seconds = Number(retryAfter)
  const backoffMs = retryAfter !== null && Number.isFinite(seconds) ? seconds * 1_000 : 250 * 2 ** attempt
  return Math.min(Math.max(backoffMs, 50), pauseMsMax)
}

/** What a refused request says, in one line. */
export async function problemOf(response: Response): Promise<string> {
  const text = await response.text()
  try {
    const { title, detail, field, code } = JSON.parse(text) as Readonly<Record<string, unknown>>
    const messageParts = [
      detail ?? title,
      field === undefined ? undefined : `(${field})`,
      code === 'insufficient_user_authentication' ? signInHint : undefined,
    ].filter((messagePart) => messagePart !== undefined)
    return `${response.status} ${messageParts.join(' ')}`
  } catch {
    // Not ours, or cut short: the status is all that can be told.
    return `${response.status} ${response.statusText}`
  }
}
