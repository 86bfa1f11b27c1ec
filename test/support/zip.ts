import { deflateRawSync } from 'node:zlib'
import { writeZip } from '../../src/kernel/zip.ts'

/** An archive whose one entry is deflated and claims to unpack to `sizeDeclared`. */
export function deflated(name: string, bytes: Uint8Array, sizeDeclared = bytes.length): Uint8Array {
  const packed = deflateRawSync(bytes)
  const archive = Buffer.from(writeZip([{ name, bytes: packed }]))
  const whole = Buffer.from(writeZip([{ name, bytes }]))
  const directory = 30 + name.length + packed.length
  for (const [at, crc] of [
    [0, 14],
    [directory, 16],
  ] as const) {
    archive.writeUInt16LE(8, at + crc - 6)
    whole.copy(archive, at + crc, 14, 18)
    archive.writeUInt32LE(sizeDeclared, at + crc + 8)
  }
  return archive
}

const wordMain = 'http://schemas.openxmlformats.org/wordprocessingml/2006/main'

/** The XML of a Word document's main part. */
export const wordXml = (body: string): Buffer =>
  Buffer.from(`<w:document xmlns:w="${wordMain}"><w:body>${body}</w:body></w:document>`)

/** The parts of a Word document with this body. */
export const wordDocument = (body: string) => [
  {
    name: '[Content_Types].xml',
    bytes: Buffer.from(
      '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
    ),
  },
  { name: 'word/document.xml', bytes: wordXml(body) },
]
