import type { GuardedFetch } from './guarded-fetch.ts'

/**
 * The guarded fetcher for libraries that want a `fetch`. Redirects are not followed whatever `init.redirect` says, and
 * a body is text or bytes, or the call throws: nothing is streamed to somebody who may be anybody.
 */
export function asFetch(
  fetch: GuardedFetch,
  limits: { readonly timeoutMs: number; readonly bytesMax: number },
): (url: string, init?: RequestInit) => Promise<Response> {
  return async (url, init = {}) => {
    const { status, headers, body } = await fetch(url, {
      ...limits,
      headers: Object.fromEntries(new Headers(init.headers)),
      ...(init.method !== undefined && { method: init.method }),
      ...(init.signal && { signal: init.signal }),
      ...bodyOf(init.body),
    })
    const isNull = status < 200 || status === 204 || status === 205 || status === 304
    return new Response(isNull ? null : Buffer.from(body), { status, headers })
  }
}

function bodyOf(body: RequestInit['body']): { readonly body?: string | Uint8Array } {
  if (body === undefined || body === null) return {}
  if (typeof body === 'string' || body instanceof Uint8Array) return { body }
  if (body instanceof URLSearchParams) return { body: body.toString() }
  throw new TypeError('A body has to be text or bytes.')
}
