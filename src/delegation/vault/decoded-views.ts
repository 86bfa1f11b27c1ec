/**
 * A text as somebody may read it, which knows of each character from where to where it stands in the
 * original.
 */
export interface DecodedView {
  readonly text: string
  readonly from: Uint32Array
  readonly to: Uint32Array
}

/** One step towards how somebody may read it: as long as the text, and not to be made of several at once. */
export type DecodeStep = () => DecodedView | undefined

/** The text itself. As every view it is without NULs, and so the same for UTF-16. */
export function viewOf(text: string): DecodedView {
  const built = builder(text.length)
  for (let index = 0; index < text.length; index += 1) built.add(text.charCodeAt(index), index, index + 1)
  return built.done()
}

/** Without blanks, line ends and backslashes. A backslash goes with what it stands before. */
export function withoutBlanks({ text, from: fromOffsets, to: toOffsets }: DecodedView): DecodedView {
  const built = builder(text.length)
  let escaped: number | undefined
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index)
    if (code === backslash) {
      escaped ??= fromOffsets[index]
      continue
    }
    if (code > 0x20 && code !== 0xa0)
      built.add(code, escaped ?? fromOffsets[index] ?? 0, toOffsets[index] ?? 0)
    escaped = undefined
  }
  return built.done()
}

/**
 * With one layer of escapes taken off: those of URLs, of JSON and JavaScript, of HTML, each a reading of its
 * own, since to one of them the others are plain text. Each is made when it is called for; undefined where
 * there is nothing to undo.
 */
export const unescapeSteps = (view: DecodedView): readonly DecodeStep[] =>
  [urls, scripts, pages].map((escapes) => () => without(escapes, view))

function without(
  { pattern, codeOf }: Escapes,
  { text, from: fromOffsets, to: toOffsets }: DecodedView,
): DecodedView | undefined {
  const built = builder(text.length)
  let position = 0
  const copyTo = (copyEnd: number): void => {
    for (; position < copyEnd; position += 1)
      built.add(text.charCodeAt(position), fromOffsets[position] ?? 0, toOffsets[position] ?? 0)
  }
  for (const found of text.matchAll(pattern)) {
    copyTo(found.index)
    position += found[0].length
    built.add(codeOf(found.groups ?? {}), fromOffsets[found.index] ?? 0, toOffsets[position - 1] ?? 0)
  }
  if (position === 0) return undefined
  copyTo(text.length)
  return built.done()
}

/**
 * Whatever could be read out of base64 or base64url, each of the four ways to cut it into groups being one
 * view. Give it a view without blanks. Only what comes out as text: nine characters or more of printable
 * ASCII. `decodedRuns` is what was decoded before, in another view of the same place.
 */
export const base64Steps = (view: DecodedView, decodedRuns: Set<string>): readonly DecodeStep[] =>
  digitSteps(view, decodedRuns, {
    pattern: /[A-Za-z0-9+/_-]{12,}/g,
    encoding: 'base64',
    each: 4 / 3,
    shifts: 4,
  })

/** The same of hexadecimal, cut in two ways. */
export const hexSteps = (view: DecodedView, decodedRuns: Set<string>): readonly DecodeStep[] =>
  digitSteps(view, decodedRuns, { pattern: /[0-9a-f]{18,}/gi, encoding: 'hex', each: 2, shifts: 2 })

interface Digits {
  readonly pattern: RegExp
  readonly encoding: 'base64' | 'hex'
  /** Characters for a byte. */
  readonly each: number
  readonly shifts: number
}

function digitSteps(view: DecodedView, decodedRuns: Set<string>, digits: Digits): readonly DecodeStep[] {
  const isNew = ({ 0: run, index }: RegExpExecArray): boolean => {
    const key = `${digits.encoding} ${view.from[index]} ${run}`
    return !decodedRuns.has(key) && decodedRuns.add(key) !== undefined
  }
  const runs = [...view.text.matchAll(digits.pattern)].filter(isNew)
  return Array.from({ length: digits.shifts }, (_, shift) => () => {
    const found = decoded(view, runs, { ...digits, shift })
    return found.text === '' ? undefined : found
  })
}

const backslash = 0x5c
const stretchMin = 9
/** Between two stretches; stands for nothing. */
const gap = 1

