import { isPlain, plainCharacters } from '@remit/contract/text'
import { type DefaultTreeAdapterTypes, parse, parseFragment } from 'parse5'
import { parse as parseYaml } from 'yaml'
import { formatOf, type ParseInput, type ParseLimits } from './parsed.ts'
import { decode } from './text.ts'

const charactersMax = 1_000

/**
 * The title that a document gives itself, of 1 to 1,000 characters, on one line and without any that nobody
 * sees: of Markdown its front matter's `title`, else its first heading; of HTML its `<title>`, else its first
 * `<h1>`; of PDF what its XMP or its information dictionary says; of DOCX its core properties' title, else
 * the first paragraph in a style of titles or headings. A PDF's or DOCX's that a program made up is none.
 * Undefined where it has none, or is of another kind. Throws `ParseError` for a PDF or DOCX that cannot be
 * read. Does NOT limit time and memory: call it through `createParser`.
 */
export async function ownTitle(input: ParseInput, limits: ParseLimits): Promise<string | undefined> {
  // Where it is cut, too, half a character may stand.
  const title = cleaned(cleaned(await readTitle(input, limits)).slice(0, charactersMax))
  return isPlain(title, charactersMax) ? title : undefined
}

async function readTitle({ mimeType, bytes }: ParseInput, limits: ParseLimits): Promise<string | undefined> {
  const { format, charset } = formatOf(mimeType)
  switch (format) {
    case 'markdown':
      return ofMarkdown(decode(bytes, charset))
    case 'html':
      return ofHtml(decode(bytes, charset))
    case 'pdf': {
      const { titlesOfPdf } = await import('./pdf.ts')
      return (await titlesOfPdf(bytes)).find(isTitle)
    }
    case 'docx': {
      const { propertiesOfDocx, titleLinesOfDocx } = await import('./docx.ts')
      const title = ofProperties(propertiesOfDocx(bytes, limits))
      return isTitle(title) ? title : ofHeadings(await titleLinesOfDocx(bytes, limits))
    }
    default:
      return undefined
  }
}

/**
 * Invisible characters could carry words to a model that no reader sees, or turn a name around; halves of one
 * cannot be stored.
 */
const cleaned = (title: string | undefined): string =>
  plainCharacters((title ?? '').replaceAll(/[\s\p{Cc}]/gu, ' '))
    .replaceAll(/ +/g, ' ')
    .trim()

// What programs fill in by themselves: a word of theirs, or the name of the file that it was made from.
const madeUp =
  /^(?:untitled\b.*|title|(?:document|presentation|slide) ?\d*|(?:microsoft (?:word|powerpoint|excel)|powerpoint presentation)\b.*|.*\.(?:docx?|odt|rtf|dvi|tex|pdf|ps|pptx?|xlsx?|indd|qxd|fm|pmd|html?|txt|md))$/i

/** Has two letters, and nobody's name of a file. */
const isTitle = (title: string | undefined): title is string => {
  const text = cleaned(title)
  return /\p{L}.*\p{L}/u.test(text) && !madeUp.test(text)
}

/** The prefix is the one that every program writes. */
function ofProperties(xml: string): string | undefined {
  const [, text] = /<dc:title(?:\s[^<>]*)?>([^<]*)<\/dc:title>/.exec(xml) ?? []
  return text === undefined ? undefined : parseFragment(text).childNodes.map(textOf).join('')
}

function ofHeadings(html: string): string | undefined {
  const nodes = parse(html).childNodes
  const headings = ['h1', 'h2', 'h3', 'h4', 'h5', 'h6']
  return textOf(find(nodes, (name) => headings.includes(name)))
}

function ofMarkdown(text: string): string | undefined {
  const [frontMatter = '', front = ''] = /^---[ \t]*\r?\n([\s\S]{0,20000}?)^---[ \t]*\r?$/m.exec(text) ?? []
  if (frontMatter !== '' && text.startsWith(frontMatter)) {
    const title = titleIn(front)
    if (title !== undefined) return title
  }
  const heading =
    /^#[ \t]+(\S.*)$/m.exec(text.slice(text.startsWith(frontMatter) ? frontMatter.length : 0))?.[1] ?? ''
  let length = heading.length
  while (length > 1 && ' \t#\r'.includes(heading.charAt(length - 1))) length -= 1
  return heading.slice(0, length)
}

function titleIn(front: string): string | undefined {
  try {
    const { title } = Object(parseYaml(front, { maxAliasCount: 0, logLevel: 'silent' })) as {
      readonly title?: unknown
    }
    return typeof title === 'string' || typeof title === 'number' ? String(title) : undefined
  } catch {
    // Not YAML: then it is no title either.
    return undefined
  }
}

type Node = DefaultTreeAdapterTypes.ChildNode

function ofHtml(html: string): string | undefined {
  const page = parse(html).childNodes
  return (
    cleaned(textOf(find(page, (name) => name === 'title'))) || textOf(find(page, (name) => name === 'h1'))
  )
}

/** The first such element, without recursion: a page may be nested as deep as it likes. */
function find(nodes: readonly Node[], isWanted: (tagName: string) => boolean): Node | undefined {
  const pending = [...nodes].reverse()
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if ('tagName' in node && isWanted(node.tagName)) return node
    // An image's title is not the page's.
    if ('childNodes' in node && node.nodeName !== 'svg')
      for (const child of node.childNodes.toReversed()) pending.push(child)
  }
  return undefined
}

function textOf(node: Node | undefined): string {
  const pending = node === undefined ? [] : [node]
  let text = ''
  for (let childNode = pending.pop(); childNode !== undefined; childNode = pending.pop()) {
    if (childNode.nodeName === '#text' && 'value' in childNode) text += childNode.value
    if ('childNodes' in childNode) for (const child of childNode.childNodes.toReversed()) pending.push(child)
  }
  return text
}
