import assert from 'node:assert/strict'
import { readNdjson } from '../../../src/ingest/ndjson.ts'
import { assertLinear } from '../oracles.ts'

const limits = { lineBytesMax: 512, linesMax: 100_000 }

/** In pieces of any length, the lines are those that splitting it all at once gives. The first byte cuts. */
export async function fuzz(input: Uint8Array): Promise<void> {
  const [cut = 1] = input
  const bytes = input.subarray(1)
  assert.deepEqual(await inPieces(bytes, cut), atOnce(bytes))
  await assertLinear(bytes, (all) => inPieces(all, cut))
}

async function inPieces(bytes: Uint8Array, cut: number): Promise<unknown[]> {
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += 1 + (cut % 97)) yield bytes.subarray(at, at + 1 + (cut % 97))
  }
  const lines: unknown[] = []
  for await (const read of readNdjson(pieces(), limits))
    lines.push(read.ok ? [read.line, read.value] : [read.line, read.code])
  return lines
}

function atOnce(bytes: Uint8Array): unknown[] {
  const lines: unknown[] = []
  let start = 0
  for (let line = 1; start < bytes.length; line += 1) {
    const at = bytes.indexOf(0x0a, start)
    const end = at === -1 ? bytes.length : at
    const read = slowLine(bytes.subarray(start, end))
    if (read !== undefined) lines.push([line, ...read])
    start = end + 1
  }
  return lines
}

function slowLine(bytes: Uint8Array): [unknown] | undefined {
  if (bytes.length > limits.lineBytesMax) return ['payload_too_large']
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return /^[\t\r ]*$/.test(text) ? undefined : [JSON.parse(text)]
  } catch {
    return ['malformed_body']
  }
}
