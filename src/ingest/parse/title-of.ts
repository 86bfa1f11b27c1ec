import { ownTitle } from './own-title.ts'
import { mimeTypes, ParseError, type ParseInput, parseLimitsDefault } from './parsed.ts'
import type { Parser } from './parser.ts'

/**
 * A document's own title, if it has one: in a thread where it takes a library that a document can hold up.
 * Of one that cannot be read the service says why.
 */
export async function titleOf(
  input: ParseInput,
  parser: Pick<Parser, 'ownTitle'>,
): Promise<string | undefined> {
  const { mimeType } = input
  try {
    return mimeType === mimeTypes.pdf || mimeType === mimeTypes.docx
      ? await parser.ownTitle(input)
      : await ownTitle(input, parseLimitsDefault)
  } catch (error) {
    if (error instanceof ParseError) return undefined
    throw error
  }
}
