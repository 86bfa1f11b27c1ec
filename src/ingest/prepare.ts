import { chunk } from './chunk.ts'
import { type Prepare, UnreadableError } from './deps.ts'
import { ParseError } from './parse/parsed.ts'
import type { Parser } from './parse/parser.ts'

export interface PrepareDeps {
  readonly parser: Parser
  /** Of the embedding model; what is near enough where there is none. */
  readonly countTokens: (text: string) => number
  readonly tokensMax: number
}

const overlapShare = 0.125

/** Parses and chunks: content → text and passages of the size that the model reads. */
export function createPrepare({ parser, countTokens, tokensMax }: PrepareDeps): Prepare {
  const options = { countTokens, tokensMax, overlapTokens: Math.round(tokensMax * overlapShare) }
  return async ({ mimeType, bytes, title }) => {
    try {
      const parsed = await parser.parse({ mimeType, bytes })
      return { text: parsed.text, chunks: chunk(parsed, { ...options, title }) }
    } catch (error) {
      if (error instanceof ParseError) throw new UnreadableError(error.code, error.detail, error)
      throw error
    }
  }
}
