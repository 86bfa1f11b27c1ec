import { deflateSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { mimeTypes, type ParseLimits } from '../../src/ingest/parse/parsed.ts'
import { createParser, type Parser } from '../../src/ingest/parse/parser.ts'
import { writeZip } from '../../src/kernel/zip.ts'
import { deflated } from '../support/zip.ts'

const MIB = 1024 * 1024

async function withParser(
  limits: Partial<ParseLimits>,
  use: (parser: Parser) => Promise<void>,
): Promise<void> {
  await using parser = createParser(limits)
  await use(parser)
}

/** The thread that a hostile document cost is replaced: the next document is read. */
const stillReads = async (parser: Parser): Promise<void> => {
  expect((await parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('fine') })).text).toBe('fine')
}

/** A PDF of the given objects, numbered from 1; the first is the catalog. */
function pdf(objects: readonly (string | Uint8Array)[]): Buffer {
  const parts: Buffer[] = [Buffer.from('%PDF-1.7\n')]
  const offsets = objects.map((body, index) => {
    const at = parts.reduce((sum, part) => sum + part.length, 0)
    parts.push(Buffer.from(`${index + 1} 0 obj\n`), Buffer.from(body), Buffer.from('\nendobj\n'))
    return at
  })
  const start = parts.reduce((sum, part) => sum + part.length, 0)
  const rows = offsets.map((at) => `${String(at).padStart(10, '0')} 00000 n \n`).join('')
  parts.push(Buffer.from(`xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${rows}`))
  parts.push(
    Buffer.from(`trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${start}\n%%EOF`),
  )
  return Buffer.concat(parts)
}

/** One page whose content stream is the given text, packed. */
function pdfPage(content: Uint8Array): Buffer {
  const packed = deflateSync(content)
  return pdf([
    '<< /Type /Catalog /Pages 2 0 R >>',
    '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>',
    Buffer.concat([
      Buffer.from(`<< /Length ${packed.length} /Filter /FlateDecode >>\nstream\n`),
      packed,
      Buffer.from('\nendstream'),
    ]),
    '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>',
  ])
}

test('reads a page made here, so that the hostile ones below differ in one thing only', async () => {
  await withParser({}, async (parser) => {
    const bytes = pdfPage(Buffer.from('BT /F1 12 Tf 50 700 Td (Hello there) Tj ET'))
    expect((await parser.parse({ mimeType: mimeTypes.pdf, bytes })).text).toBe('Hello there')
  })
})

test('refuses a PDF whose stream unpacks to more memory than a document may take, and reads on', async () => {
  await withParser({ memoryBytesMax: 96 * MIB }, async (parser) => {
    const bytes = pdfPage(Buffer.alloc(600 * MIB, ' '))
    expect(bytes.length).toBeLessThan(MIB)
    await expect(parser.parse({ mimeType: mimeTypes.pdf, bytes })).rejects.toMatchObject({
      code: 'too_large',
    })
    await stillReads(parser)
  })
})

test('refuses a PDF of a hundred thousand pages', async () => {
  await withParser({}, async (parser) => {
    const bytes = pdf([
      '<< /Type /Catalog /Pages 2 0 R >>',
      `<< /Type /Pages /Kids [${'3 0 R '.repeat(100_000)}] /Count 100000 >>`,
      '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] >>',
    ])
    await expect(parser.parse({ mimeType: mimeTypes.pdf, bytes })).rejects.toMatchObject({
      code: 'too_large',
      detail: 'The PDF has more than 5000 pages.',
    })
  })
})

const wordDocument = (xml: string) => [
  {
    name: '[Content_Types].xml',
    bytes: Buffer.from(
      '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
    ),
  },
  {
    name: 'word/document.xml',
    bytes: Buffer.from(
      `<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>${xml}</w:body></w:document>`,
    ),
  },
]

test('reads a Word document made here', async () => {
  await withParser({}, async (parser) => {
    const bytes = writeZip(wordDocument('<w:p><w:r><w:t>Hello there</w:t></w:r></w:p>'))
    expect((await parser.parse({ mimeType: mimeTypes.docx, bytes })).text).toBe('Hello there')
  })
})

test('refuses a Word document that unpacks to more than it may, even where it lies about its size', async () => {
  await withParser({ unpackedBytesMax: MIB }, async (parser) => {
    const bomb = Buffer.alloc(50 * MIB, ' ')
    for (const declared of [bomb.length, 10]) {
      const bytes = deflated('word/document.xml', bomb, declared)
      expect(bytes.length).toBeLessThan(MIB / 10)
      await expect(parser.parse({ mimeType: mimeTypes.docx, bytes })).rejects.toMatchObject({
        code: 'too_large',
        detail: `The document unpacks to more than ${MIB} bytes.`,
      })
    }
    await stillReads(parser)
  })
})

test('counts all parts of a Word document together', async () => {
  await withParser({ unpackedBytesMax: MIB }, async (parser) => {
    const parts = Array.from({ length: 4 }, (_, index) => ({
      name: `word/part${index}.xml`,
      bytes: Buffer.alloc(MIB / 3),
    }))
    await expect(parser.parse({ mimeType: mimeTypes.docx, bytes: writeZip(parts) })).rejects.toMatchObject({
      code: 'too_large',
    })
  })
})

test('gives up on a document that takes too long, and reads the ones that waited behind it', async () => {
  await withParser({ timeoutMs: 300 }, async (parser) => {
    await stillReads(parser)
    const slow = parser.parse({
      mimeType: mimeTypes.markdown,
      bytes: Buffer.from('a *b [c](d) '.repeat(500_000)),
    })
    const behind = parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('behind') })
    await expect(slow).rejects.toMatchObject({ code: 'timed_out' })
    expect((await behind).text).toBe('behind')
  })
})

test('refuses a document that fills the heap, and reads on', async () => {
  await withParser({ memoryBytesMax: 48 * MIB }, async (parser) => {
    const bytes = Buffer.from(`[${'{},'.repeat(4_000_000)}{}]`)
    await expect(parser.parse({ mimeType: mimeTypes.json, bytes })).rejects.toMatchObject({
      code: 'too_large',
    })
    await stillReads(parser)
  })
})

test('rejects what it still has when it is closed', async () => {
  const parser = createParser()
  const waiting = [1, 2].map(() =>
    expect(parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('x') })).rejects.toThrow('closed'),
  )
  await parser[Symbol.asyncDispose]()
  await Promise.all(waiting)
  await expect(parser.parse({ mimeType: mimeTypes.plain, bytes: Buffer.from('x') })).rejects.toThrow('closed')
})
