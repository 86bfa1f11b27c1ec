import type { Block, Parsed } from './parsed.ts'
import { ParseError } from './parsed.ts'

type Mark = Omit<Block, 'start' | 'end' | 'headerEnd'>

/** Builds a document's text block by block, with an empty line between two. */
export interface Writer {
  /** Adds a block; `headerLength` counts the characters that head a table. Empty ones are left out. */
  add(mark: Mark, text: string, headerLength?: number): void
  finish(): Parsed
}

/** Throws `too_large` as soon as the text is longer than `charactersMax`. */
export function createWriter(charactersMax: number): Writer {
  const pieces: string[] = []
  const blocks: Block[] = []
  let length = 0

  function add(mark: Mark, text: string, headerLength?: number): void {
    if (text.trim() === '') return
    const startOffset = length === 0 ? 0 : length + 2
    const endOffset = startOffset + text.length
    if (endOffset > charactersMax)
      throw new ParseError('too_large', `The text is longer than ${charactersMax} characters.`)
    pieces.push(text)
    blocks.push({
      ...mark,
      start: startOffset,
      end: endOffset,
      ...(headerLength !== undefined && { headerEnd: startOffset + headerLength }),
    })
    length = endOffset
  }

  return { add, finish: () => ({ text: pieces.join('\n\n'), blocks }) }
}
