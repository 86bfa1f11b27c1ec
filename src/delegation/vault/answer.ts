import { setImmediate as pause } from 'node:timers/promises'
import type { vaultAnswerSchema } from '@remit/contract/vault-schemas'
import type { z } from 'zod'
import type { OutboundResponse } from '../../outbound/guarded-fetch.ts'
import { utf8Of } from './call.ts'
import {
  base64Steps,
  type DecodedView,
  hexSteps,
  unescapeSteps,
  viewOf,
  withoutBlanks,
} from './decoded-views.ts'
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

/** Lets others go on between two views: a body can be made so that looking through it takes seconds. */
interface LeakScanner {
  /**
   * The same bytes where no form of a secret was in them. Undefined: it could not be looked through to its
   * end.
   */
  bytes(bytes: Uint8Array): Promise<Uint8Array | undefined>
  /** Of a header; undefined as above. */
  text(text: string): Promise<string | undefined>
}

const depthMax = 5

// How many times its own length is read: a body that is an encoding of an encoding of … must not hold us up.
const workMax = 24

// Characters of a view that is worth a pause; less is read in a millisecond or two.
const pauseAt = 16_384

const mark = '[removed]'

interface Range {
  readonly from: number
  to: number
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

// Where an upload of Google's goes on for a week without any token, and addresses that are signed.
const isGoodByItself = /^(upload_?id|sig|signature|x-(amz|goog)-signature)$/i

/** As the agent could ask for it. Undefined: it leads elsewhere, or whoever has it needs no token there. */
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
    !apiOrigins.includes(location.origin) ||
    [...location.searchParams.keys()].some((name) => isGoodByItself.test(name))
  )
    return undefined
  const path = `${location.pathname}${location.search}`
  return location.origin === apiOrigins[0] ? path : `${location.origin}${path}`
}

const textual =
  /^(text\/|application\/([\w.-]+\+)?(json|xml|yaml|javascript|x-www-form-urlencoded|x-ndjson)\b)/i

/**
 * Takes secrets out of what a third party answered: as they are, in any case, with blanks, line ends or NULs
 * between their characters (so also in UTF-16 and wrapped), as hexadecimal, percent-encoded, escaped as in
 * JSON, JavaScript or HTML, in base64 or base64url at any alignment with its neighbours, and in any of these
 * within any other, five deep. Whoever could only read whole secrets is left with none. NOT found: parts of
 * one, one that is reversed, encrypted or inside of an archive, and in base64 one of less than nine
 * characters.
 */
export function createLeakScanner(secrets: readonly string[]): LeakScanner {
  const needles = secrets.flatMap(needlesOf)

  async function scrub(input: string): Promise<string | undefined> {
    const found = await ranges(input, needles)
    if (found === undefined) return undefined
    let [scrubbed, copiedTo] = ['', 0]
    for (const { from: rangeStart, to: rangeEnd } of found) {
      scrubbed += input.slice(copiedTo, rangeStart) + mark
      copiedTo = rangeEnd
    }
    return copiedTo === 0 ? input : scrubbed + input.slice(copiedTo)
  }

  return {
    async bytes(inputBytes) {
      const text = Buffer.from(inputBytes.buffer, inputBytes.byteOffset, inputBytes.byteLength).toString(
        'latin1',
      )
      const scrubbed = await scrub(text)
      return scrubbed === text
        ? inputBytes
        : scrubbed === undefined
          ? undefined
          : Buffer.from(scrubbed, 'latin1')
    },
    text: scrub,
  }
}

/** Every place in the text where a needle is in some view of it, in order, none touching another. */
async function ranges(text: string, needles: readonly string[]): Promise<readonly Range[] | undefined> {
  const found: Range[] = []
  let budget = workMax * (text.length + 1)
  let views: readonly DecodedView[] = [viewOf(text)]
  const seenTexts = new Set([text])
  const runs = new Set<string>()
  for (let depth = 0; depth <= depthMax && views.length > 0; depth += 1) {
    const next = new Map<string, DecodedView>()
    for (const view of views) {
      budget -= view.text.length
      if (budget < 0) return undefined
      const compactView = withoutBlanks(view)
      for (const match of placesIn(compactView, needles)) found.push(match)
      for (const undo of [
        ...unescapeSteps(view),
        ...base64Steps(compactView, runs),
        ...hexSteps(compactView, runs),
      ]) {
        if (view.text.length > pauseAt) await pause()
        const less = undo()
        if (less !== undefined && !seenTexts.has(less.text)) next.set(less.text, less)
      }
    }
    for (const text of next.keys()) seenTexts.add(text)
    views = [...next.values()]
  }
  return merged(found)
}

function placesIn(
  { text, from: fromOffsets, to: toOffsets }: DecodedView,
  needles: readonly string[],
): Range[] {
  const found: Range[] = []
  const lower = text.toLowerCase()
  for (const needle of needles) {
    for (let index = lower.indexOf(needle); index >= 0; index = lower.indexOf(needle, index + 1))
      found.push({ from: fromOffsets[index] ?? 0, to: toOffsets[index + needle.length - 1] ?? 0 })
  }
  return found
}

function merged(found: readonly Range[]): readonly Range[] {
  const result: Range[] = []
  for (const { from: rangeStart, to: rangeEnd } of found.toSorted((a, b) => a.from - b.from)) {
    const lastRange = result.at(-1)
    if (lastRange === undefined || rangeStart > lastRange.to) result.push({ from: rangeStart, to: rangeEnd })
    else lastRange.to = Math.max(lastRange.to, rangeEnd)
  }
  return result
}

/**
 * As views spell it: small letters, without what views leave out. Beside it as the usual encoders write
 * it, which is found wherever it stands; undoing them goes wrong where what stands before it begins an
 * escape.
 */
const needlesOf = (secret: string): string[] => {
  const forms = [
    secret,
    Buffer.from(secret).toString('hex'),
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    secret.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;'),
  ]
  const spelled = forms.map((form) => withoutBlanks(viewOf(form)).text.toLowerCase())
  return [...new Set(spelled)].filter((form) => form !== '')
}
