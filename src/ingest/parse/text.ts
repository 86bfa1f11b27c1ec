import { TextDecoder } from 'node:util'
import { type Block, type Parsed, ParseError } from './parsed.ts'

/**
 * Bytes to text. Throws `unreadable` where they are not text in that character set, rather than storing
 * marks of replacement that nobody would notice; `unsupported_media_type` where the set is unknown.
 */
export function decode(bytes: Uint8Array, charset: string): string {
  let decoder: TextDecoder
  try {
    decoder = new TextDecoder(charset, { fatal: true })
  } catch (cause) {
    throw new ParseError('unsupported_media_type', 'The character set is not known here.', cause)
  }
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new ParseError('unreadable', `The bytes are not text in ${decoder.encoding}.`, cause)
  }
}

/**
 * Replaces NUL, which Postgres cannot hold, and lone surrogates, which are no characters and have no UTF-8,
 * by U+FFFD. One for one, so that offsets hold. Other control characters stay.
 */
export const clean = (text: string): string =>
  text.isWellFormed() ? text.replaceAll('\0', '\uFFFD') : text.toWellFormed().replaceAll('\0', '\uFFFD')

/** Paragraphs of plain text: runs of lines between blank ones. */
export function parsePlain(text: string): Parsed {
  const blocks: Block[] = []
  let paragraphStart = 0
  // By what stands between them: an expression for a paragraph itself runs out of stack at some megabytes
  // without a blank line.
  for (const { index, 0: between } of [...text.matchAll(/\n\s*\n/g), { index: text.length, 0: '' }]) {
    const raw = text.slice(paragraphStart, index)
    const textStart = paragraphStart + raw.length - raw.trimStart().length
    if (textStart < index)
      blocks.push({ kind: 'paragraph', start: textStart, end: paragraphStart + raw.trimEnd().length })
    paragraphStart = index + between.length
  }
  return { text, blocks }
}

/** JSON as one indented block, so that a name and its value stay on one line. */
export function parseJson(text: string): Parsed {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new ParseError('unreadable', 'The document is not JSON.', cause)
  }
  const pretty = indented(value)
  return { text: pretty, blocks: [{ kind: 'code', start: 0, end: pretty.length }] }
}

/** What lies deeper stands on one line: 4 kB nested 2,000 deep would else be 8 million characters. */
const LEVELS_INDENTED_MAX = 16

/**
 * As `JSON.stringify(value, null, 2)` has it down to that level, and at most 18 times as long as without
 * white space.
 */
function indented(value: unknown, level = 1): string {
  if (typeof value !== 'object' || value === null || level > LEVELS_INDENTED_MAX) return JSON.stringify(value)
  const [opening, close] = Array.isArray(value) ? '[]' : '{}'
  const members = Array.isArray(value)
    ? value.map((element) => indented(element, level + 1))
    : Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}: ${indented(member, level + 1)}`)
  const line = `\n${'  '.repeat(level)}`
  return members.length === 0
    ? `${opening}${close}`
    : `${opening}${line}${members.join(`,${line}`)}${line.slice(0, -2)}${close}`
}
