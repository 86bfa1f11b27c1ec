import type { Detail } from '../shared/detail.ts'
import { urlOf } from '../shared/fetch-json.ts'
import type { Platform } from '../shared/platform.ts'
import type { AccessToken, Person, TokenRequest, TokenSource } from '../tokens/token.ts'
import { inTime, type SentRequest, sendAs, sendFor } from './authorized.ts'

/** Options of `Access.fetch`: the part of `RequestInit` that it takes. Default method `GET`. */
export interface AccessInit {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>> | Headers
  readonly body?: string | Uint8Array<ArrayBuffer>
  readonly signal?: AbortSignal
}

/**
 * Leave to call one API for one person. The token stays inside: it goes to that API with each request, and
 * nowhere else.
 */
export interface Access {
  readonly person: Person
  /** The API: its address. */
  readonly audience: string
  readonly scopes: readonly string[]
  /** As granted: the person may have agreed to less than what was asked for. */
  readonly details: readonly Detail[]
  /**
   * As `fetch`, for an address of the API or a path below it (`/orders`). Redirects are given back, not
   * followed.
   *
   * @throws TypeError for an address that is not the API's; Unavailable where there is no answer in 30
   * seconds.
   */
  fetch(address: string, init?: AccessInit): Promise<Response>
}

const timeoutMs = 30_000

/** Leave to call one API for one person, with a token that cannot be read out of it. */
function createAccess(
  person: Person,
  token: AccessToken,
  send: (request: SentRequest) => Promise<Response>,
): Access {
  const { audience, scopes, details } = token.facts
  return Object.freeze<Access>({
    person,
    audience,
    scopes,
    details,
    async fetch(address, { method = 'GET', headers = {}, body, signal } = {}) {
      const url = addressWithin(audience, address)
      return inTime(timeoutMs, signal, (timed) =>
        send({ method, url, headers: new Headers(headers), body, signal: timed }),
      )
    },
  })
}

/**
 * With this one token, for as long as it is good: it stands for one answer of the person's, and there is no
 * other.
 */
export const accessWith = (person: Person, token: AccessToken, platform: Platform): Access =>
  createAccess(person, token, (request) => sendAs(token, request, platform))

/** With tokens of the source, renewed as they end. */
export async function accessFrom(
  source: TokenSource,
  tokenRequest: TokenRequest,
  platform: Platform,
): Promise<Access> {
  const token = await source.get(tokenRequest)
  const { signal: _, ...later } = tokenRequest
  return createAccess(tokenRequest.person, token, async (request) => {
    const sent = await sendFor(source, { ...later, signal: request.signal }, request, platform)
    return sent.response
  })
}

/** The address in one spelling, if it is the API's own. */
function addressWithin(audience: string, address: string): string {
  const base = new URL(audience)
  const root = base.pathname.replace(/\/$/, '')
  const url = urlOf(address.startsWith('/') ? `${base.origin}${root}${address}` : address)
  const isBelow = url !== null && (url.pathname === (root || '/') || url.pathname.startsWith(`${root}/`))
  // Userinfo is no part of an origin, and would be sent as another credential.
  if (!isBelow || url.origin !== base.origin || url.username !== '' || url.password !== '')
    throw new TypeError('The address is not of the API that this access is for.')
  return url.href
}