function decoded(
  { from: fromOffsets, to: toOffsets }: DecodedView,
  runs: readonly RegExpExecArray[],
  { encoding, each: charsPerByte, shift }: Digits & { readonly shift: number },
): DecodedView {
  const built = builder(runs.reduce((sum, [run]) => sum + run.length, 0))
  for (const { 0: run, index } of runs) {
    const bytes = Buffer.from(run.slice(shift), encoding)
    let stretchStart = built.length()
    for (let byteIndex = 0; byteIndex < bytes.length; byteIndex += 1) {
      const byte = bytes[byteIndex] ?? 0
      if (!isText(byte)) {
        stretchStart = built.cut(stretchStart)
        continue
      }
      const firstChar = index + shift + Math.floor(byteIndex * charsPerByte)
      const lastChar = index + shift + Math.floor((byteIndex + 7 / 8) * charsPerByte)
      built.add(byte, fromOffsets[firstChar] ?? 0, toOffsets[lastChar] ?? 0)
    }
    built.cut(stretchStart)
  }
  return built.done()
}

const isText = (byte: number): boolean =>
  (byte >= 0x20 && byte < 0x7f) || byte === 0 || (byte >= 9 && byte <= 13)

function builder(lengthMax: number) {
  const codes = new Uint16Array(lengthMax)
  const fromOffsets = new Uint32Array(lengthMax)
  const toOffsets = new Uint32Array(lengthMax)
  let length = 0
  const add = (code: number, fromOffset: number, toOffset: number): void => {
    if (code === 0) return
    codes[length] = code
    fromOffsets[length] = fromOffset
    toOffsets[length] = toOffset
    length += 1
  }
  return {
    add,
    length: () => length,
    /** Ends the stretch that began at `start`, which is dropped where it is too short for anything. */
    cut(stretchStart: number): number {
      if (length - stretchStart < stretchMin) length = stretchStart
      else add(gap, 0, 0)
      return length
    },
    done: (): DecodedView => ({
      text: Buffer.from(codes.buffer, 0, length * 2).toString('utf16le'),
      from: fromOffsets.subarray(0, length),
      to: toOffsets.subarray(0, length),
    }),
  }
}

/** Each name before what it stands for. */
const named = new Map(
  `excl! quot" num# dollar$ percnt% amp& apos' lpar( rpar) ast* midast* plus+ comma, period. sol/ colon: semi; lt<
   equals= gt> quest? commat@ lsqb[ lbrack[ bsol\\ rsqb] rbrack] hat^ lowbar_ grave\` lcub{ lbrace{ verbar| vert|
   rcub} rbrace}`
    .split(/\s+/)
    .map((entity) => [entity.slice(0, -1), entity.slice(-1)]),
)

interface Escapes {
  readonly pattern: RegExp
  readonly codeOf: (groups: Readonly<Record<string, string | undefined>>) => number
}

const number = (digits: string, base: number): number => Math.min(Number.parseInt(digits, base), 0xffff)

const urls: Escapes = {
  pattern: /%u(?<long>[0-9a-f]{4})|%(?<short>[0-9a-f]{2})/gi,
  codeOf: ({ long, short = '' }) => number(long ?? short, 16),
}

const scripts: Escapes = {
  pattern:
    /\\(?:u(?<long>[0-9a-f]{4})|u\{(?<any>[0-9a-f]{1,8})\}|x(?<short>[0-9a-f]{2})|(?<octal>[0-3]?[0-7]{1,2})|(?<plain>[^]))/gi,
  codeOf({ long, any: braced, short, octal, plain: literal = ' ' }) {
    if (octal !== undefined) return number(octal, 8)
    const hex = long ?? braced ?? short
    return hex === undefined ? (/[nrtbfv]/i.test(literal) ? ' ' : literal).charCodeAt(0) : number(hex, 16)
  },
}

const pages: Escapes = {
  pattern: new RegExp(
    `&#x(?<hex>[0-9a-f]{1,8});?|&#(?<decimal>[0-9]{1,8});?|&(?<name>${[...named.keys()].join('|')});`,
    'gi',
  ),
  codeOf({ hex, decimal, name = '' }) {
    if (hex !== undefined) return number(hex, 16)
    if (decimal !== undefined) return number(decimal, 10)
    return (named.get(name.toLowerCase()) ?? ' ').charCodeAt(0)
  },
}
