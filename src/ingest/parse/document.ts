import { fromMarkdown } from 'mdast-util-from-markdown'
import { gfmTableFromMarkdown } from 'mdast-util-gfm-table'
import { gfmTable } from 'micromark-extension-gfm-table'
import { parseHtml } from './html.ts'
import {
  type Block,
  cutTitle,
  formatOf,
  type Parsed,
  ParseError,
  type ParseInput,
  type ParseLimits,
} from './parsed.ts'
import { clean, decode, parseJson, parsePlain } from './text.ts'

type Root = ReturnType<typeof fromMarkdown>

type Node = Root['children'][number]

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

/**
 * Markdown with GitHub's tables; its other additions do not change where blocks are, and cost half the time.
 * The source itself stays the text, but for its front matter, which is about the document: a passage is
 * quoted as it was written. Only the outer blocks are told apart; a code block inside a list is list.
 */
export function parseMarkdown(source: string): Parsed {
  const front = frontMatter(source)
  const body = source.slice(front)
  // Nothing else is there to be read: then it is what the document says.
  if (front > 0 && body.trim() === '')
    return { text: source, blocks: [{ kind: 'code', start: 0, end: front }] }
  const tree = fromMarkdown(body, { extensions: [gfmTable()], mdastExtensions: [gfmTableFromMarkdown()] })
  return { text: body, blocks: tree.children.map(toBlock).filter((block) => block !== undefined) }
}

/** Length of a YAML head (`---` … `---`) at the very start, or 0. */
function frontMatter(text: string): number {
  return /^---[ \t]*\r?\n(?:[^\n]*\n){0,200}?---[ \t]*(?=\r?\n|$)/.exec(text)?.[0].length ?? 0
}

function toBlock(node: Node): Block | undefined {
  const startOffset = node.position?.start.offset
  const endOffset = node.position?.end.offset
  if (startOffset === undefined || endOffset === undefined || endOffset <= startOffset) return undefined
  switch (node.type) {
    case 'heading':
      return {
        kind: 'heading',
        start: startOffset,
        end: endOffset,
        level: node.depth,
        title: wordsOf(node).replace(/\s+/g, ' ').trim(),
      }
    case 'code':
      return { kind: 'code', start: startOffset, end: endOffset }
    case 'list':
      return { kind: 'list', start: startOffset, end: endOffset }
    case 'table': {
      // The row of dashes belongs to the head: it ends where the first row of the body starts.
      const body = node.children[1]?.position?.start.offset
      return { kind: 'table', start: startOffset, end: endOffset, headerEnd: body ?? endOffset }
    }
    default:
      return { kind: 'paragraph', start: startOffset, end: endOffset }
  }
}

function wordsOf(node: object): string {
  if ('value' in node && typeof node.value === 'string')
    return 'type' in node && node.type === 'html' ? '' : node.value
  if ('alt' in node && typeof node.alt === 'string') return node.alt
  if (!('children' in node) || !Array.isArray(node.children)) return ''
  return node.children.map(wordsOf).join('')
}
