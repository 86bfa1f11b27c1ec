import { hasTooManyParts, partsMax } from '../kernel/json-parts.ts'

export interface NdjsonLimits {
  /** Bytes of one line. */
  readonly lineBytesMax: number
}

/** One line that is not blank, counted from 1. */
export type NdjsonLine =
  | { readonly line: number; readonly ok: true; readonly value: unknown; readonly bytes: number }
  | {
      readonly line: number
      readonly ok: false
      readonly code: 'malformed_body' | 'payload_too_large'
      readonly detail: string
    }

const newline = 0x0a
const blank = /^[\t\r ]*$/

/**
 * Reads newline-delimited JSON as it comes in, one line in memory at a time. A line that is too long, not UTF-8
 * or not JSON is reported and left behind; what follows it is read. Blank lines are counted and skipped.
 */
export async function* readNdjson(
  body: AsyncIterable<Uint8Array>,
  { lineBytesMax }: NdjsonLimits,
): AsyncGenerator<NdjsonLine> {
  let parts: Uint8Array[] = []
  let size = 0
  let line = 1
  for await (const chunk of body) {
    let from = 0
    for (let end = chunk.indexOf(newline, from); end >= 0; end = chunk.indexOf(newline, from)) {
      const read = readLine(line, [...parts, chunk.subarray(from, end)], size + end - from, lineBytesMax)
      if (read !== undefined) yield read
      parts = []
      size = 0
      line += 1
      from = end + 1
    }
    size += chunk.length - from
    // What is too long already need not be kept: only its length counts from here.
    if (size > lineBytesMax) parts = []
    else if (from < chunk.length) parts.push(chunk.slice(from))
  }
  const last = readLine(line, parts, size, lineBytesMax)
  if (last !== undefined) yield last
}

function readLine(
  line: number,
  parts: readonly Uint8Array[],
  size: number,
  bytesMax: number,
): NdjsonLine | undefined {
  if (size > bytesMax) {
    return { line, ok: false, code: 'payload_too_large', detail: `A line holds at most ${bytesMax} bytes.` }
  }
  const bytes = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    if (blank.test(text)) return undefined
    if (hasTooManyParts(text)) {
      const detail = `A line has at most ${partsMax} members and elements.`
      return { line, ok: false, code: 'payload_too_large', detail }
    }
    return { line, ok: true, value: JSON.parse(text) as unknown, bytes: size }
  } catch (error) {
    const detail = error instanceof SyntaxError ? 'The line is not JSON.' : 'The line is not UTF-8.'
    return { line, ok: false, code: 'malformed_body', detail }
  }
}
