import type { Block, Parsed } from './parse/parsed.ts'

/** A block with its place in the document; sections cover the whole text without a gap. */
export interface Section {
  readonly kind: Block['kind']
  readonly start: number
  readonly end: number
  /** Titles of the headings above, outermost first; a heading's own is the last. One list for a whole part. */
  readonly path: readonly string[]
  readonly headerEnd?: number
  readonly page?: number
}

/** The smallest piece that a chunk is made of: a sentence, a line, a heading. Atoms follow on each other. */
export interface Atom {
  readonly start: number
  readonly end: number
  readonly section: Section
  /** Size in tokens, or in eighths of a character where that is more. */
  readonly cost: number
}

/** A passage is never longer than this times the tokens it may have: one word may have 50,000 letters. */
export const CHARACTERS_PER_TOKEN_MAX = 8

export type Cost = (text: string) => number

/** Cuts a document into atoms of at most `costMax`. They cover the text and never split a surrogate pair. */
export function toAtoms(parsed: Parsed, cost: Cost, costMax: number): Atom[] {
  const atoms: Atom[] = []
  for (const section of toSections(parsed)) {
    for (const [start, end] of piecesOf(parsed.text, section)) {
      for (const [from, to, size] of fit(parsed.text, start, end, cost, costMax)) {
        atoms.push({ start: from, end: to, section, cost: size })
      }
    }
  }
  return atoms
}

/**
 * Gaps between blocks become paragraphs where they hold words and go to the block before where they do not,
 * so that nothing of a document is lost, whatever a parser left out.
 */
function toSections({ text, blocks }: Parsed): Section[] {
  const parts: Block[] = []
  let at = 0
  const fill = (to: number) => {
    if (text.slice(at, to).trim() !== '') parts.push({ kind: 'paragraph', start: at, end: to })
  }
  for (const block of blocks) {
    const start = Math.max(at, block.start)
    if (block.end <= start) continue
    fill(start)
    parts.push({ ...block, start })
    at = block.end
  }
  fill(text.length)
  return withPaths(parts, text.length)
}

function withPaths(parts: readonly Block[], length: number): Section[] {
  const open: { readonly level: number; readonly title: string }[] = []
  // One list for all blocks under a heading: "the same part" is then a comparison of references.
  let path: readonly string[] = []
  return parts.map((part, index) => {
    if (part.kind === 'heading') {
      const level = part.level ?? 1
      while ((open.at(-1)?.level ?? 0) >= level) open.pop()
      open.push({ level, title: part.title ?? '' })
      path = open.map(({ title }) => title).filter((title) => title !== '')
    }
    return {
      kind: part.kind,
      start: index === 0 ? 0 : part.start,
      end: parts[index + 1]?.start ?? length,
      path,
      ...(part.headerEnd !== undefined && { headerEnd: part.headerEnd }),
      ...(part.page !== undefined && { page: part.page }),
    }
  })
}

type Range = readonly [start: number, end: number]
type Sized = readonly [start: number, end: number, cost: number]

function piecesOf(text: string, section: Section): Range[] {
  const whole: Range = [section.start, section.end]
  if (section.kind === 'heading') return [whole]
  return section.kind === 'paragraph' ? cutAfter(text, whole, SENTENCE_END) : cutAfter(text, whole, LINE_END)
}

/** A full stop counts with the white space behind it, so that `v1.2` and `e.g.x` stay whole. */
const SENTENCE_END = /(?:[.!?…]["'”’)\]*_]*\s+|[。！？]\s*|\n\s*\n)/g
const LINE_END = /\n/g
const WORD_END = /\s+/g

function cutAfter(text: string, [start, end]: Range, boundary: RegExp): Range[] {
  const ranges: Range[] = []
  let at = start
  for (const match of text.slice(start, end).matchAll(boundary)) {
    const to = start + match.index + match[0].length
    ranges.push([at, to])
    at = to
  }
  if (at < end) ranges.push([at, end])
  return ranges
}

/** Cuts what is too large at lines, then at words, then into pieces of the length that a token may stand for, then in halves. */
function fit(text: string, start: number, end: number, cost: Cost, costMax: number): Sized[] {
  const charactersMax = costMax * CHARACTERS_PER_TOKEN_MAX
  // What is too long by its length is not counted: a word of a megabyte would be counted whole, then in halves, then ...
  const size = end - start > charactersMax ? Number.POSITIVE_INFINITY : cost(text.slice(start, end))
  if (size <= costMax) return [[start, end, size]]
  const lines = cutAfter(text, [start, end], LINE_END)
  if (lines.length > 1) return lines.flatMap(([from, to]) => fit(text, from, to, cost, costMax))
  const words = cutAfter(text, [start, end], WORD_END)
  if (words.length > 1) return joinWords(text, words, cost, costMax)
  if (size === Number.POSITIVE_INFINITY)
    return piecesOfLength(text, [start, end], charactersMax).flatMap(([from, to]) =>
      fit(text, from, to, cost, costMax),
    )
  const middle = halfway(text, start, end)
  if (middle === undefined) return [[start, end, size]]
  return [...fit(text, start, middle, cost, costMax), ...fit(text, middle, end, cost, costMax)]
}

function joinWords(text: string, words: readonly Range[], cost: Cost, costMax: number): Sized[] {
  const joined: Sized[] = []
  for (const [start, end] of words) {
    const last = joined.at(-1)
    const parts = fit(text, start, end, cost, costMax)
    const [only] = parts
    if (parts.length === 1 && only !== undefined && last !== undefined && last[2] + only[2] <= costMax)
      joined[joined.length - 1] = [last[0], end, last[2] + only[2]]
    else for (const part of parts) joined.push(part)
  }
  return joined
}

/** Cuts at every so many characters, never inside a pair. */
function piecesOfLength(text: string, [start, end]: Range, length: number): Range[] {
  const pieces: Range[] = []
  for (let at = start; at < end; ) {
    const to = Math.min(end, at + length)
    const next = to < end && isInPair(text, to) ? to - 1 : to
    pieces.push([at, next > at ? next : to + 1])
    at = next > at ? next : to + 1
  }
  return pieces
}

const isInPair = (text: string, at: number): boolean =>
  /[\uD800-\uDBFF][\uDC00-\uDFFF]/.test(text.slice(at - 1, at + 1))

/** The middle, or none where there is only one character. */
function halfway(text: string, start: number, end: number): number | undefined {
  const middle = start + ((end - start) >> 1)
  const at = isInPair(text, middle) ? middle + 1 : middle
  return at > start && at < end ? at : undefined
}

/** One atom as two, for a text whose whole costs more than its parts did. None where it is one character. */
export function halves(text: string, atom: Atom, cost: Cost): readonly [Atom, Atom] | undefined {
  const middle = halfway(text, atom.start, atom.end)
  if (middle === undefined) return undefined
  return [
    { ...atom, end: middle, cost: cost(text.slice(atom.start, middle)) },
    { ...atom, start: middle, cost: cost(text.slice(middle, atom.end)) },
  ]
}
