import { parseHtml } from './html.ts'
import { parseMarkdown } from './markdown.ts'
import { cutTitle, formatOf, type Parsed, ParseError, type ParseInput, type ParseLimits } from './parsed.ts'
import { clean, decode, parseJson, parsePlain } from './text.ts'

/**
 * Reads one document in the thread that calls it. Throws `ParseError` for a document that is not taken.
 * Does NOT limit time and memory: a hostile document can hold the thread, so call it through `createParser`.
 */
export async function parseDocument(input: ParseInput, limits: ParseLimits): Promise<Parsed> {
  const { format, charset } = formatOf(input.mimeType)
  if (input.bytes.length > limits.bytesMax) {
    throw new ParseError('too_large', `The document has more than ${limits.bytesMax} bytes.`)
  }
  // Their libraries take longer to load than most documents take to read: only who needs them waits.
  if (format === 'pdf') {
    const { parsePdf } = await import('./pdf.ts')
    return checked(await parsePdf(input.bytes, limits), limits)
  }
  if (format === 'docx') {
    const { parseDocx } = await import('./docx.ts')
    return checked(await parseDocx(input.bytes, limits), limits)
  }
  const text = decode(input.bytes, charset)
  if (format === 'html') return checked(parseHtml(text, limits.charactersMax), limits)
  if (text.length > limits.charactersMax) throw tooLong(limits)
  if (format === 'markdown') return checked(parseMarkdown(text), limits)
  return checked(format === 'json' ? parseJson(text) : parsePlain(text), limits)
}

/** No more headings than these stand above each other. */
const LEVELS_MAX = 6

/** What holds for every document, whatever read it. */
function checked(parsed: Parsed, limits: ParseLimits): Parsed {
  if (parsed.text.length > limits.charactersMax) throw tooLong(limits)
  const blocks = parsed.blocks.map(({ title, level, ...block }) => ({
    ...block,
    ...(level !== undefined && { level: Math.min(Math.max(1, level), LEVELS_MAX) }),
    ...(title !== undefined && { title: clean(cutTitle(title)) }),
  }))
  return { text: clean(parsed.text), blocks }
}

const tooLong = (limits: ParseLimits): ParseError =>
  new ParseError('too_large', `The text is longer than ${limits.charactersMax} characters.`)
