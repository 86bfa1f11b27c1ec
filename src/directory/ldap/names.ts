/**
 * A distinguished name (RFC 4514) in one form, by which two spellings of it are the same: without regard to
 * case, to white space beside its marks, and to how a character is escaped. Undefined: it is none. What the
 * schema of the server holds apart beyond that is one name here; whoever compares looks whether two entries
 * have it.
 */
export function nameKey(dn: string): string | undefined {
  if (dn.length > charactersMax) return undefined
  const parts: string[] = []
  let rest = dn
  for (;;) {
    const found = rdnForm.exec(rest)
    const [whole = '', type = '', text = '', mark = ''] = found ?? []
    if (found === null) return undefined
    const value = valueOf(text)
    if (value === undefined) return undefined
    parts.push(`${type.toLowerCase()}=${JSON.stringify(value)}${mark === '+' ? '+' : ','}`)
    rest = rest.slice(whole.length)
    if (mark === '') return rest === '' ? sorted(parts) : undefined
  }
}

const charactersMax = 2_000

// White space about a value is left to what reads the value: here it would be looked at twice.
const rdnForm = /^ *([A-Za-z][\w-]*|\d+(?:\.\d+)*) *=((?:\\[0-9A-Fa-f]{2}|\\[^0-9A-Fa-f]|[^\\,+;])*)([,+;]|$)/

/** The parts of one level come in any order. */
function sorted(parts: readonly string[]): string {
  const levels: string[][] = [[]]
  for (const part of parts) {
    levels.at(-1)?.push(part.slice(0, -1))
    if (part.endsWith(',')) levels.push([])
  }
  return levels
    .filter((level) => level.length > 0)
    .map((level) => level.sort().join('+'))
    .join(',')
}

/** Without the spaces about it that are not escaped. Undefined: its bytes are no text. */
function valueOf(text: string): string | undefined {
  const pieces = Array.from(text.matchAll(/\\[0-9A-Fa-f]{2}|\\?[^\\]/gsu), ([piece]) => piece)
  const isMark = (piece: string): boolean => piece !== ' '
  const bytes: Buffer[] = []
  for (const piece of pieces.slice(Math.max(0, pieces.findIndex(isMark)), pieces.findLastIndex(isMark) + 1))
    bytes.push(
      /^\\[0-9A-Fa-f]{2}$/.test(piece)
        ? Buffer.from(piece.slice(1), 'hex')
        : Buffer.from(piece.replace(/^\\/, ''), 'utf8'),
    )
  const value = textOf(Buffer.concat(bytes))
  return value?.normalize('NFKC').toLowerCase().replaceAll(/\s+/g, ' ')
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Undefined: these are no bytes of a text, or one with U+0000, which Postgres does not keep. */
export function textOf(bytes: Uint8Array): string | undefined {
  if (bytes.includes(0)) return undefined
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}
