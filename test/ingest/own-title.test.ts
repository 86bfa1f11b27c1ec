import { hasPlainCharacters } from '@remit/contract/text'
import { afterAll, expect, test } from 'vitest'
import { ownTitle } from '../../src/ingest/parse/own-title.ts'
import { mimeTypes, parseLimitsDefault } from '../../src/ingest/parse/parsed.ts'
import { createParser } from '../../src/ingest/parse/parser.ts'
import { writeZip } from '../../src/kernel/zip.ts'
import { pdf } from '../support/pdf.ts'
import { wordDocument } from '../support/zip.ts'

const parser = createParser()
afterAll(() => parser[Symbol.asyncDispose]())

test.each([
  [
    'front matter',
    'text/markdown',
    '---\nsection: 5\ntitle: "package-lock.json"\n---\n# Other\n',
    'package-lock.json',
  ],
  ['front matter without one', 'text/markdown', '---\nsection: 5\n---\n# Head #\n', 'Head'],
  ['front matter that is none', 'text/markdown', '---\n- [\n---\n\n# Head\n', 'Head'],
  ['a rule and no front matter', 'text/markdown', 'One\n---\ntitle: x\n---\n# Head\n', 'Head'],
  ['its <title>', 'text/html', '<title>21.10.\n LDAP &amp; more</title><h1>Else</h1>', '21.10. LDAP & more'],
  [
    'its first heading',
    'text/html',
    '<svg><title>Icon</title></svg><title> </title><h1>The <b>one</b></h1><h1>Two</h1>',
    'The one',
  ],
  ['nothing', 'text/html', '<p>text', undefined],
  ['nothing', 'text/markdown', 'text', undefined],
  ['nothing', 'text/plain', '# no\n', undefined],
])('a document’s title is taken from %s (%s)', async (_, mimeType, text, title) => {
  expect(await ownTitle({ mimeType, bytes: Buffer.from(text) }, parseLimitsDefault)).toBe(title)
})

/** A PDF without a page's text that says this of itself. */
function pdfThatSays({ info, xmp }: { readonly info?: string; readonly xmp?: string }): Buffer {
  const packet = `<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt><rdf:li xml:lang="x-default">${xmp}</rdf:li></rdf:Alt></dc:title></rdf:Description></rdf:RDF></x:xmpmeta>`
  const meta = xmp === undefined ? '' : '/Metadata 4 0 R'
  return pdf(
    [
      `<< /Type /Catalog /Pages 2 0 R ${meta} >>`,
      '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
      '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] >>',
      `<< /Type /Metadata /Subtype /XML /Length ${packet.length} >>\nstream\n${packet}\nendstream`,
      `<< /Title (${info ?? ''}) >>`,
    ],
    '/Info 5 0 R',
  )
}

test.each([
  ['its information dictionary', { info: 'Travel policy' }, 'Travel policy'],
  ['its XMP, before that', { info: 'Old', xmp: 'Travel &amp; more' }, 'Travel & more'],
  ['its information dictionary, where XMP names a file', { info: 'Travel', xmp: 'v3.indd' }, 'Travel'],
  ['nothing: a file’s name', { info: 'Microsoft Word - travel.doc' }, undefined],
  ['nothing: a program’s word', { info: 'untitled' }, undefined],
  ['nothing: a number', { info: '2026-1' }, undefined],
  ['nothing: no title', {}, undefined],
])('a PDF’s title is taken from %s', async (_, says, title) => {
  expect(await parser.ownTitle({ mimeType: mimeTypes.pdf, bytes: pdfThatSays(says) })).toBe(title)
})

const styles = `<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">${[
  ['Titel', 'Title'],
  ['berschrift1', 'heading 1'],
]
  .map(([id, name]) => `<w:style w:type="paragraph" w:styleId="${id}"><w:name w:val="${name}"/></w:style>`)
  .join('')}</w:styles>`
const relations =
  '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>'

