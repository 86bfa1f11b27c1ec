import { CONTEXT_SHARE, joinLead, placeLine } from './embed-text.ts'
import { type Parsed, ParseError } from './parse/parsed.ts'
import { CHARACTERS_PER_TOKEN_MAX, type Cost, halves, type Segment, toSegments } from './segments.ts'

/** A passage: what is embedded, found, and released. */
export interface Chunk {
  /** Counted from 0. */
  readonly ordinal: number
  /** `parsed.text.slice(start, end)`, nothing added. */
  readonly text: string
  /** Headings that all of the passage stands under, outermost first. */
  readonly headings: readonly string[]
  /** PDF: the page on which it starts, counted from 1. */
  readonly page?: number
  /** UTF-16 offsets in the parsed text. */
  readonly start: number
  readonly end: number
  /** What the model reads: title and headings, the head of a table that was split, then the text. */
  readonly embedText: string
  /** Of `embedText`, the model's own marks included. */
  readonly tokens: number
}

/** Sizes are in tokens of the model. */
export interface ChunkOptions {
  /** Of the embedding model, its own marks included. */
  readonly countTokens: (text: string) => number
  /** What the model reads at most. */
  readonly tokensMax: number
  /** How much of a passage of prose is repeated at the start of the next. 0 for none. */
  readonly overlapTokens: number
  /** Of the document; helps to embed passages that do not name what they are about. */
  readonly title?: string
}

/**
 * What a document's headings may come to, copied to each of its passages: so many times its text, or so much.
 */
const HEADING_COPIES_PER_TEXT_MAX = 2
const HEADING_COPIES_MAX = 1_000_000

/**
 * Cuts a document into passages of the size that the model reads, along its structure: a heading starts a
 * passage unless the one before is still small, code and tables stay whole where they fit and are split
 * between lines where not, prose is split between sentences. Every character but white space is in at least
 * one passage; every `embedText` has at most `tokensMax` tokens (a single character that has more is kept).
 * Pure: the same document gives the same passages. Throws `too_large` where the headings, copied to each
 * passage, come to more than twice the text and than a million characters: nobody writes that, and all of it
 * would be stored.
 */
export function chunk(parsed: Parsed, options: ChunkOptions): Chunk[] {
  const marks = options.countTokens('')
  const tokenBudget = Math.max(1, options.tokensMax - marks)
  const cost: Cost = (text) => {
    const least = Math.ceil(text.length / CHARACTERS_PER_TOKEN_MAX)
    // Too large by its length alone: a line or a table's head of a megabyte is never counted.
    return least > tokenBudget ? least : Math.max(options.countTokens(text) - marks, least)
  }
  const segments = toSegments(parsed, cost, Math.max(1, Math.floor(tokenBudget / 2)))
  const task: Task = {
    text: parsed.text,
    segments,
    cost,
    room: tokenBudget,
    options,
    sizes: sectionSizes(segments),
  }

  const chunks: Chunk[] = []
  let copied = 0
  let chunkRange: Range = { from: 0, covered: 0, to: 0 }
  while (chunkRange.covered < task.segments.length) {
    const { tokens, ...range } = shrink(task, extend(task, chunkRange))
    const chunk = toChunk(task, range, chunks.length, tokens)
    if (chunk !== undefined) chunks.push(chunk)
    copied += chunk?.headings.reduce((sum, { length }) => sum + length, 0) ?? 0
    if (copied > Math.max(parsed.text.length * HEADING_COPIES_PER_TEXT_MAX, HEADING_COPIES_MAX))
      throw new ParseError('too_large', 'The headings are too long for a document of so many passages.')
    chunkRange = { from: overlapFrom(task, range), covered: range.to, to: range.to }
  }
  return chunks
}

interface Task {
  readonly text: string
  /** An segment is replaced by its halves in the rare case that `shrink` finds it too large. */
  readonly segments: Segment[]
  readonly cost: Cost
  readonly room: number
  readonly options: ChunkOptions
  readonly sizes: Sizes
}

/** Segments `from` up to `to`; those before `covered` are repeated from the passage before. */
interface Range {
  readonly from: number
  readonly covered: number
  readonly to: number
}

