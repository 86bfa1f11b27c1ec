import { type DefaultTreeAdapterTypes, parse } from 'parse5'
import { type Parsed, ParseError } from './parsed.ts'
import { createWriter, type Writer } from './writer.ts'

type Node = DefaultTreeAdapterTypes.ChildNode
type Element = DefaultTreeAdapterTypes.Element

/** Never read aloud to a person, so never given to an agent either. */
const UNREAD = new Set(
  'script style template noscript head iframe object embed svg math canvas audio video select option datalist'.split(
    ' ',
  ),
)
const BLOCK = new Set(
  'address article aside blockquote body center dd details dialog dir div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol p pre search section summary table tbody td tfoot th thead tr ul'.split(
    ' ',
  ),
)
/** Deeper trees come from attacks, not from authors; walking them would end the stack. */
const DEPTH_MAX = 1000

/**
 * The readable text of a page: headings, paragraphs, lists as lines with a dash, tables as rows with bars,
 * `pre` as it stands. Scripts, styles and what the page hides by `hidden` or inline style are dropped: an
 * instruction that a person cannot see must not reach a reader that obeys. Style sheets are NOT evaluated.
 */
export function parseHtml(html: string, charactersMax: number): Parsed {
  const read = (page: DefaultTreeAdapterTypes.Document): Parsed => {
    const writer = createWriter(charactersMax)
    walk(page.childNodes, writer, 0)
    return writer.finish()
  }
  const page = parse(html)
  const dropped = dropNavigation(page)
  const content = read(page)
  // A page that is nothing else, such as a table of contents, is read as it is.
  return dropped > 0 && content.blocks.length === 0 ? read(parse(html)) : content
}

/** Ways to other pages, which every page of a manual repeats: no passage is about them. */
function dropNavigation(page: DefaultTreeAdapterTypes.Document): number {
  let dropped = 0
  const pending: { childNodes: Node[] }[] = [page]
  for (let parent = pending.pop(); parent !== undefined; parent = pending.pop()) {
    const keptNodes = parent.childNodes.filter((node) => !isElement(node) || !isNavigation(node))
    dropped += parent.childNodes.length - keptNodes.length
    parent.childNodes = keptNodes
    for (const node of parent.childNodes) if ('childNodes' in node) pending.push(node)
  }
  return dropped
}

/** `nav` by any name; the two last are DocBook's. */
const isNavigation = ({ tagName, attrs }: Element): boolean =>
  tagName === 'nav' ||
  attrs.some(
    ({ name, value }) =>
      (name === 'role' && /^navigation$/i.test(value.trim())) ||
      (name === 'class' && /(?:^|\s)(?:navheader|navfooter)(?:\s|$)/.test(value)),
  )

/** Writes block elements as blocks and runs of inline content between them as paragraphs. */
function walk(nodes: readonly Node[], writer: Writer, depth: number): void {
  if (depth > DEPTH_MAX) throw new ParseError('unreadable', 'The page is nested too deeply.')
  let inline: Node[] = []
  const flush = () => {
    writer.add({ kind: 'paragraph' }, inlineText(inline, depth))
    inline = []
  }
  for (const node of nodes) {
    if (!isElement(node)) {
      inline.push(node)
    } else if (!isUnread(node)) {
      if (!holdsBlock(node, depth)) {
        inline.push(node)
        continue
      }
      flush()
      writeBlock(node, writer, depth)
    }
  }
  flush()
}

function writeBlock(element: Element, writer: Writer, depth: number): void {
  const level = /^h([1-6])$/.exec(element.tagName)?.[1]
  if (level !== undefined) {
    const title = inlineText(element.childNodes, depth).replace(/\s+/g, ' ')
    writer.add({ kind: 'heading', level: Number(level), title }, title)
  } else if (element.tagName === 'pre') {
    writer.add({ kind: 'code' }, rawText(element, depth).replace(/^\n/, '').trimEnd())
  } else if (element.tagName === 'table') {
    writeTable(element, writer, depth)
  } else if (element.tagName === 'ul' || element.tagName === 'ol' || element.tagName === 'menu') {
    writer.add({ kind: 'list' }, listLines(element, depth, '').join('\n'))
  } else {
    walk(element.childNodes, writer, depth + 1)
  }
}

function listLines(list: Element, depth: number, indent: string): string[] {
  if (depth > DEPTH_MAX) throw new ParseError('unreadable', 'The page is nested too deeply.')
  const lines: string[] = []
  let number = 0
  for (const listItem of list.childNodes.filter(isElement)) {
    if (isUnread(listItem)) continue
    const nested = listItem.tagName === 'li' ? listItem.childNodes.filter(isElement).filter(isList) : []
    if (isList(listItem)) nested.push(listItem)
    const ownNodes = listItem.childNodes.filter((node) => !(isElement(node) && isList(node)))
    const mark = list.tagName === 'ol' ? `${++number}.` : '-'
    const text = isList(listItem) ? '' : onOneLine(inlineText(ownNodes, depth + 1))
    if (text !== '') lines.push(`${indent}${mark} ${text}`)
    for (const inner of nested) lines.push(...listLines(inner, depth + 1, `${indent}  `))
  }
  return lines
}

