import { setTimeout as sleep } from 'node:timers/promises'
import type { Fetch } from '../delegation/tokens/fetch-json.ts'
import { signInHint } from './sign-ins.ts'

/** Gives a token that still counts for a while; asked before each request. */
export type TokenSource = () => Promise<string>

export interface RemitHttp {
  /** Sends a request with a token, again after 429 and 503 as Retry-After says (six tries). */
  send(path: string, init: () => RequestInit): Promise<Response>
  /** Waits until a job has ended. */
  job(id: string, onProgress?: (job: Job) => void): Promise<Job>
}

export interface Job {
  readonly id: string
  readonly state: 'queued' | 'running' | 'done' | 'failed'
  readonly done: number
  readonly failed: number
  readonly total: number
  /** How many of those done were withdrawn. */
  readonly withdrawn: number
  readonly errors: readonly Told[]
  /** What it kept or left undone beside what was asked. */
  readonly notes: readonly Told[]
}

/** What a job says of one document, or of itself. */
export interface Told {
  readonly line?: number
  readonly id?: string
  readonly code: string
  readonly field?: string
  readonly detail: string
}

export interface RemitHttpDeps {
  /** Address of the service, without a trailing slash. */
  readonly url: string
  readonly token: TokenSource
  readonly fetch: Fetch
}

const triesMax = 6
const pauseMsMax = 30_000

export function createRemitHttp({ url, token, fetch }: RemitHttpDeps): RemitHttp {
  async function send(path: string, init: () => RequestInit, tried = 1): Promise<Response> {
    const request = init()
    const headers = new Headers(request.headers)
    headers.set('authorization', `Bearer ${await token()}`)
    const response = await fetch(`${url}${path}`, { ...request, headers, redirect: 'error' })
    if ((response.status !== 429 && response.status !== 503) || tried === triesMax) return response
    await response.body?.cancel()
    await sleep(pauseMs(response.headers.get('retry-after'), tried))
    return send(path, init, tried + 1)
  }

  return {
    send: (path, init) => send(path, init),
    async job(id, onProgress) {
      for (let pause = 100; ; pause = Math.min(pause * 1.5, 1_000)) {
        const response = await send(`/jobs/${encodeURIComponent(id)}`, () => ({}))
        if (!response.ok) throw new Error(await problemOf(response))
        const job = (await response.json()) as Job
        onProgress?.(job)
        if (job.state === 'done' || job.state === 'failed') return job
        await sleep(pause)
      }
    },
  }
}

function pauseMs(retryAfter: string | null, tried: number): number {
  const seconds = Number(retryAfter)
  const wanted = retryAfter !== null && Number.isFinite(seconds) ? seconds * 1_000 : 250 * 2 ** tried
  return Math.min(Math.max(wanted, 50), pauseMsMax)
}

/** What a refused request says, in one line. */
export const problemOf = async (response: Response): Promise<string> => (await refusalOf(response)).problem

/** The same, and the member of the request that it is about. */
export async function refusalOf(
  response: Response,
): Promise<{ readonly problem: string; readonly field?: string }> {
  const text = await response.text()
  try {
    const { title, detail, field, code } = JSON.parse(text) as Readonly<Record<string, unknown>>
    const said = [
      detail ?? title,
      field === undefined ? undefined : `(${field})`,
      code === 'insufficient_user_authentication' ? signInHint : undefined,
    ].filter((part) => part !== undefined)
    return { problem: `${response.status} ${said.join(' ')}`, ...(typeof field === 'string' && { field }) }
  } catch {
    // Not ours, or cut short: the status is all that can be told.
    return { problem: `${response.status} ${response.statusText}` }
  }
}
