import type { Block, Parsed } from './parse/parsed.ts'

/** A block with its place in the document; sections cover the whole text without a gap. */
export interface Section {
  readonly kind: Block['kind']
  readonly start: number
  readonly end: number
  /**
   * Titles of the headings above, outermost first; a heading's own is the last. One list for a whole part.
   */
  readonly path: readonly string[]
  readonly headerEnd?: number
  readonly page?: number
}

/**
 * The smallest piece that a chunk is made of: a sentence, a line, a heading. Segments follow on each other.
 */
export interface Segment {
  readonly start: number
  readonly end: number
  readonly section: Section
  /** Size in tokens, or in eighths of a character where that is more. */
  readonly cost: number
}

/** A passage is never longer than this times the tokens it may have: one word may have 50,000 letters. */
export const CHARACTERS_PER_TOKEN_MAX = 8

/** What a text costs a passage, in tokens. */
export type Cost = (text: string) => number

/**
 * Cuts a document into segments of at most `costMax`. They cover the text and never split a surrogate pair.
 */
export function toSegments(parsed: Parsed, cost: Cost, costMax: number): Segment[] {
  const segments: Segment[] = []
  for (const section of toSections(parsed)) {
    for (const [sectionStart, sectionEnd] of piecesOf(parsed.text, section)) {
      for (const [fitStart, fitEnd, size] of fit(parsed.text, sectionStart, sectionEnd, cost, costMax)) {
        segments.push({ start: fitStart, end: fitEnd, section, cost: size })
      }
    }
  }
  return segments
}

/**
 * Gaps between blocks become paragraphs where they hold words and go to the block before where they do not,
 * so that nothing of a document is lost, whatever a parser left out.
 */
function toSections({ text, blocks }: Parsed): Section[] {
  const pieces: Block[] = []
  let position = 0
  const fill = (limit: number) => {
    if (text.slice(position, limit).trim() !== '')
      pieces.push({ kind: 'paragraph', start: position, end: limit })
  }
  for (const block of blocks) {
    const blockStart = Math.max(position, block.start)
    if (block.end <= blockStart) continue
    fill(blockStart)
    pieces.push({ ...block, start: blockStart })
    position = block.end
  }
  fill(text.length)
  return withPaths(pieces, text.length)
}

function withPaths(pieces: readonly Block[], length: number): Section[] {
  const openHeadings: { readonly level: number; readonly title: string }[] = []
  // One list for all blocks under a heading: "the same part" is then a comparison of references.
  let path: readonly string[] = []
  return pieces.map((piece, index) => {
    if (piece.kind === 'heading') {
      const level = piece.level ?? 1
      while ((openHeadings.at(-1)?.level ?? 0) >= level) openHeadings.pop()
      openHeadings.push({ level, title: piece.title ?? '' })
      path = openHeadings.map(({ title }) => title).filter((title) => title !== '')
    }
    return {
      kind: piece.kind,
      start: index === 0 ? 0 : piece.start,
      end: pieces[index + 1]?.start ?? length,
      path,
      ...(piece.headerEnd !== undefined && { headerEnd: piece.headerEnd }),
      ...(piece.page !== undefined && { page: piece.page }),
    }
  })
}

type Range = readonly [start: number, end: number]
type Sized = readonly [start: number, end: number, cost: number]

function piecesOf(text: string, section: Section): Range[] {
  const wholeRange: Range = [section.start, section.end]
  if (section.kind === 'heading') return [wholeRange]
  return section.kind === 'paragraph'
    ? cutAfter(text, wholeRange, SENTENCE_END)
    : cutAfter(text, wholeRange, LINE_END)
}