const onOneLine = (text: string): string =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .join(' ')

/** A table that lays out the page (with blocks such as headings in its cells) is read as a page. */
function writeTable(table: Element, writer: Writer, depth: number): void {
  const rows = rowsOf(table)
  if (
    rows.some((row) =>
      cellsOf(row).some((tableCell) =>
        tableCell.childNodes.some((node) => isElement(node) && isLayout(node)),
      ),
    )
  ) {
    for (const row of rows)
      for (const tableCell of cellsOf(row)) walk(tableCell.childNodes, writer, depth + 1)
    return
  }
  const lines = rows.map((row) => {
    const cellTexts = cellsOf(row).map((tableCell) =>
      inlineText(tableCell.childNodes, depth + 1).replace(/\s+/g, ' '),
    )
    return cellTexts.some((cellText) => cellText !== '') ? cellTexts.join(' | ') : ''
  })
  const [firstRow] = rows
  const hasHead = firstRow !== undefined && cellsOf(firstRow).some((tableCell) => tableCell.tagName === 'th')
  const filled = lines.filter((line) => line !== '')
  const text = filled.join('\n')
  const headLength = Math.min((filled[0]?.length ?? 0) + 1, text.length)
  writer.add({ kind: 'table' }, text, hasHead || isInHead(firstRow) ? headLength : undefined)
}

const isInHead = (row: Element | undefined): boolean =>
  row?.parentNode !== null &&
  row?.parentNode !== undefined &&
  'tagName' in row.parentNode &&
  row.parentNode.tagName === 'thead'

function rowsOf(table: Element): Element[] {
  const inner = table.childNodes.filter(isElement).filter((element) => !isUnread(element))
  return inner.flatMap((element) => (element.tagName === 'tr' ? [element] : rowsIn(element)))
}

const rowsIn = (section: Element): Element[] =>
  section.childNodes.filter(isElement).filter((element) => element.tagName === 'tr' && !isUnread(element))

const cellsOf = (row: Element): Element[] =>
  row.childNodes
    .filter(isElement)
    .filter((element) => (element.tagName === 'td' || element.tagName === 'th') && !isUnread(element))

const isElement = (node: Node): node is Element => 'tagName' in node
const isList = (element: Element): boolean => ['ul', 'ol', 'menu'].includes(element.tagName)
const isLayout = (element: Element): boolean => /^(?:h[1-6]|table|pre|section|article)$/.test(element.tagName)

function isUnread(element: Element): boolean {
  if (UNREAD.has(element.tagName)) return true
  return element.attrs.some(
    ({ name, value }) =>
      name === 'hidden' ||
      (name === 'style' && /(?:display\s*:\s*none|visibility\s*:\s*hidden)/i.test(value)),
  )
}

function holdsBlock(element: Element, depth: number): boolean {
  if (depth > DEPTH_MAX) throw new ParseError('unreadable', 'The page is nested too deeply.')
  if (BLOCK.has(element.tagName)) return true
  return element.childNodes.some((node) => isElement(node) && holdsBlock(node, depth + 1))
}

/** Text as a browser shows it on one run of lines: white space collapsed, `br` a new line. */
function inlineText(nodes: readonly Node[], depth: number): string {
  return rawInline(nodes, depth)
    .replace(/[ \t\n\r\f]+/g, ' ')
    .replace(/ ?\u2028 ?/g, '\n')
    .trim()
}

/** `br` as U+2028, LINE SEPARATOR, until white space has been collapsed. */
function rawInline(nodes: readonly Node[], depth: number): string {
  if (depth > DEPTH_MAX) throw new ParseError('unreadable', 'The page is nested too deeply.')
  let text = ''
  for (const node of nodes) {
    if ('value' in node) text += node.value
    else if (isElement(node) && !isUnread(node)) text += rawElement(node, depth)
  }
  return text
}

function rawElement(element: Element, depth: number): string {
  if (element.tagName === 'br') return '\u2028'
  const alt = element.tagName === 'img' ? element.attrs.find(({ name }) => name === 'alt')?.value : undefined
  if (alt !== undefined) return alt
  const text = rawInline(element.childNodes, depth + 1)
  return BLOCK.has(element.tagName) ? ` ${text} ` : text
}

function rawText(element: Element, depth: number): string {
  return rawInline(element.childNodes, depth + 1).replaceAll('\u2028', '\n')
}