interface Sizes {
  /** Cost of a block. */
  readonly block: ReadonlyMap<Segment['section'], number>
  /** Cost of a heading and all up to the next one. */
  readonly part: ReadonlyMap<Segment['section'], number>
}

function sectionSizes(segments: readonly Segment[]): Sizes {
  const block = new Map<Segment['section'], number>()
  const partOfSection = new Map<Segment['section'], number>()
  let heading: Segment['section'] | undefined
  for (const { section, cost } of segments) {
    if (section.kind === 'heading') heading = section
    block.set(section, (block.get(section) ?? 0) + cost)
    if (heading !== undefined) partOfSection.set(heading, (partOfSection.get(heading) ?? 0) + cost)
  }
  return { block, part: partOfSection }
}

/** Adds segments until the passage is full or a better place for its end has come. */
function extend(task: Task, { from: firstIndex, covered }: Range): Range {
  const tokenBudget = task.room - leadCost(task, firstIndex)
  let used = 0
  let endIndex = firstIndex
  for (; endIndex < task.segments.length; endIndex++) {
    const segment = task.segments[endIndex]
    if (segment === undefined) break
    if (
      endIndex > covered &&
      (used + segment.cost > tokenBudget ||
        endsBefore(task, segment, endIndex, firstIndex, used, tokenBudget))
    )
      break
    used += segment.cost
  }
  return {
    from: firstIndex,
    covered,
    to: endIndex < task.segments.length ? withoutTrailingHeadings(task, covered, endIndex) : endIndex,
  }
}

function endsBefore(
  task: Task,
  segment: Segment,
  segmentIndex: number,
  firstIndex: number,
  used: number,
  tokenBudget: number,
): boolean {
  const { section } = segment
  if (section === task.segments[segmentIndex - 1]?.section) return false
  if (section.kind === 'heading') {
    return (
      used >= tokenBudget / 2 ||
      (used >= tokenBudget / 4 && used + (task.sizes.part.get(section) ?? 0) > tokenBudget)
    )
  }
  if (section.page !== task.segments[firstIndex]?.section.page && used >= tokenBudget / 2) return true
  if (section.kind !== 'code' && section.kind !== 'table') return false
  const blockCost = task.sizes.block.get(section) ?? 0
  return used >= tokenBudget / 4 && used + blockCost > tokenBudget && blockCost <= tokenBudget
}

/** A heading at the end would stand away from what it heads. */
function withoutTrailingHeadings(task: Task, covered: number, endIndex: number): number {
  let lastIndex = endIndex
  while (lastIndex - 1 > covered && task.segments[lastIndex - 1]?.section.kind === 'heading') lastIndex--
  return task.segments[lastIndex - 1]?.section.kind === 'heading' ? endIndex : lastIndex
}

/**
 * Counts the passage as a whole: a tokenizer may make more of a text than of its parts. Gives up segments
 * from the end, then what is repeated, then half of the only one.
 */
function shrink(task: Task, range: Range): Range & { readonly tokens: number } {
  let { from: firstIndex, to: endIndex } = range
  let tokens: number
  for (;;) {
    tokens = task.options.countTokens(embedText(task, firstIndex, endIndex))
    if (tokens <= task.options.tokensMax) break
    if (endIndex > range.covered + 1) endIndex--
    else if (firstIndex < range.covered) firstIndex++
    else {
      const segment = task.segments[firstIndex]
      const segmentHalves = segment && halves(task.text, segment, task.cost)
      if (segmentHalves === undefined) break
      task.segments.splice(firstIndex, 1, ...segmentHalves)
      endIndex = firstIndex + 1
    }
  }
  return { ...range, from: firstIndex, to: endIndex, tokens }
}

