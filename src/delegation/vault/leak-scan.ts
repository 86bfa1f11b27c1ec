import { setImmediate as pause } from 'node:timers/promises'
import {
  base64Steps,
  type DecodedView,
  hexSteps,
  unescapeSteps,
  viewOf,
  withoutBlanks,
} from './decoded-views.ts'

/** Lets others go on between two readings: a body can be made so that looking through it takes seconds. */
export interface LeakScanner {
  /** The same bytes where no form of a secret was in them. Undefined: it could not be looked through to its end. */
  bytes(given: Uint8Array): Promise<Uint8Array | undefined>
  /** Of a header; undefined as above. */
  text(given: string): Promise<string | undefined>
}

const depthMax = 5
// How many times its own length is read: a body that is an encoding of an encoding of … must not hold us up.
const workMax = 24
// Characters of a reading that is worth a pause; less is read in a millisecond or two.
const pauseAt = 16_384
const mark = '[removed]'

/**
 * Takes secrets out of what a third party answered: as they are, in any case, with blanks, line ends or NULs between
 * their characters (so also in UTF-16 and wrapped), as hexadecimal, percent-encoded, escaped as in JSON, JavaScript or
 * HTML, in base64 or base64url at any alignment with its neighbours, and in any of these within any other, five deep.
 * Whoever could only read whole secrets is left with none. NOT found: parts of one, one that is reversed, encrypted or
 * inside of an archive, and in base64 one of less than nine characters.
 */
export function createLeakScanner(secrets: readonly string[]): LeakScanner {
  const needles = secrets.flatMap(needlesOf)

  async function scrub(given: string): Promise<string | undefined> {
    const found = await ranges(given, needles)
    if (found === undefined) return undefined
    let [scrubbed, at] = ['', 0]
    for (const { from, to } of found) {
      scrubbed += given.slice(at, from) + mark
      at = to
    }
    return at === 0 ? given : scrubbed + given.slice(at)
  }

  return {
    async bytes(given) {
      const text = Buffer.from(given.buffer, given.byteOffset, given.byteLength).toString('latin1')
      const scrubbed = await scrub(text)
      return scrubbed === text ? given : scrubbed === undefined ? undefined : Buffer.from(scrubbed, 'latin1')
    },
    text: scrub,
  }
}

interface Range {
  readonly from: number
  to: number
}

/** Every place in the text where a needle is in some reading of it, in order, none touching another. */
async function ranges(text: string, needles: readonly string[]): Promise<readonly Range[] | undefined> {
  const found: Range[] = []
  let work = workMax * (text.length + 1)
  let readings: readonly DecodedView[] = [viewOf(text)]
  const seen = new Set([text])
  const runs = new Set<string>()
  for (let depth = 0; depth <= depthMax && readings.length > 0; depth += 1) {
    const next = new Map<string, DecodedView>()
    for (const reading of readings) {
      work -= reading.text.length
      if (work < 0) return undefined
      const plain = withoutBlanks(reading)
      for (const place of placesIn(plain, needles)) found.push(place)
      for (const undo of [...unescapeSteps(reading), ...base64Steps(plain, runs), ...hexSteps(plain, runs)]) {
        if (reading.text.length > pauseAt) await pause()
        const less = undo()
        if (less !== undefined && !seen.has(less.text)) next.set(less.text, less)
      }
    }
    for (const text of next.keys()) seen.add(text)
    readings = [...next.values()]
  }
  return merged(found)
}

function placesIn({ text, from, to }: DecodedView, needles: readonly string[]): Range[] {
  const found: Range[] = []
  const lower = text.toLowerCase()
  for (const needle of needles) {
    for (let at = lower.indexOf(needle); at >= 0; at = lower.indexOf(needle, at + 1))
      found.push({ from: from[at] ?? 0, to: to[at + needle.length - 1] ?? 0 })
  }
  return found
}

function merged(found: readonly Range[]): readonly Range[] {
  const result: Range[] = []
  for (const { from, to } of found.toSorted((a, b) => a.from - b.from)) {
    const last = result.at(-1)
    if (last === undefined || from > last.to) result.push({ from, to })
    else last.to = Math.max(last.to, to)
  }
  return result
}

/**
 * As readings spell it: small letters, without what readings leave out. Beside it as the usual encoders write it, which
 * is found wherever it stands; undoing them goes wrong where what stands before it begins an escape.
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
