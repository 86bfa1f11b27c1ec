import { type Prepare, UnreadableError } from './context.ts'
import { ParseError } from './parse/parsed.ts'
import type { Parser } from './parse/parser.ts'

/** Content → text and passages of the size that the model reads, in the parser's thread and under its limits. */
export function createPrepare(parser: Parser): Prepare {
  return async (content, signal) => {
    try {
      return await parser.prepare(content, signal)
    } catch (error) {
      if (error instanceof ParseError) throw new UnreadableError(error.code, error.detail, error)
      throw error
    }
  }
}
