import mammoth from 'mammoth'
import { readZip, writeZip, type ZipEntry, ZipError } from '../../kernel/zip.ts'
import { parseHtml } from './html.ts'
import { type Parsed, ParseError, type ParseLimits } from './parsed.ts'

/** More parts than Word writes; each costs time before a byte is read. */
const ENTRIES_MAX = 10_000

/**
 * Word documents: headings by their styles, lists, tables, footnotes. Images are left out.
 * The archive is unpacked here first, under a limit that it cannot lie about, and only what was measured is
 * handed on: a second reader that unpacked by itself could be led to other bytes than the ones checked.
 */
export const parseDocx = async (bytes: Uint8Array, limits: ParseLimits): Promise<Parsed> =>
  parseHtml(await htmlOf(bytes, limits), limits.charactersMax)

/** The document as a page in which paragraphs of the style Title are headings, too. */
export const titleLinesOfDocx = (bytes: Uint8Array, limits: ParseLimits): Promise<string> =>
  htmlOf(bytes, limits, ["p[style-name='Title'] => h1:fresh"])

/** Its core properties (OPC) as XML; empty without any. */
export function propertiesOfDocx(bytes: Uint8Array, limits: ParseLimits): string {
  const member = unpack(bytes, limits.unpackedBytesMax, (name) => name === 'docProps/core.xml').at(0)
  return member === undefined ? '' : new TextDecoder().decode(member.bytes)
}

async function htmlOf(bytes: Uint8Array, limits: ParseLimits, styleMap: string[] = []): Promise<string> {
  const measured = Buffer.from(writeZip(unpack(bytes, limits.unpackedBytesMax)))
  const noImages = mammoth.images.imgElement(async () => ({ src: '' }))
  const { value: html } = await mammoth
    .convertToHtml({ buffer: measured }, { convertImage: noImages, externalFileAccess: false, styleMap })
    .catch((cause: unknown) => {
      throw new ParseError('unreadable', 'The document is not a Word document that can be read.', cause)
    })
  return html
}

function unpack(
  bytes: Uint8Array,
  bytesMax: number,
  isWanted: (name: string) => boolean = () => true,
): { readonly name: string; readonly bytes: Uint8Array }[] {
  try {
    const entries = textEntries(readZip(bytes)).filter(({ name }) => isWanted(name))
    let bytesLeft = bytesMax
    return entries.map((entry) => {
      const unpacked = entry.read(bytesLeft)
      bytesLeft -= unpacked.length
      return { name: entry.name, bytes: unpacked }
    })
  } catch (cause) {
    if (!(cause instanceof ZipError)) throw cause
    const detail =
      cause.code === 'too_large'
        ? `The document unpacks to more than ${bytesMax} bytes.`
        : 'The archive cannot be read.'
    throw new ParseError(cause.code, detail, cause)
  }
}

/** The parts that hold text and how it hangs together; pictures and fonts are not unpacked at all. */
function textEntries(entries: readonly ZipEntry[]): ZipEntry[] {
  if (entries.length > ENTRIES_MAX) throw new ParseError('too_large', 'The document has too many parts.')
  const byName = new Map<string, ZipEntry>()
  for (const entry of entries) if (/\.(?:xml|rels)$/i.test(entry.name)) byName.set(entry.name, entry)
  return [...byName.values()]
}
