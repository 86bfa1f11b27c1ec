import { detailsOf } from '../shared/detail.ts'
import { limitedText } from '../shared/fetch-json.ts'
import { isObject, isWord } from '../shared/json.ts'
import type { ErrorFacts, RemitError } from './error.ts'
import { Unavailable } from './kinds.ts'
import { makeError } from './make.ts'
import { scrubbed } from './scrub.ts'

const bytesMax = 64 * 1024

/** What is needed to turn an HTTP answer into an error that repeats no secret. */
export interface ResponseContext {
  /** What the request carried: never said again, whatever the answer holds. */
  readonly secrets: readonly string[]
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * What an answer that is no success says: problem+json (RFC 9457) of the service, or the error of an OAuth
 * endpoint (RFC 6749 §5.2). Anything else, a proxy's page say, is told by its status alone.
 */
export async function errorFromResponse(response: Response, context: ResponseContext): Promise<RemitError> {
  const { status } = response
  const body = await readBody(response)
  // OAuth has no word for it, and would say that it is unavailable.
  const said429 = status === 429 ? 'rate_limited' : undefined
  const code = said429 ?? wordsOf(body['code']) ?? wordsOf(body['error']) ?? codeOf(status)
  const description = wordsOf(body['detail']) ?? wordsOf(body['title']) ?? wordsOf(body['error_description'])
  const errorFacts: ErrorFacts = {
    message: scrubbed(description ?? `The answer was ${status}.`, context.secrets),
    status,
    txn: wordsOf(body['txn']),
    field: wordsOf(body['field']),
    retryAfter: retryAfterOf(response.headers, context.now),
  }
  // What lacks the members of its kind is still that status, with nothing that a caller could rely on.
  return makeError(code, errorFacts, dataOf(code, body, response.headers)) ?? fallback(status, errorFacts)
}

function fallback(status: number, errorFacts: ErrorFacts): RemitError {
  return makeError(codeOf(status), errorFacts, {}) ?? new Unavailable('unavailable', errorFacts, {})
}

async function readBody(response: Response): Promise<Readonly<Record<string, unknown>>> {
  try {
    const body: unknown = JSON.parse(await limitedText(response, bytesMax))
    return isObject(body) ? body : {}
  } catch {
    // Not JSON, too long, or cut off: the status says enough.
    return {}
  }
}

const wordsOf = (value: unknown): string | undefined => (isWord(value) ? value : undefined)

function codeOf(status: number): string {
  if (status === 404) return 'not_found'
  if (status === 429) return 'rate_limited'
  return status >= 500 ? 'unavailable' : `http_${status}`
}

function dataOf(code: string, body: Readonly<Record<string, unknown>>, headers: Headers): object {
  switch (code) {
    case 'approval_required':
      return { authorizationDetails: detailsOf(body['authorization_details']) }
    case 'connection_required':
    case 'reconnect_required':
      return { connectUrl: body['connect_url'] }
    case 'insufficient_scope':
      return { scopes: scopesIn(headers) }
    // CIBA: what the person wants to know first, and why they refused.
    case 'authorization_pending':
      return { infoRequest: body['info_request'] }
    case 'access_denied':
      return { reason: body['reason'] }
    default:
      return {}
  }
}

/** The complete set that the operation needs, of the challenge (RFC 6750 §3). */
function scopesIn(headers: Headers): readonly string[] {
  const [, scope = ''] = /[ ,]scope="([^"]*)"/.exec(headers.get('www-authenticate') ?? '') ?? []
  return scope.split(' ').filter((name) => name !== '')
}

/** Seconds, rounded up (RFC 9110 §10.2.3). Undefined: it does not say. */
export function retryAfterOf(headers: Headers, now: number): number | undefined {
  const value = headers.get('retry-after')
  if (value === null) return undefined
  if (/^\d{1,9}$/.test(value)) return Number(value)
  const time = Date.parse(value)
  return Number.isNaN(time) ? undefined : Math.max(0, Math.ceil((time - now) / 1_000))
}
