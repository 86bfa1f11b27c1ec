import { TextDecoder } from 'node:util'
import { type Parsed, ParseError } from './parsed.ts'

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
  const paragraphs = text.matchAll(/\S(?:[^\n]|\n(?!\s*\n))*/g)
  const blocks = Array.from(paragraphs, ({ index, 0: paragraph }) => ({
    kind: 'paragraph' as const,
    start: index,
    end: index + paragraph.trimEnd().length,
  }))
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
  const pretty = JSON.stringify(value, null, 2)
  return { text: pretty, blocks: [{ kind: 'code', start: 0, end: pretty.length }] }
}
