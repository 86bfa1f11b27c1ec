import type { AppContext } from './env.ts'
import { issuerPages } from './pages/issuer-pages.ts'
import { pageHeaders } from './pages/layout.ts'

export interface Unavailable {
  readonly form: 'json' | 'page'
  readonly status: 429 | 503
  readonly detail: string
  /** `retry-after`. */
  readonly headers: Readonly<Record<string, string>>
}

const code = 'temporarily_unavailable'

/** Says in OAuth's form, or on a page for a browser, that the authorization server cannot answer now. */
export function temporarilyUnavailable(
  c: AppContext,
  { form, status, detail, headers }: Unavailable,
): Response {
  const allHeaders = { ...pageHeaders(), ...headers }
  return form === 'json'
    ? c.json({ error: code, error_description: detail }, status, allHeaders)
    : c.html(issuerPages.error({ code, detail }), status, allHeaders)
}
