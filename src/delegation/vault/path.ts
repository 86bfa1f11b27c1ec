import { pathLengthMax } from '@remit/contract/vault-schemas'
import { ok, type Result, refuse } from '../../kernel/result.ts'

/** Where a call goes, every part of it in its one spelling. */
export interface ResolvedPath {
  readonly url: string
  /**
   * As approvals and records know it: path and query; with its origin where that is not the provider's first.
   */
  readonly text: string
  /** Of the path, decoded once. The last one is empty where it ends with a slash. */
  readonly segments: readonly string[]
  /** Names in the query, decoded once. */
  readonly parameters: readonly string[]
}

/**
 * A path at a provider's API, as an agent wrote it: from its first slash, or with one of the provider's
 * origins before it. Refused is whatever two readers could read in two ways: a dot segment, an empty segment,
 * `\`, `;`, `#`, anything that is not printable ASCII, an encoded slash, dot, backslash, `;`, `?`, `#`, `%`
 * or control character, bytes that are not UTF-8, and everything that the parser of URLs would write
 * differently. The reasons are for the caller. NOT checked: whether anybody may call it.
 */
export function resolvePath(path: string, origins: readonly string[]): Result<ResolvedPath, 'bad_path'> {
  const [defaultOrigin = ''] = origins
  const origin = path.startsWith('/')
    ? defaultOrigin
    : origins.find((candidate) => path.startsWith(`${candidate}/`))
  if (origin === undefined)
    return bad(`must begin with a slash or with an origin of this API: ${origins.join(', ')}`)
  const target = path.startsWith('/') ? path : path.slice(origin.length)
  if (path.length > pathLengthMax) return bad(`must be at most ${pathLengthMax} characters`)
  if (/[^\x21-\x7e]/.test(target)) return bad('must be printable ASCII; encode anything else')
  if (/[\\;#]/.test(target)) return bad('must not hold a backslash, a semicolon or a fragment')
  if (/%(?![0-9A-Fa-f]{2})/.test(target)) return bad('must not hold % but as %XX')
  const [pathText = '', ...queryParts] = target.split('?')
  const query = queryParts.join('?')
  if (/%(?:2[EeFf35]|3[BbFf]|5[Cc])/.test(pathText))
    return bad('must not hold an encoded slash, dot, backslash, semicolon, question mark, # or %')
  if (/%[01][0-9A-Fa-f]|%7[Ff]/.test(target)) return bad('must not hold an encoded control character')
  const segments = decoded(pathText.slice(1).split('/'))
  const parameters = decoded(query === '' ? [] : query.split('&').map(nameOf))
  if (segments === undefined || parameters === undefined) return bad('must be UTF-8')
  if (segments.slice(0, -1).includes('')) return bad('must not hold an empty segment')
  if (segments.some(isOdd))
    return bad('must not hold a dot segment, nor letters that can be read as one or as a slash')
  if (parameters.some((name) => name === '' || /[%&=;\p{Cc}]/u.test(name)))
    return bad('has a query parameter whose name is empty or encoded twice')
  // The last word is the parser's that will make the request.
  const url = URL.parse(target, origin)
  if (url?.origin !== origin || `${url.pathname}${url.search}` !== target)
    return bad('is not as it would be sent; encode what has a meaning in URLs')
  const text = origin === defaultOrigin ? target : `${origin}${target}`
  return ok({ url: `${origin}${target}`, text, segments, parameters })
}

const bad = (detail: string) => refuse('bad_path' as const, detail)

/** As it stands, or to a server that folds wide letters into plain ones: `．．`, `／`. */
const isOdd = (segment: string): boolean => /^\.{1,2}$|[/\\;%]/.test(segment.normalize('NFKC'))

/** Before the first `=`, with `+` for a space: as forms are read. */
const nameOf = (pair: string): string => (pair.split('=')[0] ?? '').replaceAll('+', ' ')

function decoded(segments: readonly string[]): readonly string[] | undefined {
  try {
    return segments.map((segment) => decodeURIComponent(segment))
  } catch {
    return undefined
  }
}