/** Where the next passage starts: within this one, as far as prose of the same part goes. */
function overlapFrom(task: Task, { from: rangeStart, to: endIndex }: Range): number {
  const following = task.segments[endIndex]
  // Blank segments do not show in the passage: behind them a repeat would begin where this passage began.
  let firstIndex = rangeStart
  while (firstIndex < endIndex && isBlank(task, firstIndex)) firstIndex++
  let startIndex = endIndex
  let used = 0
  while (startIndex - 1 > firstIndex) {
    const segment = task.segments[startIndex - 1]
    if (segment === undefined || following === undefined || !isSameProse(segment, following)) break
    if (
      used + segment.cost > task.options.overlapTokens ||
      used + segment.cost + following.cost > task.room / 2
    )
      break
    used += segment.cost
    startIndex--
  }
  return startIndex
}

const isBlank = ({ text, segments }: Task, index: number): boolean =>
  text.slice(segments[index]?.start, segments[index]?.end).trim() === ''

/** Not over a page's end either: the passage would name the page before as its own. */
const isSameProse = ({ section: a }: Segment, { section: b }: Segment): boolean =>
  a.kind === 'paragraph' && b.kind === 'paragraph' && a.path === b.path && a.page === b.page

/** None for what holds nothing but white space beside what is repeated. */
function toChunk(
  task: Task,
  { from: firstIndex, covered, to: endIndex }: Range,
  ordinal: number,
  tokens: number,
): Chunk | undefined {
  const uncovered = trimmed(task, covered, endIndex)
  if (uncovered.start >= uncovered.end) return undefined
  const bounds = trimmed(task, firstIndex, endIndex)
  const page = task.segments[firstIndex]?.section.page
  return {
    ordinal,
    text: task.text.slice(bounds.start, bounds.end),
    headings: commonPath(task.segments, firstIndex, endIndex),
    ...(page !== undefined && { page }),
    ...bounds,
    embedText: embedText(task, firstIndex, endIndex),
    tokens,
  }
}

function trimmed(
  task: Task,
  firstIndex: number,
  endIndex: number,
): { readonly start: number; readonly end: number } {
  const startOffset = task.segments[firstIndex]?.start ?? 0
  const raw = task.text.slice(startOffset, task.segments[endIndex - 1]?.end ?? startOffset)
  return { start: startOffset + raw.length - raw.trimStart().length, end: startOffset + raw.trimEnd().length }
}

function embedText(task: Task, firstIndex: number, endIndex: number): string {
  const { start: startOffset, end: endOffset } = trimmed(task, firstIndex, endIndex)
  const body = task.text.slice(startOffset, Math.max(startOffset, endOffset))
  return joinLead(lead(task, firstIndex, commonPath(task.segments, firstIndex, endIndex)), body)
}

/** The most that stands before the text: a passage of several parts names fewer headings, never more. */
function leadCost(task: Task, firstIndex: number): number {
  return lead(task, firstIndex, task.segments[firstIndex]?.section.path ?? []).reduce(
    (sum, line) => sum + task.cost(line),
    0,
  )
}

function lead(task: Task, firstIndex: number, path: readonly string[]): string[] {
  const firstSegment = task.segments[firstIndex]
  if (firstSegment === undefined) return []
  const share = task.room * CONTEXT_SHARE
  // A passage that begins with its heading says it already.
  const above = firstSegment.section.kind === 'heading' ? firstSegment.section.path.slice(0, -1) : path
  const names = above.slice(0, path.length)
  const { title } = task.options
  if (title !== undefined && title !== '' && title !== firstSegment.section.path[0]) names.unshift(title)
  const placing = placeLine(names, (line) => task.cost(line) <= share)
  const { section } = firstSegment
  const header =
    firstSegment.start >= (section.headerEnd ?? Number.POSITIVE_INFINITY) ? headerOf(task, section) : ''
  return [placing, task.cost(header) > share ? '' : header].filter((line) => line !== '')
}

const headerOf = (task: Task, section: Segment['section']): string =>
  task.text.slice(section.start, section.headerEnd).trim()

function commonPath(segments: readonly Segment[], firstIndex: number, endIndex: number): readonly string[] {
  let common = segments[firstIndex]?.section.path ?? []
  for (let index = firstIndex + 1; index < endIndex && common.length > 0; index++) {
    const path = segments[index]?.section.path ?? []
    let shared = 0
    while (shared < common.length && shared < path.length && common[shared] === path[shared]) shared++
    if (shared < common.length) common = common.slice(0, shared)
  }
  return common
}
