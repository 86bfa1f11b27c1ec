import type { CustomFetch } from 'openid-client'
import type { GuardedFetch } from '../../outbound/guarded-fetch.ts'
import type { Provider } from './provider.ts'

const timeoutMs = 10_000
const bytesMax = 256 * 1024
const bodiless = new Set([101, 204, 205, 304])

/** As openid-client calls it. Errors that a provider sends with status 200 become what the standard says. */
export const asFetch =
  (outbound: GuardedFetch, quirks: Provider['quirks']): CustomFetch =>
  async (url, { method, headers, body, signal }) => {
    const answer = await outbound(url, {
      method,
      headers,
      timeoutMs,
      bytesMax,
      ...(body !== undefined && body !== null && { body: textOf(body) }),
      ...(signal !== undefined && { signal }),
    })
    const { status, body: originalBody } = quirks.errorsWith200
      ? standard(answer, quirks.invalidGrant)
      : answer
    return new Response(bodiless.has(status) ? null : Buffer.from(originalBody), {
      status,
      headers: answer.headers,
    })
  }

function textOf(body: unknown): string | Uint8Array {
  if (typeof body === 'string' || body instanceof Uint8Array) return body
  if (body instanceof URLSearchParams) return body.toString()
  throw new Error('A body of another kind than the protocol has.')
}

function standard(
  answer: { readonly status: number; readonly body: Uint8Array },
  invalidGrant: readonly string[],
): { readonly status: number; readonly body: Uint8Array } {
  if (answer.status !== 200) return answer
  const error = errorIn(answer.body)
  if (error === undefined) return answer
  const name = invalidGrant.includes(error) ? 'invalid_grant' : error
  return { status: 400, body: Buffer.from(JSON.stringify({ error: name })) }
}

function errorIn(body: Uint8Array): string | undefined {
  try {
    const { error } = JSON.parse(Buffer.from(body).toString('utf8')) as { readonly error?: unknown }
    return typeof error === 'string' ? error : undefined
  } catch {
    // Whatever it is, the library says that it is none of the protocol's.
    return undefined
  }
}