/** A full stop counts with the white space behind it, so that `v1.2` and `e.g.x` stay whole. */
const SENTENCE_END = /(?:[.!?…]["'”’)\]*_]*\s+|[。！？]\s*|\n\s*\n)/g
const LINE_END = /\n/g
const WORD_END = /\s+/g

function cutAfter(text: string, [startOffset, endOffset]: Range, boundary: RegExp): Range[] {
  const ranges: Range[] = []
  let cutStart = startOffset
  for (const match of text.slice(startOffset, endOffset).matchAll(boundary)) {
    const cutEnd = startOffset + match.index + match[0].length
    ranges.push([cutStart, cutEnd])
    cutStart = cutEnd
  }
  if (cutStart < endOffset) ranges.push([cutStart, endOffset])
  return ranges
}

/**
 * Cuts what is too large at lines, then at words, then into pieces of the length that a token may stand for,
 * then in halves.
 */
function fit(text: string, startOffset: number, endOffset: number, cost: Cost, costMax: number): Sized[] {
  const charactersMax = costMax * CHARACTERS_PER_TOKEN_MAX
  // What is too long by its length is not counted: a word of a megabyte would be counted whole, then in
  // halves, then ...
  const size =
    endOffset - startOffset > charactersMax
      ? Number.POSITIVE_INFINITY
      : cost(text.slice(startOffset, endOffset))
  if (size <= costMax) return [[startOffset, endOffset, size]]
  const lines = cutAfter(text, [startOffset, endOffset], LINE_END)
  if (lines.length > 1)
    return lines.flatMap(([lineStart, lineEnd]) => fit(text, lineStart, lineEnd, cost, costMax))
  const wordRanges = cutAfter(text, [startOffset, endOffset], WORD_END)
  if (wordRanges.length > 1) return joinWords(text, wordRanges, cost, costMax)
  if (size === Number.POSITIVE_INFINITY)
    return piecesOfLength(text, [startOffset, endOffset], charactersMax).flatMap(([pieceStart, pieceEnd]) =>
      fit(text, pieceStart, pieceEnd, cost, costMax),
    )
  const middle = halfway(text, startOffset, endOffset)
  if (middle === undefined) return [[startOffset, endOffset, size]]
  return [...fit(text, startOffset, middle, cost, costMax), ...fit(text, middle, endOffset, cost, costMax)]
}

function joinWords(text: string, wordRanges: readonly Range[], cost: Cost, costMax: number): Sized[] {
  const joined: Sized[] = []
  for (const [startOffset, endOffset] of wordRanges) {
    const lastJoined = joined.at(-1)
    const fitted = fit(text, startOffset, endOffset, cost, costMax)
    const [only] = fitted
    if (
      fitted.length === 1 &&
      only !== undefined &&
      lastJoined !== undefined &&
      lastJoined[2] + only[2] <= costMax
    )
      joined[joined.length - 1] = [lastJoined[0], endOffset, lastJoined[2] + only[2]]
    else for (const piece of fitted) joined.push(piece)
  }
  return joined
}

/** Cuts at every so many characters, never inside a pair. */
function piecesOfLength(text: string, [startOffset, endOffset]: Range, length: number): Range[] {
  const pieces: Range[] = []
  for (let offset = startOffset; offset < endOffset; ) {
    const limit = Math.min(endOffset, offset + length)
    const cut = limit < endOffset && isInPair(text, limit) ? limit - 1 : limit
    pieces.push([offset, cut > offset ? cut : limit + 1])
    offset = cut > offset ? cut : limit + 1
  }
  return pieces
}

const isInPair = (text: string, index: number): boolean =>
  /[\uD800-\uDBFF][\uDC00-\uDFFF]/.test(text.slice(index - 1, index + 1))

/** The middle, or none where there is only one character. */
function halfway(text: string, startOffset: number, endOffset: number): number | undefined {
  const middle = startOffset + ((endOffset - startOffset) >> 1)
  const middleOrNext = isInPair(text, middle) ? middle + 1 : middle
  return middleOrNext > startOffset && middleOrNext < endOffset ? middleOrNext : undefined
}

/**
 * One segment as two, for a text whose whole costs more than its parts did. None where it is one character.
 */
export function halves(text: string, segment: Segment, cost: Cost): readonly [Segment, Segment] | undefined {
  const middle = halfway(text, segment.start, segment.end)
  if (middle === undefined) return undefined
  return [
    { ...segment, end: middle, cost: cost(text.slice(segment.start, middle)) },
    { ...segment, start: middle, cost: cost(text.slice(middle, segment.end)) },
  ]
}
