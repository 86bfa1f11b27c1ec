import { getDocumentProxy } from 'unpdf'
import { type Parsed, ParseError, type ParseLimits } from './parsed.ts'
import { createWriter, type Writer } from './writer.ts'

interface Line {
  readonly text: string
  readonly page: number
  /** Height of the letters, in the page's units. */
  readonly size: number
  /** Distance from the bottom of the page. */
  readonly y: number
}

/** A larger line that is longer than this is no heading but a page set in large type. */
const HEADING_CHARACTERS_MAX = 200
const HEADING_RATIO = 1.15

/**
 * The text layer of a PDF, page by page. Headings are told by larger letters and paragraphs by wider gaps:
 * a guess, since most files hold only letters and places. Does NOT read scanned pages: a file without any
 * text is refused as `unreadable`, so that it does not count as taken while nobody can find it.
 */
export async function parsePdf(bytes: Uint8Array, limits: ParseLimits): Promise<Parsed> {
  const pdf = await openPdf(bytes)
  if (pdf.numPages > limits.pagesMax) {
    throw new ParseError('too_large', `The PDF has more than ${limits.pagesMax} pages.`)
  }
  const lines: Line[] = []
  let characters = 0
  for (let number = 1; number <= pdf.numPages; number++) {
    const page = await pdf.getPage(number)
    const { items: textItems } = await page.getTextContent()
    for (const line of linesOf(textItems, number)) {
      characters += line.text.length
      lines.push(line)
    }
    if (characters > limits.charactersMax) {
      throw new ParseError('too_large', `The text is longer than ${limits.charactersMax} characters.`)
    }
    page.cleanup()
  }
  if (lines.length === 0) throw new ParseError('unreadable', 'The PDF holds no text; is it scanned?')
  const writer = createWriter(limits.charactersMax)
  writeLines(lines, writer)
  return writer.finish()
}

/** What its XMP and then its information dictionary call it, as they stand. */
export async function titlesOfPdf(bytes: Uint8Array): Promise<string[]> {
  const pdf = await openPdf(bytes)
  const { info: infoDictionary, metadata } = await pdf.getMetadata()
  const titles: readonly unknown[] = [
    metadata?.get('dc:title'),
    'Title' in infoDictionary ? infoDictionary.Title : undefined,
  ]
  return titles.filter((title) => typeof title === 'string')
}

/** pdf.js takes its bytes away from whoever gave them, so it gets a copy. */
const openPdf = (bytes: Uint8Array) =>
  getDocumentProxy(Uint8Array.from(bytes), { verbosity: 0 }).catch((cause: unknown) => {
    throw new ParseError(
      'unreadable',
      isLocked(cause) ? 'The PDF needs a password.' : 'The PDF is damaged.',
      cause,
    )
  })

const isLocked = (error: unknown): boolean => error instanceof Error && error.name === 'PasswordException'

function linesOf(textItems: readonly object[], page: number): Line[] {
  const lines: Line[] = []
  let text = ''
  let size = 0
  let y = 0
  for (const textItem of textItems) {
    if (!isTextItem(textItem)) continue
    if (text === '') y = textItem.transform[5] ?? 0
    text += textItem.str
    if (textItem.str.trim() !== '')
      size = Math.max(size, Math.hypot(textItem.transform[2] ?? 0, textItem.transform[3] ?? 0))
    if (!textItem.hasEOL) continue
    if (text.trim() !== '') lines.push({ text: text.trim(), page, size, y })
    text = ''
    size = 0
  }
  if (text.trim() !== '') lines.push({ text: text.trim(), page, size, y })
  return lines
}

interface TextItem {
  readonly str: string
  readonly hasEOL: boolean
  readonly transform: readonly number[]
}

const isTextItem = (textItem: object): textItem is TextItem => 'str' in textItem && 'transform' in textItem

function writeLines(lines: readonly Line[], writer: Writer): void {
  const body = mostCommon(lines.map((line) => [rounded(line.size), line.text.length]))
  const spacing = usualSpacing(lines)
  const sizes = [...new Set(lines.filter((line) => isLarge(line, body)).map((line) => rounded(line.size)))]
  sizes.sort((a, b) => b - a)
  let paragraph: Line[] = []

  function flush(): void {
    const [firstLine] = paragraph
    if (firstLine === undefined) return
    const text = paragraph.map((line) => line.text).join('\n')
    if (isLarge(firstLine, body) && text.length <= HEADING_CHARACTERS_MAX) {
      const level = Math.min(6, sizes.indexOf(rounded(firstLine.size)) + 1)
      writer.add({ kind: 'heading', level, title: text.replace(/\s+/g, ' '), page: firstLine.page }, text)
    } else {
      writer.add({ kind: 'paragraph', page: firstLine.page }, text)
    }
    paragraph = []
  }

  for (const line of lines) {
    const lastLine = paragraph.at(-1)
    if (lastLine !== undefined && !continues(lastLine, line, spacing)) flush()
    paragraph.push(line)
  }
  flush()
}

const rounded = (size: number): number => Math.round(size * 2) / 2
const isLarge = (line: Line, body: number): boolean =>
  line.size >= body * HEADING_RATIO && line.text.length <= HEADING_CHARACTERS_MAX

/** Same page, same letters, and no more room between than lines usually have. Upwards is a new column. */
function continues(previousLine: Line, line: Line, spacing: number): boolean {
  const gap = (previousLine.y - line.y) / (line.size || 1)
  return (
    previousLine.page === line.page &&
    rounded(previousLine.size) === rounded(line.size) &&
    gap >= 0 &&
    gap <= spacing * 1.25
  )
}

/** Distance of two lines of one paragraph, in letter heights. */
function usualSpacing(lines: readonly Line[]): number {
  const gaps = lines.slice(1).flatMap((line, index): [number, number][] => {
    const previousLine = lines[index]
    if (
      previousLine?.page !== line.page ||
      rounded(previousLine.size) !== rounded(line.size) ||
      line.size === 0
    )
      return []
    const gap = Math.round(((previousLine.y - line.y) / line.size) * 10) / 10
    return gap > 0 ? [[gap, 1]] : []
  })
  return gaps.length === 0 ? 1.5 : mostCommon(gaps)
}

/** The value with the greatest weight; of equals the smallest. */
function mostCommon(weighted: readonly (readonly [number, number])[]): number {
  const sums = new Map<number, number>()
  for (const [value, weight] of weighted) sums.set(value, (sums.get(value) ?? 0) + weight)
  const [heaviest] = [...sums].sort(([a, weightA], [b, weightB]) => weightB - weightA || a - b)
  return heaviest?.[0] ?? 0
}
