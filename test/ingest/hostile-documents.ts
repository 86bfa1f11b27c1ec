import { mimeTypes, type ParseErrorCode } from '../../src/ingest/parse/parsed.ts'
import { writeZip } from '../../src/kernel/zip.ts'
import { pdf, pdfPage } from '../support/pdf.ts'
import { deflated, wordXml } from '../support/zip.ts'

export interface Hostile {
  readonly name: string
  readonly mimeType: string
  readonly bytes: () => Uint8Array
  /** What may come of it; more than one where it depends on what ends first. */
  readonly outcome: readonly ('taken' | ParseErrorCode)[]
}

const MB = 1_000_000
const word = (body: string): Uint8Array => deflated('word/document.xml', wordXml(body))
const page = '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] >>'
const pages = (kids: string, count: number): Buffer =>
  pdf(['<< /Type /Catalog /Pages 2 0 R >>', `<< /Type /Pages /Kids [${kids}] /Count ${count} >>`, page])
const times = (count: number, of: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => of(index)).join('')
const laughs = times(9, (at) => `<!ENTITY l${at + 1} "${`&l${at};`.repeat(10)}">`)

/** Documents that are made to cost, each `scale` times as large as where it is 1. */
export function hostileDocuments(scale: number): readonly Hostile[] {
  const one = (
    name: string,
    mimeType: string,
    outcome: Hostile['outcome'] | 'taken' | ParseErrorCode,
    bytes: () => Uint8Array | string,
  ): Hostile => ({
    name,
    mimeType,
    outcome: typeof outcome === 'string' ? [outcome] : outcome,
    bytes: () => {
      const made = bytes()
      return typeof made === 'string' ? Buffer.from(made) : made
    },
  })
  const { docx, html, json, markdown, plain } = mimeTypes
  return [
    one('DOCX: millions of empty paragraphs', docx, 'too_large', () => word('<w:p/>'.repeat(3 * MB * scale))),
    one('DOCX: one endless word', docx, 'too_large', () =>
      word(`<w:p><w:r><w:t>${'x'.repeat(15 * MB * scale)}</w:t></w:r></w:p>`),
    ),
    one('DOCX: elements in elements', docx, ['unreadable', 'too_large'], () =>
      word(`${'<w:sdt>'.repeat(30_000 * scale)}${'</w:sdt>'.repeat(30_000 * scale)}`),
    ),
    one('DOCX: a billion laughs', docx, 'unreadable', () =>
      deflated(
        'word/document.xml',
        Buffer.from(
          `<!DOCTYPE d [<!ENTITY l0 "lol">${laughs}]>${wordXml('<w:p><w:r><w:t>&l9;</w:t></w:r></w:p>')}`,
        ),
      ),
    ),
    one('DOCX: many parts', docx, 'too_large', () =>
      writeZip(
        Array.from({ length: 12_000 }, (_, index) => ({ name: `${index}.xml`, bytes: new Uint8Array() })),
      ),
    ),
    one('DOCX: a part that says that it is small', docx, 'too_large', () =>
      deflated('word/document.xml', Buffer.alloc(25 * MB * scale, ' '), 10),
    ),
    one('DOCX: an archive of something else', docx, 'unreadable', () =>
      deflated('a.xml', Buffer.from('<a/>')),
    ),
    // A fast machine comes to their end in time, and finds no text.
    one('PDF: millions of operators', mimeTypes.pdf, ['too_large', 'timed_out', 'unreadable'], () =>
      pdfPage(Buffer.alloc(40 * MB * scale, 'q Q ')),
    ),
    one('PDF: packed twice', mimeTypes.pdf, ['too_large', 'unreadable'], () =>
      pdfPage(Buffer.alloc(200 * MB, ' '), 2),
    ),
    one('PDF: much text', mimeTypes.pdf, 'taken', () =>
      pdfPage(Buffer.from('BT /F1 12 Tf 50 700 Td (Hello there) Tj ET\n'.repeat(5_000 * scale))),
    ),
    one('PDF: pages that lead to themselves', mimeTypes.pdf, 'unreadable', () => pages('2 0 R', 1)),
    one('PDF: pages that are not there', mimeTypes.pdf, 'unreadable', () =>
      pages('9 0 R '.repeat(4_999), 4_999),
    ),
    one('PDF: a hundred thousand pages', mimeTypes.pdf, 'too_large', () =>
      pages('3 0 R '.repeat(100_000), 100_000),
    ),
    one('HTML: tags that are never closed', html, ['unreadable', 'too_large', 'timed_out'], () =>
      '<b><i><u>'.repeat(30_000 * scale),
    ),
    one('HTML: deep', html, 'unreadable', () => '<div>'.repeat(20_000 * scale)),
    one('HTML: tables in tables', html, 'unreadable', () => '<table><tr><td>'.repeat(2_000 * scale)),
    one(
      'HTML: an element of many attributes',
      html,
      ['taken', 'too_large', 'timed_out'],
      () => `<p ${times(100_000 * scale, (at) => `a${at} `)}>x`,
    ),
    one('HTML: nothing but references', html, 'taken', () => '&lt;'.repeat(200_000 * scale)),
    one('Markdown: quotes in quotes', markdown, 'taken', () => `${'> '.repeat(1_000 * Math.min(scale, 5))}x`),
    one('Markdown: open brackets', markdown, 'taken', () => '['.repeat(20_000 * scale)),
    one('Markdown: stars', markdown, 'taken', () => '*a '.repeat(6_000 * scale)),
    one('Markdown: runs of backticks', markdown, 'taken', () =>
      times(300 * scale, (at) => `${'`'.repeat(at + 1)} `),
    ),
    one('Markdown: definitions', markdown, ['taken', 'too_large'], () =>
      times(5_000 * scale, (at) => `[a${at}]: /u "t"\n`),
    ),
    one(
      'Markdown: a table of many columns',
      markdown,
      'taken',
      () => `${'|a'.repeat(2_000 * scale)}|\n${'|-'.repeat(2_000 * scale)}|\n`,
    ),
    one('Markdown: lists in lists', markdown, ['taken', 'too_large'], () =>
      times(300, (at) => `${'  '.repeat(at)}- x\n`),
    ),
    one('Markdown: a word without end', markdown, 'taken', () => 'x7'.repeat(150_000 * scale)),
    one('Markdown: ideographs', markdown, 'taken', () => '漢字文章'.repeat(25_000 * scale)),
    one(
      'Markdown: a heading of 60,000 words',
      markdown,
      'taken',
      () =>
        `# ${times(60_000, (at) => `w${at} `)}\n\n${'All of this stands under it. '.repeat(7_000 * scale)}`,
    ),
    one('JSON: lists in lists', json, 'taken', () => `${'['.repeat(2_000)}${']'.repeat(2_000)}`),
    one(
      'JSON: lists in lists without end',
      json,
      'unreadable',
      () => '['.repeat(100_000) + ']'.repeat(100_000),
    ),
    one('JSON: millions of nothings', json, 'too_large', () => `[${'{},'.repeat(MB * scale)}{}]`),
    one('JSON: many names', json, 'taken', () => `{${times(30_000 * scale, (at) => `"k${at}":0,`)}"k":0}`),
    one('JSON: a number of many digits', json, 'taken', () => `[1${'0'.repeat(100_000 * scale)}]`),
    one('NDJSON', 'application/x-ndjson', 'unsupported_media_type', () => '{}\n'.repeat(100_000)),
    one('CSV', 'text/csv', 'unsupported_media_type', () => 'a,b\n'.repeat(100_000)),
    one('plain text: one line', plain, 'taken', () => 'word '.repeat(180_000 * scale)),
    one('plain text: white space', plain, 'taken', () => ' \n'.repeat(400_000 * scale)),
    one('plain text: a paragraph a letter', plain, 'taken', () => 'a\n\n'.repeat(100_000 * scale)),
    one('plain text: NUL bytes', plain, 'taken', () => '\0'.repeat(900_000 * scale)),
    one('plain text: no UTF-8', plain, 'unreadable', () => Buffer.alloc(MB * scale, 0xff)),
    one('plain text: longer than is read', plain, 'too_large', () => 'x'.repeat(2 * MB * scale)),
  ]
}
