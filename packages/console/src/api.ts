import { createRemit, type TokenSource } from '@remit/client'
import { SignInOver } from './sign-in/sign-in.ts'

/** Remit's API, as any client has it: bearer tokens that are bound to a key, problem+json. */
export type Api = ReturnType<typeof createApi>

/** What went wrong, as RFC 9457 says it or as near to it as can be. */
export class Problem extends Error {
  override readonly name = 'Problem'
  readonly code: string
  readonly title: string
  readonly field: string | undefined
  readonly txn: string | undefined
  readonly status: number

  constructor(status: number, body: unknown) {
    const { title, detail, code, field, txn } = Object(body)
    super(text(detail) ?? '')
    this.status = status
    this.title = text(title) ?? 'That did not work'
    this.code = text(code) ?? 'unknown'
    this.field = text(field)
    this.txn = text(txn)
  }
}

/**
 * The service's API with the signed-in person's token. Throws `Problem` for every answer that is no success.
 */
export function createApi(options: {
  readonly origin: string
  readonly subject: string
  readonly roles: readonly string[]
  readonly source: TokenSource
}) {
  const { origin, subject, roles, source } = options
  const session = createRemit({
    url: origin,
    token: source,
    // The token alone speaks: no cookie goes along.
    fetch: (url, init) => fetch(url, { ...init, credentials: 'omit' }),
  }).for({ subject })
  const access = () => session.access({ audience: origin, scopes: roles })

  async function ask<T>(method: string, path: string, body: unknown, signal?: AbortSignal): Promise<T> {
    const hasBody = body !== undefined
    try {
      const response = await (await access()).fetch(path, {
        method,
        ...(hasBody && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
        ...(signal !== undefined && { signal }),
      })
      const answer: unknown = await response.json().catch(() => undefined)
      if (!response.ok) throw new Problem(response.status, answer)
      return answer as T
    } catch (thrown) {
      signal?.throwIfAborted()
      throw problemOf(thrown)
    }
  }
  return {
    get: <T>(path: string, signal?: AbortSignal) => ask<T>('GET', path, undefined, signal),
    post: <T>(path: string, body?: unknown, signal?: AbortSignal) => ask<T>('POST', path, body, signal),
  }
}

function problemOf(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown
  if (thrown instanceof SignInOver)
    return new Problem(401, { title: 'Your sign-in is over', code: 'insufficient_user_authentication' })
  return new Problem(0, {
    title: 'There was no answer',
    detail: 'Is the service there?',
    code: 'unavailable',
  })
}

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
