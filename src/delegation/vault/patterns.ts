import type { ResolvedPath } from './path.ts'
import type { Rule } from './provider.ts'

type Path = Pick<ResolvedPath, 'segments' | 'parameters'>

/** Whether one of the rules covers a call. Who may GET may HEAD. */
export const isCovered = (
  rules: readonly Pick<Rule, 'methods' | 'paths'>[],
  method: string,
  path: Path,
): boolean =>
  rules.some(
    ({ methods, paths }) =>
      (methods.includes(method) || (method === 'HEAD' && methods.includes('GET'))) &&
      paths.some((pattern) => isMatch(pattern, path)),
  )

/** Whether a path and its query are of a pattern, compared letter by letter. */
export function isMatch(pattern: string, { segments, parameters }: Path): boolean {
  const [path = '', query] = split(pattern)
  const names = query === undefined ? [] : query.split('&')
  const isNamed = names.includes('*') || parameters.every((name) => names.includes(name))
  return isNamed && fits(path.slice(1).split('/'), segments)
}

/**
 * Whether a path is one of those that hand out credentials. Read as generously as any server might: in any
 * case and width of letters, with or without a slash at its end or a suffix after its last segment
 * (`/token.json`), whatever the query.
 */
export function isMinting(mints: readonly string[], { segments }: Pick<Path, 'segments'>): boolean {
  const folded = segments.map(fold)
  const trimmed = folded.at(-1) === '' ? folded.slice(0, -1) : folded
  const bare = [...trimmed.slice(0, -1), (trimmed.at(-1) ?? '').replace(/(?<=.)\.[^.]*$/, '')]
  return mints.some((pattern) => {
    const [path = ''] = split(pattern)
    const pathSegments = path.slice(1).split('/').map(fold)
    return fits(pathSegments, trimmed) || fits(pathSegments, bare)
  })
}

/**
 * Query parameters by which APIs let a request be another one than it looks: method, headers or credentials.
 * Read as generously as any server might: PHP drops blanks before a name and writes `_` for a dot, and
 * `_method[]` is a list.
 */
export const hasOverride = ({ parameters }: Pick<Path, 'parameters'>): boolean =>
  parameters.some((name) => {
    const folded = fold(name).replace(/\[.*$/s, '').replaceAll(/[. ]/g, '_')
    return methods.test(folded) || others.test(folded)
  })

/**
 * The same in a form, where Rails, Symfony and Laravel look for `_method` before anywhere else; in JSON
 * another method alone, since credentials may be what is sent there. Of any other type of body nothing is
 * known. Undecodable names are read with what stands in for what is none.
 */
export function hasOverrideInBody(type: string | undefined, body: Uint8Array | undefined): boolean {
  const text = Buffer.from(body ?? []).toString('utf8')
  if (/^application\/x-www-form-urlencoded/i.test(type ?? ''))
    return hasOverride({ parameters: [...new URLSearchParams(text.replaceAll(';', '&')).keys()] })
  // As servers know it: Laravel takes whatever has `/json` or `+json` in it, others `x-json` or `json5`.
  if (/json/i.test(type ?? '')) return membersOf(text).some((name) => methods.test(fold(name)))
  if (!/^multipart\/form-data/i.test(type ?? '')) return false
  // A name in pieces (RFC 2231 §3) is put together by some servers and not by others: nobody needs one.
  if (/[;\s]name\s*\*\s*\d/i.test(text)) return true
  const names = text.matchAll(/name\*?\s*=\s*(?:[\w-]*'[^']*')?"?([^"\r\n;]*)/gi)
  return hasOverride({ parameters: [...names].map(([, name = '']) => unquoted(name)) })
}

/** Of an object; of anything else none. What is no strict JSON may be JSON there: all words of it. */
function membersOf(text: string): readonly string[] {
  // Of UTF-16 and UTF-32 the letters are left.
  const bare = text.replace(/^\uFEFF/, '').replaceAll('\0', '')
  try {
    const value: unknown = JSON.parse(bare)
    return typeof value === 'object' && value !== null ? Object.keys(value) : []
  } catch {
    const plain = bare.replaceAll(/\\u([0-9a-f]{4})/gi, (_, code) =>
      String.fromCharCode(Number.parseInt(code, 16)),
    )
    return plain.match(/[\p{L}\p{N}\p{Pc}$-]+/gu) ?? []
  }
}

function unquoted(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    // As it stands.
    return name
  }
}

// `_HttpMethod` is Salesforce's.
const methods = /^(_method|_?(x[-_])?(http[-_]?method([-_]?override)?|method[-_]?override)|\$httpmethod)$/
const others = /^(\$(httpheaders|req)|(access|oauth|bearer)_token|authorization)$/

const fold = (segment: string): string => segment.normalize('NFKC').toLowerCase().trim()

function split(pattern: string): [path: string, query: string | undefined] {
  const queryStart = pattern.indexOf('?')
  return queryStart < 0 ? [pattern, undefined] : [pattern.slice(0, queryStart), pattern.slice(queryStart + 1)]
}

/**
 * In one pass and a half: `**` is given more only when what follows it did not fit. No pattern takes long.
 */
function fits(pattern: readonly string[], segments: readonly string[]): boolean {
  let [p, s] = [0, 0]
  let star: { readonly p: number; s: number } | undefined
  while (s < segments.length) {
    const patternSegment = pattern[p]
    const segment = segments[s]
    if (patternSegment === '**') {
      star = { p, s }
      p += 1
    } else if (patternSegment === segment || (patternSegment === '*' && segment !== '')) {
      p += 1
      s += 1
    } else if (star !== undefined) {
      star.s += 1
      ;[p, s] = [star.p + 1, star.s]
    } else return false
  }
  return pattern.slice(p).every((remaining) => remaining === '**')
}
