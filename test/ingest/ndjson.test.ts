import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { type NdjsonLine, readNdjson } from '../../src/ingest/ndjson.ts'

describe('newline-delimited JSON', () => {
  const read = async (chunks: readonly Uint8Array[], lineBytesMax = 50): Promise<NdjsonLine[]> => {
    const lines: NdjsonLine[] = []
    for await (const line of readNdjson(Readable.from(chunks), { lineBytesMax, linesMax: 1_000 }))
      lines.push(line)
    return lines
  }

  test('a line that comes byte by byte takes little more memory than it is long', async () => {
    const text = JSON.stringify('x'.repeat(400_000))
    let most = 0
    const before = process.memoryUsage()
    async function* bytes() {
      for (const byte of Buffer.from(text)) yield Buffer.alloc(1, byte)
      const { heapUsed, arrayBuffers } = process.memoryUsage()
      most = heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers
    }
    const lines: NdjsonLine[] = []
    for await (const line of readNdjson(bytes(), { lineBytesMax: 1_000_000, linesMax: 1 })) lines.push(line)
    expect(lines).toEqual([{ line: 1, ok: true, value: 'x'.repeat(400_000), bytes: 400_002 }])
    expect(most).toBeLessThan(60_000_000)
  })

  test('blank lines count as well', async () => {
    await expect(read([Buffer.alloc(1_000, '\n')])).resolves.toEqual([])
    await expect(read([Buffer.alloc(1_001, '\n')])).rejects.toMatchObject({ code: 'payload_too_large' })
  })

  test('leaves behind a line of more parts than any document before it is parsed', async () => {
    expect(await read([Buffer.from(`[${'{},'.repeat(200_000)}{}]\n7`)], 1_000_000)).toEqual([
      {
        line: 1,
        ok: false,
        code: 'payload_too_large',
        detail: 'A line has at most 200000 members and elements.',
      },
      { line: 2, ok: true, value: 7, bytes: 1 },
    ])
  })

  test('is the same however the bytes are cut', async () => {
    const bytes = Buffer.from('{"a":"é😀"}\r\n\n{"b":2}\n[3]')
    const whole = await read([bytes])
    expect(whole.map((entry) => (entry.ok ? [entry.line, entry.value] : entry))).toEqual([
      [1, { a: 'é😀' }],
      [3, { b: 2 }],
      [4, [3]],
    ])
    for (let size = 1; size < 8; size++) {
      const cut: Uint8Array[] = []
      for (let from = 0; from < bytes.length; from += size) cut.push(bytes.subarray(from, from + size))
      expect(await read(cut)).toEqual(whole)
    }
  })

  test('reports a line that is too long and reads the next', async () => {
    const long = `"${'x'.repeat(200)}"\n{"ok":1}\n`
    for (const size of [1, 30, 1_000]) {
      const cut = Array.from({ length: Math.ceil(long.length / size) }, (_, i) =>
        Buffer.from(long.slice(i * size, (i + 1) * size)),
      )
      expect(await read(cut)).toMatchObject([
        { line: 1, ok: false, code: 'payload_too_large' },
        { line: 2, ok: true, value: { ok: 1 } },
      ])
    }
  })

  test('reports bytes that are not UTF-8', async () => {
    expect(await read([Buffer.from([0x22, 0xff, 0x22, 0x0a])])).toMatchObject([{ line: 1, ok: false }])
  })
})
