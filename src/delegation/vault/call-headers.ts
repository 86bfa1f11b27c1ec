import { invalid } from '../../kernel/errors.ts'

const allowed: ReadonlySet<string> = new Set([
  'accept',
  'accept-language',
  'content-type',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
])

const valueMax = 1_000

/**
 * What an agent may say to a third party beside the path and the body: headers from a short list, by small
 * names. What is not on it, or could end a line, is a 422: a header that is dropped without a word would
 * change what was asked.
 */
export function callHeaders(
  agentHeaders: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> & { readonly 'content-type'?: string } {
  const headers: Record<string, string> = {}
  for (const [spelled, value] of Object.entries(agentHeaders)) {
    const name = spelled.toLowerCase()
    if (!allowed.has(name))
      throw invalid(`headers.${spelled}`, `Only ${[...allowed].join(', ')} can be sent.`)
    if (Object.hasOwn(headers, name)) throw invalid(`headers.${spelled}`, 'This header is given twice.')
    if (value.length > valueMax || !/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value))
      throw invalid(`headers.${spelled}`, `must be 1 to ${valueMax} characters of printable ASCII`)
    headers[name] = value
  }
  return headers
}
