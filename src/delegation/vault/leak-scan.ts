import { setImmediate as pause } from 'node:timers/promises'
import {
  base64Steps,
  type DecodedView,
  hexSteps,
  unescapeSteps,
  viewOf,
  withoutBlanks,
} from './decoded-views.ts'

/** Lets others go on between two views: a body can be made so that looking through it takes seconds. */
export interface LeakScanner {
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

interface Range {
  readonly from: number
  to: number
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
