import type { vaultAnswerSchema } from '@remit/contract/vault-schemas'
import type { z } from 'zod'
import type { OutboundResponse } from '../../outbound/guarded-fetch.ts'
import { utf8Of } from './call.ts'
import { createLeakScanner } from './leak-scan.ts'
import type { Provider } from './provider.ts'

/**
 * What an agent gets of what a third party answered. The body is text where it says that it is text and is
 * UTF-8; anything else is in base64.
 */
export type VaultAnswer = Omit<z.output<typeof vaultAnswerSchema>, 'txn'>

/** The call that an answer belongs to. */
export interface AnsweredCall {
  /** Every token that was sent with it. */
  readonly tokens: readonly string[]
  /** What was asked, for `location`. */
  readonly url: string
  readonly provider: Pick<Provider, 'apiOrigins'>
}

/**
 * An answer without what must not get to an agent: the token in any form, cookies, challenges, and whatever
 * else is not on the list; a `location` only within the provider's API. Undefined: it cannot be told what is
 * in it.
 */
export async function answerOf(
  { status, headers, body }: OutboundResponse,
  { tokens, url, provider }: AnsweredCall,
): Promise<VaultAnswer | undefined> {
  const scanner = createLeakScanner(tokens)
  const allowedHeaders: Record<string, string> = {}
  for (const [name, value] of headers) {
    if (!isAllowed(name) || value.length > valueMax) continue
    const headerValue = name === 'location' ? locationOf(value, url, provider) : value
    if (headerValue === undefined) continue
    const clean = await scanner.text(headerValue)
    if (clean === undefined) return undefined
    allowedHeaders[name] = clean
  }
  const clean = await scanner.bytes(body)
  if (clean === undefined) return undefined
  const isText = clean.byteLength === 0 || textual.test(headers.get('content-type') ?? '')
  // What says that it is text may be none.
  const text = isText ? utf8Of(clean) : undefined
  return text === undefined
    ? { status, headers: allowedHeaders, body: Buffer.from(clean).toString('base64'), encoding: 'base64' }
    : { status, headers: allowedHeaders, body: text, encoding: 'text' }
}

const valueMax = 4_096

const allowed: ReadonlySet<string> = new Set([
  'content-type',
  'content-language',
  'content-disposition',
  'etag',
  'last-modified',
  'link',
  'location',
  'retry-after',
])

const isAllowed = (name: string): boolean => allowed.has(name) || /^(x-)?ratelimit(-|$)/.test(name)

/** As the agent could ask for it. Undefined: it leads elsewhere. */
function locationOf(
  value: string,
  url: string,
  { apiOrigins }: AnsweredCall['provider'],
): string | undefined {
  const location = URL.parse(value, url)
  if (
    location === null ||
    location.username !== '' ||
    location.password !== '' ||
    !apiOrigins.includes(location.origin)
  )
    return undefined
  const path = `${location.pathname}${location.search}`
  return location.origin === apiOrigins[0] ? path : `${location.origin}${path}`
}

const textual =
  /^(text\/|application\/([\w.-]+\+)?(json|xml|yaml|javascript|x-www-form-urlencoded|x-ndjson)\b)/i