function docx(paragraphs: readonly (readonly [style: string, text: string])[], title?: string): Uint8Array {
  const body = paragraphs.map(
    ([style, text]) => `<w:p><w:pPr><w:pStyle w:val="${style}"/></w:pPr><w:r><w:t>${text}</w:t></w:r></w:p>`,
  )
  const core =
    title === undefined
      ? []
      : [{ name: 'docProps/core.xml', bytes: Buffer.from(`<cp:coreProperties>${title}</cp:coreProperties>`) }]
  return writeZip([
    ...wordDocument(body.join('')),
    { name: 'word/styles.xml', bytes: Buffer.from(styles) },
    { name: 'word/_rels/document.xml.rels', bytes: Buffer.from(relations) },
    ...core,
  ])
}

const [lead, heading] = [
  ['', 'Acme Ltd'],
  ['berschrift1', 'Before you start'],
] as const

test.each([
  ['its core properties', docx([lead, heading], '<dc:title>Laptops &amp; more</dc:title>'), 'Laptops & more'],
  [
    'its first heading, where these are empty',
    docx([lead, heading], '<dc:title/><dc:creator>x</dc:creator>'),
    'Before you start',
  ],
  [
    'its first heading, where these name a file',
    docx([lead, heading], '<dc:title>plan.docx</dc:title>'),
    'Before you start',
  ],
  ['a paragraph in the style of titles', docx([lead, ['Titel', 'Welcome'], heading]), 'Welcome'],
  ['nothing', docx([lead]), undefined],
])('a Word document’s title is taken from %s', async (_, bytes, title) => {
  expect(await parser.ownTitle({ mimeType: mimeTypes.docx, bytes })).toBe(title)
})

const [bidi, zeroWidth, half] = ['\u202E', '\u200B', '\uD800']
const tags = String.fromCodePoint(...[...'obey'].map((one) => 0xe0000 + (one.codePointAt(0) ?? 0)))
const inXml = (text: string) =>
  text.replaceAll(/[^\x20-\x7e]/gu, (one) => `&#x${one.codePointAt(0)?.toString(16)};`)
const hidden = `${bidi}Tra${zeroWidth}vel ${zeroWidth} po${tags}li\u00ADcy`
const page = (bytes: string) => ({ mimeType: 'text/html', bytes: Buffer.from(bytes) })
const headed = (bytes: string) => ({ mimeType: 'text/markdown', bytes: Buffer.from(bytes) })
const ofPdf = (says: Parameters<typeof pdfThatSays>[0]) => ({
  mimeType: mimeTypes.pdf,
  bytes: pdfThatSays(says),
})
const ofWord = (title: string) => ({
  mimeType: mimeTypes.docx,
  bytes: docx([lead], `<dc:title>${title}</dc:title>`),
})

test.each([
  ['a PDF’s XMP', ofPdf({ xmp: inXml(hidden) }), 'Travel policy'],
  ['half a character in a PDF’s XMP', ofPdf({ xmp: inXml(`Travel ${half} policy`) }), 'Travel policy'],
  ['a Word document', ofWord(hidden), 'Travel policy'],
  ['half a character in a Word document', ofWord(`Travel ${inXml(half)} policy`), 'Travel \uFFFD policy'],
  ['HTML', page(`<title>${hidden}</title>`), 'Travel policy'],
  ['HTML whose <title> nobody sees', page(`<title>${tags}</title><h1>Travel</h1>`), 'Travel'],
  ['Markdown', headed(`# ${hidden}\n`), 'Travel policy'],
  ['half a character in front matter', headed('---\ntitle: "Travel\\uD800"\n---\n'), 'Travel'],
  ['a sign that is cut', headed(`# ${'a'.repeat(998)}1\uFE0F\u20E3\n`), `${'a'.repeat(998)}1`],
  ['a title of nothing else', headed(`# ${tags}${zeroWidth}\n`), undefined],
  ['an emoji', headed('# Travel ✈️\n'), 'Travel ✈️'],
])('a title holds nothing that nobody sees: %s', async (_, input, title) => {
  const found = await parser.ownTitle(input)
  expect(found).toBe(title)
  expect(hasPlainCharacters(found ?? '')).toBe(true)
})

test('a PDF and a Word document that cannot be read have no title, and say why', async () => {
  for (const mimeType of [mimeTypes.pdf, mimeTypes.docx])
    await expect(parser.ownTitle({ mimeType, bytes: Buffer.from('no') })).rejects.toMatchObject({
      code: 'unreadable',
    })
})
