import { setTimeout as sleep } from 'node:timers/promises'
import type { Adapter, Answer, Mark } from '../adapter.ts'

export interface RemitOptions {
  /** Where it answers. */
  readonly url: string
  /** A collection for planted documents alone. Left out: nothing is planted. */
  readonly collection?: string
  /** Of a service that may write into that collection, and into no other. */
  readonly writerToken?: (isAgain: boolean) => Promise<string>
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>
}

interface Passage {
  readonly chunk_id: string
  readonly document_id: string
  readonly text: string
}

/** Remit's own API, as anybody calls it. */
export function remitAdapter(options: RemitOptions): Adapter {
  const { collection, writerToken, fetch: send = fetch } = options
  const url = options.url.endsWith('/') ? options.url.slice(0, -1) : options.url
  const documentPath = (id: string): string => `/documents/${encodeURIComponent(id)}`

  const call = async (
    method: string,
    path: string,
    token: string,
    { body, traceparent, signal }: Mark & { readonly body?: object },
  ) => {
    const response = await send(`${url}${path}`, {
      method,
      headers: {
        'user-agent': 'remit-prove',
        ...(token !== '' && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        traceparent,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal,
    })
    const raw = await response.text()
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
    return {
      ...{ status: response.status, raw, bytes: Buffer.byteLength(raw), passages: [] },
      ...(Number.isFinite(seconds) && { retryAfterMs: seconds * 1_000 }),
    }
  }

  let writer: Promise<string> | undefined
  const write = async (
    method: string,
    path: string,
    mark: Mark,
    body?: object,
    isAgain = false,
  ): Promise<void> => {
    if (writerToken === undefined) throw new Error('Nothing can be planted without a token of a service.')
    if (isAgain || writer === undefined) writer = writerToken(isAgain)
    const answer = await call(method, path, await writer, { ...mark, ...(body && { body }) })
    const { status, raw, retryAfterMs = 200 } = answer
    if (status === 401 && !isAgain) return write(method, path, mark, body, true)
    if (status === 429 || status === 503) {
      await sleep(retryAfterMs, undefined, { signal: mark.signal })
      return write(method, path, mark, body)
    }
    // What is gone already was removed.
    if (status >= 300 && !(method === 'DELETE' && status === 404))
      throw new Error(`${method} of a planted document was answered ${status}: ${raw.slice(0, 300)}`)
  }
  const viewers = (readers: readonly string[]) => ({ viewers: readers.map((reader) => `user:${reader}`) })

  return {
    name: 'remit',
    async retrieve({ token, query, k, signal, traceparent }) {
      const body = { query, top_k: Math.abs(k) > 1_000 ? k : Math.min(k, 100) }
      const answer = await call('POST', '/retrieve', token, { body, signal, traceparent })
      if (answer.status !== 200) return answer
      const { results, complete, mode_used, approval } = JSON.parse(answer.raw) as {
        readonly results: readonly Passage[]
        readonly complete: boolean
        readonly mode_used: string
        readonly approval?: object
      }
      return {
        ...answer,
        passages: results.map(({ chunk_id: id, document_id: document, text }) => ({ id, document, text })),
        complete,
        facts: { mode_used, offers: approval !== undefined },
      } satisfies Answer
    },
    async read({ token, document, signal, traceparent }) {
      const answer = await call('GET', documentPath(document), token, { signal, traceparent })
      if (answer.status !== 200) return answer
      const { id, text } = JSON.parse(answer.raw) as { readonly id: string; readonly text: string }
      return { ...answer, passages: [{ id, document: id, text }] }
    },
    ...(collection !== undefined &&
      writerToken !== undefined && {
        canary: {
          put: ({ id, title, text, readers }, mark) =>
            write('PUT', documentPath(id), mark, { collection, title, text, access: viewers(readers) }),
          setReaders: (id, readers, mark) =>
            write('PUT', `${documentPath(id)}/access`, mark, viewers(readers)),
          remove: (id, mark) => write('DELETE', documentPath(id), mark),
        },
      }),
  }
}
