import assert from 'node:assert/strict'
import { parseDocument } from '../../../src/ingest/parse/document.ts'
import { mimeTypes, type Parsed, ParseError, parseLimitsDefault } from '../../../src/ingest/parse/parsed.ts'
import { clean } from '../../../src/ingest/parse/text.ts'
import { assertLinear } from '../oracles.ts'

const kinds = [mimeTypes.html, mimeTypes.markdown, mimeTypes.plain, mimeTypes.json, mimeTypes.docx]
const limits = {
  ...parseLimitsDefault,
  bytesMax: 200_000,
  charactersMax: 400_000,
  unpackedBytesMax: 1_000_000,
}

/** The first byte says the kind. Blocks lie in the text, in order; read again, all is the same. */
export async function fuzz(input: Uint8Array): Promise<void> {
  const mimeType = kinds[(input[0] ?? 0) % kinds.length] ?? mimeTypes.plain
  const bytes = input.subarray(1)
  const read = (all: Uint8Array) => parsed(mimeType, all)
  const first = await read(bytes)
  if (first === undefined) return
  assert.equal(clean(first.text), first.text)
  let end = 0
  for (const block of first.blocks) {
    assert.ok(block.start >= end && block.end > block.start, 'blocks in order, none empty')
    if (block.headerEnd !== undefined)
      assert.ok(block.headerEnd >= block.start && block.headerEnd <= block.end, 'a head within its table')
    end = block.end
  }
  assert.ok(end <= first.text.length, 'blocks within the text')
  assert.deepEqual(await read(bytes), first)
  await assertLinear(bytes, read)
}

async function parsed(mimeType: string, bytes: Uint8Array): Promise<Parsed | undefined> {
  try {
    return await parseDocument({ mimeType, bytes }, limits)
  } catch (error) {
    if (error instanceof ParseError) return undefined
    throw error
  }
}
