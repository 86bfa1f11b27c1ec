import { AppError } from '../kernel/errors.ts'
import { hasTooManyParts, partsMax } from '../kernel/json-parts.ts'

/** The most bytes of a line, and the most lines. */
export interface NdjsonLimits {
  /** Bytes of one line. */
  readonly lineBytesMax: number
  /** Blank ones too: each takes its time. */
  readonly linesMax: number
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
const decoder = new TextDecoder('utf-8', { fatal: true })

/**
 * Reads newline-delimited JSON as it comes in, one line in memory at a time. A line that is too long, not
 * UTF-8 or not JSON is reported and left behind; what follows it is read. Blank lines are counted and
 * skipped. Throws `payload_too_large` after `linesMax` lines.
 */
export async function* readNdjson(
  body: AsyncIterable<Uint8Array>,
  { lineBytesMax, linesMax }: NdjsonLimits,
): AsyncGenerator<NdjsonLine> {
  let lineBuffer = Buffer.alloc(4_096)
  let size = 0
  let line = 1
  for await (const chunk of body) {
    let position = 0
    for (
      let newlineAt = chunk.indexOf(newline, position);
      newlineAt >= 0;
      newlineAt = chunk.indexOf(newline, position)
    ) {
      if (line > linesMax) throw tooMany()
      const lineEnd = chunk.subarray(position, newlineAt)
      const total = size + lineEnd.length
      if (total > lineBytesMax) yield tooLong(line, lineBytesMax)
      else if (total > 0) {
        lineBuffer = size === 0 ? lineBuffer : appended(lineBuffer, size, lineEnd)
        const read = await readLine(line, size === 0 ? lineEnd : lineBuffer.subarray(0, total))
        if (read !== undefined) yield read
      }
      size = 0
      line += 1
      position = newlineAt + 1
    }
    const remainder = chunk.subarray(position)
    // What is too long already need not be kept: only its length counts from here.
    if (size + remainder.length <= lineBytesMax) lineBuffer = appended(lineBuffer, size, remainder)
    size += remainder.length
  }
  if (size > 0 && line > linesMax) throw tooMany()
  if (size > lineBytesMax) yield tooLong(line, lineBytesMax)
  else if (size > 0) {
    const lastLine = await readLine(line, lineBuffer.subarray(0, size))
    if (lastLine !== undefined) yield lastLine
  }
}

/** Puts bytes behind those that are there, in place where there is room: a line may come byte by byte. */
function appended(lineBuffer: Buffer<ArrayBuffer>, size: number, addition: Uint8Array): Buffer<ArrayBuffer> {
  const buffer =
    size + addition.length <= lineBuffer.length
      ? lineBuffer
      : Buffer.alloc(Math.max(2 * lineBuffer.length, size + addition.length))
  if (buffer !== lineBuffer) lineBuffer.copy(buffer, 0, 0, size)
  buffer.set(addition, size)
  return buffer
}

const tooMany = (): AppError => new AppError('payload_too_large', { public: 'Too many lines.' })

const tooLong = (line: number, bytesMax: number): NdjsonLine => ({
  line,
  ok: false,
  code: 'payload_too_large',
  detail: `A line holds at most ${bytesMax} bytes.`,
})

async function readLine(line: number, bytes: Uint8Array): Promise<NdjsonLine | undefined> {
  try {
    const text = decoder.decode(bytes)
    if (blank.test(text)) return undefined
    if (await hasTooManyParts(text)) {
      const detail = `A line has at most ${partsMax} members and elements.`
      return { line, ok: false, code: 'payload_too_large', detail }
    }
    return { line, ok: true, value: JSON.parse(text) as unknown, bytes: bytes.length }
  } catch (error) {
    const detail = error instanceof SyntaxError ? 'The line is not JSON.' : 'The line is not UTF-8.'
    return { line, ok: false, code: 'malformed_body', detail }
  }
}
