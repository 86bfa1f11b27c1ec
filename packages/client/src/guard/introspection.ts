import { type Fetch, fetchJson } from '../shared/fetch-json.ts'
import { isObject } from '../shared/json.ts'

/**
 * Asks the issuer whether a token still counts (RFC 7662), so that a revoked one is refused before it ends.
 */
export interface Introspection {
  readonly endpoint: string
  /**
   * How this API proves itself there, made anew for each question: for `private_key_jwt` the form members
   * `client_id`, `client_assertion` and `client_assertion_type`.
   */
  readonly authenticate: () => Promise<Readonly<Record<string, string>>>
}

/** `unavailable`: the issuer gave no answer that says either. */
export async function isActive(
  token: string,
  { endpoint, authenticate }: Introspection,
  fetch: Fetch,
): Promise<boolean | 'unavailable'> {
  const answer = await fetchJson(fetch, endpoint, {
    method: 'POST',
    headers: { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ token, ...(await authenticate()) }).toString(),
  })
  return isObject(answer) && typeof answer['active'] === 'boolean' ? answer['active'] : 'unavailable'
}
