import { cutTitle } from './parse/parsed.ts'

/** Share of the tokens that title and headings may take, and the same again for the head of a table. */
export const CONTEXT_SHARE = 0.25

/**
 * What the model reads of a passage: where it stands, then what stands there. Used when a passage is made and
 * when it is embedded again, so that vectors of either time can be compared.
 */
export const joinLead = (lead: readonly string[], text: string): string =>
  [...lead.filter((line) => line !== ''), text].join('\n')

/**
 * The line that says where a passage stands: outermost first, the outermost giving way while it is too long.
 */
export function placeLine(names: readonly string[], fits: (line: string) => boolean): string {
  let skipped = 0
  while (skipped < names.length && !fits(names.slice(skipped).join(' > '))) skipped++
  return names.slice(skipped).join(' > ')
}

/** A stored chunk with what its embedded text is made of. */
export interface StoredPassage {
  readonly title: string
  readonly headings: readonly string[]
  readonly text: string
}

/** The model's limit, in its tokens. */
export interface EmbedTextOptions {
  /** Of the embedding model, its own marks included. */
  readonly countTokens: (text: string) => number
  readonly tokensMax: number
}

/**
 * The `embedText` of a passage, from what is stored of it. Not known any more: the head of a table that was
 * split, which is left out.
 */
export function embedTextOf(passage: StoredPassage, { countTokens, tokensMax }: EmbedTextOptions): string {
  const marks = countTokens('')
  const share = Math.max(1, tokensMax - marks) * CONTEXT_SHARE
  return joinLead([placeLine(namesOf(passage), (line) => countTokens(line) - marks <= share)], passage.text)
}

/** A passage that begins with a heading, or with the title, says it already. */
function namesOf({ title, headings: stored, text }: StoredPassage): readonly string[] {
  // Those of long ago were stored whole, and each would be counted whole.
  const headings = stored.map(cutTitle)
  const firstLine = letters(text.split('\n', 1)[0] ?? '')
  const lastHeading = headings.at(-1)
  const above =
    lastHeading !== undefined && letters(lastHeading) === firstLine ? headings.slice(0, -1) : headings
  const isSaid = title === '' || title === headings[0] || letters(title) === firstLine
  return isSaid ? above : [title, ...above]
}

// Headings are stored without their markup, the text with it.
const letters = (text: string): string => text.replaceAll(/[^\p{L}\p{N}]/gu, '')
